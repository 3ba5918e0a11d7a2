"""Who reads a long text just now, and who waits for a turn: after a failover a thousand sessions are read anew at once.

A batch of chunks has a few rows, so a thousand at a time are read no sooner than a few are; but all of them would end
last, each would leave states on its way that push out those of the people who type, and what is looked for in the tree
at the beginning would hold everybody up. So a few go at a time, by turns between scopes, in the order of their coming.
"""

from __future__ import annotations

from typing import Final

from service.engine.requests import PathId
from service.engine.task import AdvanceTask, Path, Priority

_LONG_BYTES: Final = 1024  # of movement; less is read in some tens of milliseconds


class Replays:
    """At most `most` paths make a long way at a time. A place belongs to a path, so who types on keeps it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._going: dict[PathId, Path] = {}
        self._waiting: dict[str, dict[PathId, Path]] = {}  # by scope, whose turn comes first

    @property
    def going(self) -> int:
        """How many have begun, as far as it was looked."""
        return len(self._going)

    @property
    def waiting(self) -> int:
        """How many wait, those included that were given up since it was looked last."""
        return sum(map(len, self._waiting.values()))

    def holds_back(self, path: Path, missing: int) -> bool:
        """Whether a movement of so many bytes has to wait for `released`; if not, it counts from now on if it is long.

        Another movement of a path takes the place of the one before.
        """
        if path.id in self._going:
            return False
        if path.id in self._waiting.get(path.scope, ()):
            if missing >= _LONG_BYTES:
                return True
            self._leave(path.scope, path.id)
            return False
        if missing < _LONG_BYTES:
            return False
        if len(self._going) < self._most and not self._waiting:
            self._going[path.id] = path
            return False
        self._waiting.setdefault(path.scope, {})[path.id] = path
        return True

    def released(self) -> list[AdvanceTask]:
        """Those who may begin now, in place of those who have come to their text or were given up."""
        if not self._going and not self._waiting:
            return []
        for path in [path for path in self._going.values() if not _moves(path)]:
            del self._going[path.id]
        free: list[AdvanceTask] = []
        while self._waiting and len(self._going) < self._most:
            scope = next(iter(self._waiting))
            path = next(iter(self._waiting[scope].values()))
            self._leave(scope, path.id)
            if scope in self._waiting:  # the others' turn comes first
                self._waiting[scope] = self._waiting.pop(scope)
            if path.task is not None and path.task.held_back:
                self._going[path.id] = path
                free.append(path.task)
        return free

    def _leave(self, scope: str, path: PathId) -> None:
        waiting = self._waiting[scope]
        del waiting[path]
        if not waiting:
            del self._waiting[scope]


def _moves(path: Path) -> bool:
    return path.task is not None and path.task.priority is Priority.TYPED
