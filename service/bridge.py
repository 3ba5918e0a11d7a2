"""The bridge between the event loop and an engine: the loop turns it, and its answers become futures.

A turn of the loop takes in all that has arrived; then the engine is turned once for all of it. A batch that runs on a
thread of its own wakes the loop when it is through.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Self, TypeVar

from service.engine.engine import Engine
from service.engine.held_state import HeldState
from service.engine.requests import Advance, AdvanceResult, Complete, ModelIdentity, PathId, Piece, Score, Scored
from service.engine.tasks import Ticket
from service.errors import CarouselError

Result = TypeVar("Result", AdvanceResult, Scored)


class EngineSuggester:
    """The sessions' port to one engine. Every method is called on the event loop's thread."""

    def __init__(self, engine: Engine, identity: ModelIdentity, loop: asyncio.AbstractEventLoop) -> None:
        self._engine, self._identity, self._loop = engine, identity, loop
        self._closed = False
        self._waiting = 0
        self._turning_soon = False
        self._idle: asyncio.Future[None] | None = None
        engine.on_work = self._turn_soon
        engine.on_run = self._run_beside

    @property
    def identity(self) -> ModelIdentity:
        """The model that answers."""
        return self._identity

    @property
    def engine(self) -> Engine:
        """The engine that it turns."""
        return self._engine

    @property
    def closed(self) -> bool:
        """Whether the engine was given back."""
        return self._closed

    def serving(self, path: PathId) -> Self:
        """Itself: there is no other version."""
        return self

    def pinned(self, digest: str) -> Self | None:
        """Itself, if the digest is its own."""
        return self if digest == self._identity.digest else None

    @property
    def waiting(self) -> int:
        """How many requests the engine has not answered yet; may be read from any thread."""
        return self._waiting

    def open_path(self, scope: str) -> PathId:
        """A new path at the empty text."""
        return self._engine.open_path(scope)

    def fork_path(self, path: PathId) -> PathId:
        """A new path where another one stands."""
        return self._engine.fork_path(path)

    def read_state(self, path: PathId, text: bytes, *, least: int, most: int) -> HeldState | None:
        """The deepest state held of a beginning of `text`, of `least` to `most` bytes."""
        return self._engine.read_state(path, text, least=least, most=most)

    def restore(self, path: PathId, text: bytes, state: HeldState) -> bool:
        """Put a path that was never moved to the end of `text`, whose state this is; whether that was possible."""
        return self._engine.restore(path, text, state)

    def close_path(self, path: PathId) -> None:
        """Give the path up; its unfinished work is cancelled."""
        if not self._closed:
            self._engine.close_path(path)

    def advance(self, request: Advance) -> asyncio.Future[AdvanceResult]:
        """Queue the request at once; the future holds its result. Raises Overloaded if the engine is full.

        Cancelling the future cancels the suggestions, never the movement; an error that nobody fetches is dropped.
        """
        future: asyncio.Future[AdvanceResult] = self._loop.create_future()
        ticket = self._engine.submit(request, partial(self._settle, future))
        self._waiting += 1
        future.add_done_callback(partial(self._ended, ticket))
        return future

    def complete(self, requests: Sequence[Complete]) -> PieceStream:
        """Queue the requests at once. Raises Overloaded if the engine is full: none runs then."""
        stream = PieceStream(self._engine, self._loop)
        try:
            for index, request in enumerate(requests):
                stream.running[index] = self._engine.submit(request, partial(self._piece, stream, index))
                self._waiting += 1
        except CarouselError:
            stream.cancel()
            raise
        return stream

    def score(self, request: Score) -> asyncio.Future[Scored]:
        """Queue the request at once; the future holds its result. Raises Overloaded if the engine is full.

        Cancelling the future stops the work.
        """
        future: asyncio.Future[Scored] = self._loop.create_future()
        ticket = self._engine.submit(request, partial(self._settle, future))
        self._waiting += 1
        future.add_done_callback(partial(self._ended, ticket))
        return future

    async def idle(self) -> None:
        """Return when every request has been answered. Awaited once, at the end."""
        if not self._engine.idle:
            self._idle = self._loop.create_future()
            await self._idle

    def release(self) -> None:
        """Give the engine back, which is idle. Called last; only paths may be closed after it."""
        self._closed = True
        self._engine.release()

    def _turn_soon(self) -> None:
        """Turn the engine once for all that arrives in this turn of the loop."""
        if not self._turning_soon:
            self._turning_soon = True
            self._loop.call_soon(self._turn)

    def _run_beside(self) -> None:
        """On the runner's thread."""
        self._loop.call_soon_threadsafe(self._turn)

    def _turn(self) -> None:
        self._turning_soon = False
        if self._closed:
            return
        try:
            self._engine.tick()
        except Exception:  # a bug: nobody may wait for ever for it, and the loop must not spin
            logging.getLogger("carousel.engine").exception("the engine failed; its requests are given up")
            self._engine.abandon()
        if self._engine.wants_tick:
            self._turn_soon()
        elif self._idle is not None and self._engine.idle and not self._idle.done():
            self._idle.set_result(None)

    def _ended(self, ticket: Ticket, future: asyncio.Future[Result]) -> None:
        if future.cancelled():
            self._engine.cancel(ticket)
        else:
            future.exception()  # seen here, because who wants no suggestions never awaits it

    def _settle(self, future: asyncio.Future[Result], result: Result | CarouselError) -> None:
        self._waiting -= 1
        if future.done():
            return  # its owner went away
        if isinstance(result, CarouselError):
            future.set_exception(result)
        else:
            future.set_result(result)

    def _piece(self, stream: PieceStream, index: int, result: Piece | CarouselError) -> None:
        if isinstance(result, CarouselError) or result.finish is not None:
            self._waiting -= 1
        stream.put(index, result)


class PieceStream(AsyncIterator[tuple[int, Piece]]):
    """The pieces of completions that run together, in the order of their coming; see `sessions.ports.Pieces`.

    `running` holds the ticket of every one that is unfinished, by its index.
    """

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        self._engine, self._loop = engine, loop
        self.running: dict[int, Ticket] = {}
        self._arrived: deque[tuple[int, Piece] | CarouselError] = deque()
        self._waiter: asyncio.Future[None] | None = None

    async def __anext__(self) -> tuple[int, Piece]:
        """The next piece. One caller at a time."""
        while not self._arrived:
            if not self.running:
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            await self._waiter
        arrived = self._arrived.popleft()
        if isinstance(arrived, CarouselError):
            self.cancel()
            raise arrived
        return arrived

    def cancel(self) -> None:
        """Stop what is unfinished; what it still says is dropped."""
        for ticket in self.running.values():
            self._engine.cancel(ticket)
        self.running.clear()
        self._wake()

    def put(self, index: int, result: Piece | CarouselError) -> None:
        """A piece has come, or an error instead."""
        if index not in self.running:
            return  # cancelled
        if isinstance(result, CarouselError):
            self._arrived.append(result)
            del self.running[index]
        else:
            self._arrived.append((index, result))
            if result.finish is not None:
                del self.running[index]
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
