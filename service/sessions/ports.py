"""What sessions ask of the rooms below them: an engine that advances paths, and a store that keeps records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

from service.engine.held_state import HeldState
from service.engine.requests import Advance, AdvanceResult, Complete, ModelIdentity, PathId, Piece, Score, Scored
from service.sessions.commands import SessionId, Tenant
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey, StoredSession, StoredSummary, Swept


class Pieces(Protocol):
    """The pieces of completions that run together, each with the index of its request, as they come.

    Iterating ends after the last piece of every one. Raises a CarouselError if one of them failed; the others are
    cancelled then. What is not fetched waits: it is bounded by the lengths that were asked for.
    """

    def __aiter__(self) -> AsyncIterator[tuple[int, Piece]]: ...

    async def __anext__(self) -> tuple[int, Piece]: ...

    def cancel(self) -> None:
        """Stop what is unfinished; nothing happens if nothing is."""


class Answer(Awaitable[AdvanceResult], Protocol):
    """An answer to come, as asyncio's Future is one: awaited once, or asked for by a callback."""

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Call it with this answer, on the sessions' thread, once there is an outcome."""

    def result(self) -> AdvanceResult:
        """The outcome, once there is one. Raises what the engine failed with."""

    def cancelled(self) -> bool:
        """Whether it was given up."""

    def cancel(self) -> bool:
        """Give it up: nobody waits for it any more."""


class Scoring(Awaitable[Scored], Protocol):
    """A score to come, as asyncio's Future is one: awaited once. Raises what the engine failed with."""

    def cancel(self) -> bool:
        """Give it up: the work stops within a tick."""


class Suggester(Protocol):
    """The engine of one model, as a session sees it. Called from one thread, that of the sessions.

    A model may have several versions beside each other, of which the newest takes what is new; a path may be moved
    from one to another, at the empty text, whenever nothing is under way there.
    """

    @property
    def identity(self) -> ModelIdentity:
        """The newest version of the model that answers."""

    def serving(self, path: PathId) -> Suggester:
        """The version that answers what is asked of the path now: what is submitted to it at once, it answers."""

    def pinned(self, digest: str) -> Suggester | None:
        """The version of this digest, or of the one that begins so; None if there is none."""

    def open_path(self, scope: str) -> PathId:
        """A new path at the empty text. Paths of one scope share states; paths of different scopes never do."""

    def fork_path(self, path: PathId) -> PathId:
        """A new path in the scope of another, which counts as told what that one was told last."""

    def read_state(self, path: PathId, text: bytes, *, least: int, most: int) -> HeldState | None:
        """The deepest state held of a beginning of `text` that has `least` to `most` bytes; None if there is none.

        `text` equals what the path was last told to move to, in its first `most` bytes. Never waits.
        """

    def restore(self, path: PathId, text: bytes, state: HeldState) -> bool:
        """Have a path that was never moved stand at the end of `text`, as if it had been told to move there.

        False, and nothing changed, if the state cannot be one of the model, or there is no room. Never waits.
        """

    def close_path(self, path: PathId) -> None:
        """Give the path up; its unfinished work is cancelled, its unfinished suggestions are answered `superseded`."""

    def advance(self, request: Advance) -> Answer:
        """Queue the request at once, in call order per path. Raises Overloaded if the queue is full: the path stays.

        The request is queued by the call, not by the await: whoever wants no suggestions drops the answer. So it
        is a future, not a coroutine, and an answer or an error that nobody fetched is dropped without a warning.
        An error after the call has returned never unmakes the movement: `kept` of the next request counts from here.
        Cancelling the answer cancels the suggestions, never the movement.
        """

    def complete(self, requests: Sequence[Complete]) -> Pieces:
        """Queue the requests at once, in call order per path. Raises Overloaded if the queue is full: none runs."""

    def score(self, request: Score) -> Scoring:
        """Queue the request at once, in call order per path. Raises Overloaded if the queue is full."""


class Store(Protocol):
    """Keeps sessions; a commit is acknowledged when `append` returns. Called from one event loop.

    Every write names the Fence it is based on, and the store compares and sets in one step, so that of two writers
    who believe to own a session one is refused. Calls for one session take effect in call order, without waiting for
    the earlier call's await, so that edits may be pipelined. Every method that waits raises Unavailable if the store
    is down, with the time after which to try again; after a write that raised or was cancelled, only a load tells what
    is stored. What it keeps for how long, and of how much, is a `Keeping`.
    """

    @property
    def shared(self) -> bool:
        """Whether other processes may write the same sessions, so that what this one has read may be old."""

    def durable(self, key: SessionKey) -> bool:
        """Whether the session, if it is kept, is kept outside of this process's memory, which may forget it then."""

    async def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        """Keep a new session. False, and nothing changed, if the key is taken. Raises QuotaExceeded."""

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        """Keep the record that follows the revision of `fence`.

        `checkpoint`, if given, is the session after the record and replaces everything kept before it; the records of
        its history are those that were appended, or created with, and that no checkpoint before it has left out, so
        that a store may leave them where they are.
        Raises Fenced, and nothing changed, if incarnation or revision is another or the session is gone; QuotaExceeded,
        and nothing changed, if the text grows and the tenant's texts would be too large.
        """

    async def settled(self, key: SessionKey) -> None:
        """Wait until every write of the session that was called before is decided. Raises as the last of them may."""

    async def load(self, key: SessionKey) -> StoredSession | None:
        """The session, or None if there is none."""

    def rest(self, key: SessionKey) -> None:
        """Nobody asks for the session just now: what is kept of it in memory should be small. Never waits.

        A hint that changes nothing else: every method may name the session at any time.
        """

    async def delete(self, key: SessionKey, incarnation: int) -> None:
        """Forget the session. Nothing happens if it is gone or of another incarnation: a later life is not ours."""

    async def put_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        """Keep `snapshot` beside the session, in place of an earlier one; it goes when the session goes.

        Nothing happens if the session is gone or of another incarnation. It is no write of the session: it counts
        neither for retention nor for a quota, and another process's may be overwritten by one that is older.
        """

    async def get_snapshot(self, key: SessionKey, incarnation: int) -> bytes | None:
        """What was kept beside this incarnation of the session last; None if nothing was, or it could not be read."""

    async def page(self, tenant: Tenant, after: SessionId | None, limit: int) -> tuple[StoredSummary, ...]:
        """At most `limit` of the tenant's sessions by id (in the order of its UTF-8), those after `after` if given."""

    async def sweep(self, limit: int) -> Swept:
        """Forget sessions that were not written for the time of retention: at most `limit` at a time."""

    async def close(self) -> None:
        """Write out what is pending and give everything back. Called once, last."""
