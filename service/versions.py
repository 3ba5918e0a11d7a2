"""Several versions of one model beside each other, as one suggester: sessions know nothing of it.

A path is numbered once and stands in one version's engine at a time. What is asked of it goes there until nothing was
asked of it for a while; then it is closed there and opened in the newest version under the same number, at the empty
text. Every request carries its whole text, and what it says of `kept` reaches no further than where a path stands: so
the text is read anew, and nobody above has to know.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from service.bridge import EngineSuggester, PieceStream
from service.engine.engine import Engine
from service.engine.held_state import HeldState
from service.engine.requests import Advance, AdvanceResult, Complete, ModelIdentity, PathId, Score, Scored
from service.errors import Unavailable

LEAST_DIGITS = 8
"""Of a digest, to name a version by it."""

_MOVED_AT_ONCE = 256  # paths; a fraction of a millisecond
_LONGEST_WORK_S = 60.0  # that a version runs on for, after it was to be empty
_BITS_OF_NUMBERS = 40  # of the paths and requests of one engine


def first_number(loaded_before: int) -> int:
    """From where the paths of an engine are numbered, so that no two engines of a process share one."""
    return (loaded_before << _BITS_OF_NUMBERS) + 1


class Version(EngineSuggester):
    """One version of a model. Who opens a path here wants this version, and keeps it for as long as there is one."""

    def __init__(self, engine: Engine, identity: ModelIdentity, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(engine, identity, loop)
        self._apart: set[PathId] = set()

    def open_path(self, scope: str) -> PathId:
        """A new path at the empty text, which stays in this version. Raises Unavailable once it is unloaded."""
        if self.closed:
            raise Unavailable(f"this version of {self.identity.name!r} was unloaded: name another, or none", 0.0)
        path = super().open_path(scope)
        self._apart.add(path)
        return path

    def close_path(self, path: PathId) -> None:
        """Give the path up; nothing happens if the version was unloaded."""
        self._apart.discard(path)
        super().close_path(path)

    def open_movable(self, scope: str) -> PathId:
        """A new path that may be moved to another version."""
        return super().open_path(scope)

    @property
    def path_count(self) -> int:
        """How many paths are open; may be read from any thread."""
        return len(self.engine.paths())

    @property
    def movable(self) -> Sequence[PathId]:
        """The paths that may be moved, the oldest first. Costs a look at every path."""
        return [path.id for path in self.engine.paths() if path.id not in self._apart]

    def working(self, path: PathId) -> bool:
        """Whether something that was asked of the path is not answered yet."""
        found = self.engine.find_path(path)
        return found is not None and bool(found.tasks)


class _Older:
    """A version that empties: when it began to, when it is to be empty, and when each path was last asked since.

    No dataclass: to make one takes a millisecond of every start.
    """

    __slots__ = ("asked_s", "since_s", "until_s", "version")

    def __init__(self, version: Version, since_s: float, until_s: float) -> None:
        self.version, self.since_s, self.until_s = version, since_s, until_s
        self.asked_s: dict[PathId, float] = {}


class ModelVersions:
    """The versions of one model, of which the newest takes whatever is new. Used on the event loop's thread.

    idle_s: for how long nothing is asked of a path that is moved.  within_s: after which every path is, once nothing
    is under way there.
    """

    def __init__(
        self,
        first: Version,
        *,
        idle_s: float = 30.0,
        within_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._newest, self._idle_s, self._within_s, self._clock = first, idle_s, within_s, clock
        self._older: list[_Older] = []

    # -- as a suggester -----------------------------------------------------------------------------------------

    @property
    def identity(self) -> ModelIdentity:
        """The newest version."""
        return self._newest.identity

    def serving(self, path: PathId) -> Version:
        """The version that answers what is asked of the path now. Moves it, if it is time."""
        if not self._older:
            return self._newest
        return self._where_now(path)

    def pinned(self, digest: str) -> Version | None:
        """The loaded version of this digest, or of the one that begins so; None if there is none."""
        for version in self.loaded:
            if version.identity.digest == digest:
                return version
        named = [one for one in self.loaded if len(digest) >= LEAST_DIGITS and one.identity.digest.startswith(digest)]
        return named[0] if len(named) == 1 else None

    def open_path(self, scope: str) -> PathId:
        """A new path at the empty text, in the newest version."""
        return self._newest.open_movable(scope)

    def fork_path(self, path: PathId) -> PathId:
        """A new path where another one stands, in the version of that one."""
        return self._holder(path).fork_path(path)

    def close_path(self, path: PathId) -> None:
        """Give the path up."""
        for older in self._older:
            older.asked_s.pop(path, None)
        self._holder(path).close_path(path)

    def advance(self, request: Advance) -> asyncio.Future[AdvanceResult]:
        """As `EngineSuggester.advance`, where the path is served."""
        return self.serving(request.path).advance(request)

    def complete(self, requests: Sequence[Complete]) -> PieceStream:
        """As `EngineSuggester.complete`, where their path is served: all are of one."""
        return self.serving(requests[0].path).complete(requests)

    def score(self, request: Score) -> asyncio.Future[Scored]:
        """As `EngineSuggester.score`, where the path is served."""
        return self.serving(request.path).score(request)

    def read_state(self, path: PathId, text: bytes, *, least: int, most: int) -> HeldState | None:
        """As `EngineSuggester.read_state`, of the version that `serving` tells."""
        return self._holder(path).read_state(path, text, least=least, most=most)

    def restore(self, path: PathId, text: bytes, state: HeldState) -> bool:
        """As `EngineSuggester.restore`, into the version that `serving` tells."""
        return self._holder(path).restore(path, text, state)

    # -- for whoever loads and unloads --------------------------------------------------------------------------

    @property
    def newest(self) -> Version:
        """What is new goes here."""
        return self._newest

    @property
    def loaded(self) -> Sequence[Version]:
        """All of them, the newest first."""
        return [self._newest, *(older.version for older in self._older)]

    @property
    def waiting(self) -> int:
        """How many requests are not answered yet; may be read from any thread."""
        return sum(version.waiting for version in self.loaded)

    def succeed(self, version: Version) -> None:
        """Make `version` the newest, be it new or one that empties; the one that was begins to empty."""
        assert version is not self._newest, "it is that already"
        now_s = self._clock()
        self._older = [one for one in self._older if one.version is not version]
        self._older.insert(0, _Older(self._newest, now_s, now_s + self._within_s))
        self._newest = version

    def hasten(self) -> None:
        """The older versions are to be empty now: every path is moved as soon as nothing is under way there."""
        now_s = self._clock()
        for older in self._older:
            older.until_s = min(older.until_s, now_s)

    def sweep(self) -> bool:
        """Move those that are idle, some at a time; whether there are more that could be moved now."""
        now_s, left = self._clock(), _MOVED_AT_ONCE
        for older in self._older:
            forced = now_s >= older.until_s + _LONGEST_WORK_S
            for path in older.version.movable:
                if not forced and (older.version.working(path) or not self._may_move(older, path, now_s)):
                    continue
                if not left:
                    return True
                left -= 1
                self._move(older, path)
        return False

    def take_empty(self) -> list[Version]:
        """The older versions that no path needs any more; they are not known here from now on."""
        empty = [older.version for older in self._older if not older.version.movable]
        self._older = [older for older in self._older if older.version not in empty]
        return empty

    def _where_now(self, path: PathId) -> Version:
        for older in self._older:
            if older.version.engine.find_path(path) is not None:
                now_s = self._clock()
                if self._may_move(older, path, now_s) and not older.version.working(path):
                    self._move(older, path)
                    return self._newest
                older.asked_s[path] = now_s
                return older.version
        return self._newest

    def _may_move(self, older: _Older, path: PathId, now_s: float) -> bool:
        return now_s >= older.until_s or now_s - older.asked_s.get(path, older.since_s) >= self._idle_s

    def _move(self, older: _Older, path: PathId) -> None:
        found = older.version.engine.find_path(path)
        assert found is not None, "it stands there"
        older.asked_s.pop(path, None)
        older.version.close_path(path)
        self._newest.engine.adopt_path(path, found.scope)

    def _holder(self, path: PathId) -> Version:
        for older in self._older:
            if older.version.engine.find_path(path) is not None:
                return older.version
        return self._newest
