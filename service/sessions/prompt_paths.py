"""Where long prompts were read to: their paths stay open, so that a prompt that goes on begins where it was.

The states of a prompt are found without it. But to find the node of a text that one stands nowhere near takes a look at
each of its bytes, a microsecond or two, and on the engine's thread: of 10,000 bytes that is more than everything else
together (docs/decisions/016-openai-and-llama-cpp.md). Whoever sends a prompt again with a byte more is spared it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from service.engine.requests import PathId
from service.sessions.differences import common_prefix
from service.sessions.ports import Suggester

LEAST_BYTES: Final = 512
"""Shorter texts are found faster than they are looked up here."""

_MOST_PATHS: Final = 64
_MOST_BYTES: Final = 8 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Standing:
    """A path and the text that it stands at; while it moves, the text that it goes to.

    readers: those who begin at it and leave it.  movers: those who take it to `target`.  arrived: one of them has.
    """

    suggester: Suggester
    scope: str
    path: PathId
    text: bytes = b""
    target: bytes | None = None
    kept: int = 0
    readers: int = 0
    movers: int = 0
    arrived: bool = False


@dataclass(slots=True)
class Place:
    """Where a request begins: a path that stands at the first `kept` bytes of its text. `moves`: it takes it along."""

    path: PathId
    kept: int
    moves: bool
    _paths: PromptPaths
    _standing: _Standing
    _open: bool = True

    def leave(self, *, arrived: bool) -> None:
        """The request has ended, having come to the end of its text or not; once is enough, twice is fine."""
        if self._open:
            self._open = False
            self._paths._left(self._standing, moved=self.moves, arrived=arrived)


class PromptPaths:
    """The paths of the prompts of this process, the latest used last. Used on the sessions' thread alone."""

    def __init__(self, most_paths: int = _MOST_PATHS, most_bytes: int = _MOST_BYTES) -> None:
        self._most_paths, self._most_bytes = most_paths, most_bytes
        self._kept: list[_Standing] = []

    def to_move(self, suggester: Suggester, scope: str, text: bytes) -> Place:
        """For a request that goes to the end of `text`, which is likely to go on later."""
        if len(text) < LEAST_BYTES:
            return self._apart(suggester, scope)
        for standing in self._of(suggester, scope):
            if standing.target == text:
                return self._taken_along(standing, text, standing.kept)
        idle = [one for one in self._of(suggester, scope) if one.target is None and not one.readers]
        best, common = _nearest(idle, text)
        if best is None or 2 * common < len(best.text):  # of another text: its owner may come back
            best, common = _Standing(suggester, scope, suggester.open_path(scope)), 0
            self._kept.append(best)
        return self._taken_along(best, text, common)

    def to_read(self, suggester: Suggester, scope: str, text: bytes) -> Place:
        """For a request that leaves where it begins as it is."""
        standing, common = _nearest([one for one in self._of(suggester, scope) if one.target is None], text)
        if standing is None or common < LEAST_BYTES:
            return self._apart(suggester, scope)
        standing.readers += 1
        return Place(standing.path, common, False, self, standing)

    def close(self) -> None:
        """Give every path up that nobody uses."""
        self._most_paths = 0
        self._forget_oldest()

    def _of(self, suggester: Suggester, scope: str) -> list[_Standing]:
        return [one for one in self._kept if one.suggester is suggester and one.scope == scope]

    def _apart(self, suggester: Suggester, scope: str) -> Place:
        """On a path that is not kept."""
        standing = _Standing(suggester, scope, suggester.open_path(scope), readers=1)
        return Place(standing.path, 0, False, self, standing)

    def _taken_along(self, standing: _Standing, text: bytes, kept: int) -> Place:
        standing.target, standing.kept = text, kept
        standing.movers += 1
        return Place(standing.path, kept, True, self, standing)

    def _left(self, standing: _Standing, *, moved: bool, arrived: bool) -> None:
        if moved:
            standing.movers -= 1
            standing.arrived |= arrived
        else:
            standing.readers -= 1
        if standing.movers or standing.readers:
            return
        if standing not in self._kept:
            standing.suggester.close_path(standing.path)
            return
        self._kept.remove(standing)
        if standing.target is not None and not standing.arrived:  # nobody knows where it stands
            standing.suggester.close_path(standing.path)
            return
        if standing.target is not None:
            standing.text, standing.target, standing.arrived = standing.target, None, False
        self._kept.append(standing)
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        held_bytes = sum(len(one.text) for one in self._kept)
        for standing in list(self._kept):
            if len(self._kept) <= self._most_paths and held_bytes <= self._most_bytes:
                return
            if not (standing.movers or standing.readers):
                self._kept.remove(standing)
                held_bytes -= len(standing.text)
                standing.suggester.close_path(standing.path)


def _nearest(standing: list[_Standing], text: bytes) -> tuple[_Standing | None, int]:
    """The one whose text has the longest beginning in common with `text`, and how long that is."""
    best, longest = None, 0
    for one in standing:
        common = common_prefix(one.text, text)
        if common >= longest:
            best, longest = one, common
    return best, longest
