"""A `Type` stream for threads; `aio_typing_stream` is the same for asyncio. What both do stands in `conversation`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import grpc

from carousel_client.answers import Event, Rejected
from carousel_client.channels import PROBE_TIMEOUT_S
from carousel_client.conversation import Conversation
from carousel_client.edits import Edit, SuggestOptions
from carousel_client.errors import CarouselError, error_of_call
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.messages import Call

A = TypeVar("A")


class StreamCall(Protocol):
    """What grpc's call of a bidirectional method offers, as far as it is used here."""

    def __iter__(self) -> Iterator[pb.TypeResponse]: ...

    def cancel(self) -> bool:
        """End it now."""
        ...


class Server(Protocol):
    """What a stream needs of its client."""

    def start_typing(self, requests: Iterator[pb.TypeRequest], session_id: str) -> StreamCall:
        """Begin a call of `Type`."""
        ...

    def attempt(self, call: Call[A], timeout_s: float) -> A:
        """Make a call once. Raises CarouselErrors."""
        ...


class _Connection:
    """One call of `Type`: what is put into it goes out in order, on a thread of grpc's."""

    def __init__(self, server: Server, session_id: str, first: Iterable[pb.TypeRequest] = ()) -> None:
        self._outgoing: queue.SimpleQueue[pb.TypeRequest | None] = queue.SimpleQueue()  # bounded by what is unanswered
        for request in first:
            self._outgoing.put(request)
        self._call = server.start_typing(iter(self._outgoing.get, None), session_id)
        self._responses = iter(self._call)

    def send(self, request: pb.TypeRequest | None) -> None:
        """A message, or None after the last one."""
        self._outgoing.put(request)

    def receive(self) -> pb.TypeResponse | None:
        """The next message; None after the last one. Raises CarouselErrors."""
        try:
            return next(self._responses, None)
        except grpc.RpcError as failure:
            raise error_of_call(failure) from None

    def cancel(self) -> None:
        self._outgoing.put(None)  # lets go of the thread that waits for what to send
        self._call.cancel()


class TypingStream:
    """An open stream of one session. One thread may send while another iterates; the session is the stream's until
    it is closed.

        with session.typing() as stream:
            stream.send(Insert("f"), suggest=SuggestOptions())
            stream.finish()
            for event in stream:
                print(event)

    Iterating yields Acknowledged, Suggested and Rejected as they come, and ends when the server has answered
    everything after `finish`. Suggestions for an edit that a newer one has overtaken are not sent by the server.

    If the connection is lost, iterating yields Disconnected, looks for the server for up to `resume_within_s`, sends
    again what was unanswered, yields Reconnected and goes on: no edit is lost and none is applied twice. Edits may be
    sent meanwhile. It raises the error of the loss if the server is not found in time, and NotFound if the server has
    forgotten the session, unless that was opened with `recreate`.
    """

    def __init__(self, server: Server, conversation: Conversation) -> None:
        self._server, self._conversation = server, conversation
        self._changed = threading.Condition()  # guards the conversation and which connection is the present one
        self._connection: _Connection | None = _Connection(server, conversation.session.id)

    def __enter__(self) -> TypingStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """The next event. Raises StopIteration after the last one, a CarouselError if the stream is lost for good."""
        talk = self._conversation
        while not talk.events:  # one answer may tell of several events, or of none
            connection = self._connection
            if talk.ended:
                raise StopIteration
            try:
                if connection is None:
                    self._reconnect()
                else:
                    response = connection.receive()
                    with self._changed:
                        talk.take(response)
                        self._changed.notify_all()
            except CarouselError as error:
                self._lose(error)
        return talk.events.popleft()

    @property
    def next_revision(self) -> int:
        """The revision that the next edit builds on, if all that were sent are applied."""
        with self._changed:
            return self._conversation.next_revision

    @property
    def recreations(self) -> int:
        """How often the session was made anew: what refers to a revision of before means nothing any more."""
        with self._changed:
            return self._conversation.recreations

    @property
    def unanswered(self) -> int:
        """How many edits are neither acknowledged nor rejected."""
        with self._changed:
            return self._conversation.unanswered

    def send(self, *edits: Edit, suggest: SuggestOptions | None = None, timeout_s: float = 5.0) -> str:
        """Send edits (none: only ask for suggestions); the edit id by which events tell of them.

        Waits only while as many edits as the stream may hold are unanswered; an answer counts when it is iterated.
        Raises DeadlineExceeded if that takes longer than `timeout_s`, Unavailable if the stream has ended,
        InvalidArgument for what cannot be sent; nothing was sent then.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._conversation.may_send, timeout_s):
                raise self._conversation.no_room(timeout_s)
            request = self._conversation.send(edits, suggest)
            if self._connection is not None:
                self._connection.send(request)
            return request.edit_id

    def finish(self) -> None:
        """Say that no more edits will come; the events that are still owed can be iterated."""
        with self._changed:
            if not self._conversation.finished:
                self._conversation.finished = True
                if self._connection is not None:
                    self._connection.send(None)

    def close(self) -> None:
        """End the stream now; iterating ends. What is unanswered may be applied or not; reading the text tells."""
        with self._changed:
            self._conversation.ended = True
            connection, self._connection = self._connection, None
            self._changed.notify_all()
        if connection is not None:
            connection.cancel()

    def drain(self) -> None:
        """Finish, and pass over the events that are owed, so that the session knows where it stands.

        Raises the error of an edit that was rejected meanwhile, or of the stream if it broke.
        """
        self.finish()
        rejected: CarouselError | None = None
        for event in self:
            if isinstance(event, Rejected):
                rejected = rejected or event.error
        if rejected is not None:
            raise rejected

    def _lose(self, error: CarouselError) -> None:
        """The connection is of no use any more. Raises `error` if there is no point in another one."""
        with self._changed:
            connection, self._connection = self._connection, None
            if self._conversation.ended:
                return  # closed meanwhile
            try:
                self._conversation.lost(error)
            finally:
                self._changed.notify_all()
                if connection is not None:
                    connection.cancel()

    def _reconnect(self) -> None:
        """Wait, find the server, open another connection. Raises CarouselErrors; nothing was lost then."""
        with self._changed:
            talk = self._conversation
            if self._changed.wait_for(lambda: talk.ended, talk.wait_s):
                return
            steps = talk.reconnecting()
            call = next(steps)
        while True:
            try:
                answer, error = self._server.attempt(call, PROBE_TIMEOUT_S), None
            except CarouselError as failure:
                answer, error = None, failure
            with self._changed:
                try:
                    call = steps.send(answer) if error is None else steps.throw(error)
                except StopIteration as found:
                    if not talk.ended:
                        self._connection = _Connection(self._server, talk.session.id, found.value)
                        if talk.finished:
                            self._connection.send(None)
                    self._changed.notify_all()
                    return
