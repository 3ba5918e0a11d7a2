"""A `Type` stream for asyncio; `typing_stream` is the same for threads. What both do stands in `conversation`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol, TypeVar

import grpc

from carousel_client.answers import Event, Rejected
from carousel_client.channels import PROBE_TIMEOUT_S
from carousel_client.conversation import Conversation
from carousel_client.edits import Edit, SuggestOptions
from carousel_client.errors import CarouselError, Unavailable, error_of_call
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.messages import Call

A = TypeVar("A")


class AsyncServer(Protocol):
    """What a stream needs of its client."""

    def start_typing(self, session_id: str) -> Any:
        """Begin a call of `Type`."""
        ...

    async def attempt(self, call: Call[A], timeout_s: float) -> A:
        """Make a call once. Raises CarouselErrors."""
        ...


class _Connection:
    """One call of `Type`. grpc cancels a call whose read or write is cancelled, so both are done by tasks of ours:
    whoever waits for an event may give up, and the next one who asks gets it.
    """

    def __init__(self, server: AsyncServer, session_id: str, first: Iterable[pb.TypeRequest] = ()) -> None:
        self._call = server.start_typing(session_id)
        self._outgoing: deque[pb.TypeRequest | None] = deque(first)  # bounded by what is unanswered
        self._writing: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[Any] | None = None
        if self._outgoing:
            self._write_soon()

    def send(self, request: pb.TypeRequest | None) -> None:
        """A message, or None after the last one."""
        self._outgoing.append(request)
        self._write_soon()

    async def receive(self) -> pb.TypeResponse | None:
        """The next message; None after the last one. Raises CarouselErrors. May be cancelled."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._call.read())
            self._reading.add_done_callback(_seen)
        reading = self._reading
        await asyncio.wait([reading])
        self._reading = None
        if reading.cancelled():  # how grpc tells of a call that was cancelled
            raise Unavailable("the call was cancelled")
        try:
            response = reading.result()
        except grpc.RpcError as failure:
            raise error_of_call(failure) from None
        return response if isinstance(response, pb.TypeResponse) else None

    def cancel(self) -> None:
        self._outgoing.clear()
        self._call.cancel()
        if self._reading is not None:
            self._reading.cancel()

    def _write_soon(self) -> None:
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """Write what there is to write, in order. If the connection is lost, the reader learns why, and tells."""
        try:
            while self._outgoing:
                request = self._outgoing.popleft()
                if request is None:
                    await self._call.done_writing()
                else:
                    await self._call.write(request)
        except (grpc.RpcError, asyncio.InvalidStateError):  # the second is what a stream that was cut raises
            self._outgoing.clear()


def _seen(reading: asyncio.Task[Any]) -> None:
    """Nobody may ever ask for what a reading task raised: the stream was closed, say. That is not worth a warning."""
    if not reading.cancelled():
        reading.exception()


class AsyncTypingStream(AsyncIterator[Event]):
    """An open stream of one session, which is the stream's until it is closed. As TypingStream, to be awaited.

        async with session.typing() as stream:
            await stream.send(Insert("f"), suggest=SuggestOptions())
            await stream.finish()
            async for event in stream:
                print(event)

    One task may send while another iterates, and either may be cancelled: no event and no edit is lost by that.
    """

    def __init__(self, server: AsyncServer, conversation: Conversation) -> None:
        self._server, self._conversation = server, conversation
        self._changed = asyncio.Condition()
        self._connection: _Connection | None = _Connection(server, conversation.session.id)

    async def __aenter__(self) -> AsyncTypingStream:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def __anext__(self) -> Event:
        """The next event. Raises StopAsyncIteration after the last one, a CarouselError if the stream is lost."""
        talk = self._conversation
        while not talk.events:  # one answer may tell of several events, or of none
            if talk.ended:
                raise StopAsyncIteration
            try:
                if self._connection is None:
                    await self._reconnect()
                else:
                    talk.take(await self._connection.receive())
                    await self._tell()
            except CarouselError as error:
                await self._lose(error)
        return talk.events.popleft()

    @property
    def next_revision(self) -> int:
        """The revision that the next edit builds on, if all that were sent are applied."""
        return self._conversation.next_revision

    @property
    def recreations(self) -> int:
        """How often the session was made anew: what refers to a revision of before means nothing any more."""
        return self._conversation.recreations

    @property
    def unanswered(self) -> int:
        """How many edits are neither acknowledged nor rejected."""
        return self._conversation.unanswered

    async def send(self, *edits: Edit, suggest: SuggestOptions | None = None, timeout_s: float = 5.0) -> str:
        """Send edits (none: only ask for suggestions); the edit id by which events tell of them. See TypingStream."""
        talk = self._conversation
        if not talk.may_send:
            try:
                async with asyncio.timeout(timeout_s), self._changed:
                    await self._changed.wait_for(lambda: talk.may_send)
            except TimeoutError:
                raise talk.no_room(timeout_s) from None
        request = talk.send(edits, suggest)
        if self._connection is not None:
            self._connection.send(request)
        return request.edit_id

    async def finish(self) -> None:
        """Say that no more edits will come; the events that are still owed can be iterated."""
        if not self._conversation.finished:
            self._conversation.finished = True
            if self._connection is not None:
                self._connection.send(None)

    async def close(self) -> None:
        """End the stream now; iterating ends. What is unanswered may be applied or not; reading the text tells."""
        self._conversation.ended = True
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()
        await self._tell()

    async def drain(self) -> None:
        """Finish, and pass over the events that are owed. Raises the error of an edit that was rejected meanwhile."""
        await self.finish()
        rejected: CarouselError | None = None
        async for event in self:
            if isinstance(event, Rejected):
                rejected = rejected or event.error
        if rejected is not None:
            raise rejected

    async def _tell(self) -> None:
        """Somebody may wait for room, or for the end."""
        async with self._changed:
            self._changed.notify_all()

    async def _lose(self, error: CarouselError) -> None:
        """The connection is of no use any more. Raises `error` if there is no point in another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.cancel()
        if self._conversation.ended:
            return  # closed meanwhile
        try:
            self._conversation.lost(error)
        finally:
            await self._tell()

    async def _reconnect(self) -> None:
        """Wait, find the server, open another connection. Raises CarouselErrors; nothing was lost then."""
        talk = self._conversation
        async with self._changed:
            try:
                async with asyncio.timeout(talk.wait_s):
                    await self._changed.wait_for(lambda: talk.ended)
                return
            except TimeoutError:
                pass  # it was not closed meanwhile
        steps = talk.reconnecting()
        call = next(steps)
        while True:
            try:
                answer, error = await self._server.attempt(call, PROBE_TIMEOUT_S), None
            except CarouselError as failure:
                answer, error = None, failure
            try:
                call = steps.send(answer) if error is None else steps.throw(error)
            except StopIteration as found:
                if not talk.ended:
                    self._connection = _Connection(self._server, talk.session.id, found.value)
                    if talk.finished:
                        self._connection.send(None)
                await self._tell()
                return
