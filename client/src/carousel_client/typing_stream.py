"""A `Type` stream: edits go out without waiting for their answers, events come in."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grpc

from carousel_client.answers import Event
from carousel_client.edits import Edit, SuggestOptions
from carousel_client.errors import CarouselError, DeadlineExceeded, Unavailable, error_of_call
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.session_state import SessionState
from carousel_client.stream_state import StreamState


class _StreamCall(Protocol):
    """What grpc's call of a bidirectional method offers, as far as it is used here."""

    def __iter__(self) -> Iterator[pb.TypeResponse]: ...
    def cancel(self) -> bool: ...
    def add_callback(self, callback: Callable[[], None]) -> bool: ...


class TypingStream:
    """An open stream of one session. One thread may send while another iterates; the session is the stream's until
    it is closed.

        with session.typing() as stream:
            stream.send(Insert("f"), suggest=SuggestOptions())
            for event in stream: ...

    Iterating yields Acknowledged, Suggested and Rejected as they come, and ends when the server has answered
    everything after `finish`. Suggestions for an edit that a newer one has overtaken are not sent by the server.
    """

    def __init__(self, start: Callable[[Iterator[pb.TypeRequest]], Any], session: SessionState, most: int) -> None:
        self._state, self._most = StreamState(session), most
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._finished = False
        self._outgoing: queue.SimpleQueue[pb.TypeRequest | None] = queue.SimpleQueue()  # holds at most `most`
        self._call: _StreamCall = start(iter(self._outgoing.get, None))
        if not self._call.add_callback(self._end):
            self._end()
        self._responses = iter(self._call)

    def __enter__(self) -> TypingStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        """The next event. Raises StopIteration after the last one, a CarouselError if the stream broke."""
        while not self._events:  # one answer may tell of several
            try:
                response = next(self._responses)
            except grpc.RpcError as failure:
                self._end()
                raise error_of_call(failure) from None
            with self._changed:
                self._events.extend(self._state.take(response))
                self._changed.notify_all()
        return self._events.popleft()

    @property
    def next_revision(self) -> int:
        """The revision that the next edit builds on, if all that were sent are applied."""
        with self._changed:
            return self._state.next_revision

    @property
    def unanswered(self) -> int:
        """How many edits are neither acknowledged nor rejected."""
        with self._changed:
            return self._state.unanswered

    def send(self, *edits: Edit, suggest: SuggestOptions | None = None, timeout_s: float = 5.0) -> str:
        """Send edits (none: only ask for suggestions); the edit id by which events tell of them.

        Waits only while as many edits as the stream may hold are unanswered; an answer counts when it is iterated.
        Raises DeadlineExceeded if that takes longer than `timeout_s`, Unavailable if the stream has ended,
        InvalidArgument for what cannot be sent; nothing was sent then.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended or self._state.unanswered < self._most, timeout_s):
                raise DeadlineExceeded(f"{self._most} edits are unanswered after {timeout_s} s: iterate the stream")
            if self._ended or self._finished:
                raise Unavailable("the stream has ended; open another one")
            request = self._state.request(edits, suggest)
            self._outgoing.put(request)
            return request.edit_id

    def finish(self) -> None:
        """Say that no more edits will come; the events that are still owed can be iterated."""
        with self._changed:
            if not self._finished:
                self._finished = True
                self._outgoing.put(None)

    def close(self) -> None:
        """End the stream now. Edits that were sent may or may not be applied; reading the text tells."""
        self.finish()
        self._call.cancel()

    def drain(self) -> None:
        """Finish, and pass over the events that are owed, so that the session knows where it stands.

        Raises the error of an edit that was rejected meanwhile, or of the stream if it broke.
        """
        self.finish()
        rejected: CarouselError | None = None
        for event in self:
            error = getattr(event, "error", None)
            rejected = rejected or error
        if rejected is not None:
            raise rejected

    def _end(self) -> None:
        """No more answers will come; called on a thread of grpc's, or by who noticed."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
