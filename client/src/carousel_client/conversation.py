"""All that a typing stream decides, for every shell: which events to tell, when a connection is of no use any more, how
long to look for the server, what to ask it first and what to send it again. No I/O, no event loop, no waiting.

What needs calls is a generator that yields them and is sent their answers (or thrown their errors), as are the steps
of a session (`session_state`). A shell makes the calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from carousel_client.answers import Disconnected, Event, Reconnected
from carousel_client.edits import Edit, SuggestOptions
from carousel_client.errors import CarouselError, DeadlineExceeded, NotFound, Unavailable
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.messages import get_call
from carousel_client.resuming import Resumption
from carousel_client.session_state import SessionState, Steps
from carousel_client.stream_state import Interrupted, StreamState


class Conversation:
    """One typing stream, over one connection after the other. Not thread-safe: the shell guards it."""

    def __init__(self, session: SessionState, most: int, resumption: Resumption) -> None:
        self.session, self._most = session, most
        self._state, self._resumption = StreamState(session, most), resumption
        self.events: deque[Event] = deque()
        self.wait_s = 0.0  # before the server is looked for
        self.finished = False  # no more edits will come
        self.ended = False  # nothing more happens at all
        self.recreations = 0  # how often the session was made anew: revisions of before mean nothing after
        self._connected = True
        self._gone = False  # the server has forgotten the session, which is to be created again

    @property
    def next_revision(self) -> int:
        """The revision that the next edit builds on, if all that were sent are applied."""
        return self._state.next_revision

    @property
    def unanswered(self) -> int:
        """How many edits are neither acknowledged nor rejected."""
        return self._state.unanswered

    @property
    def may_send(self) -> bool:
        """Whether `send` would neither wait for room nor for nothing."""
        return self.ended or self._state.unanswered < self._most

    def send(self, edits: Sequence[Edit], suggest: SuggestOptions | None) -> pb.TypeRequest:
        """The message that says this. Raises Unavailable after the end, InvalidArgument for what cannot be sent."""
        if self.finished or self.ended:
            raise Unavailable("the stream has ended; open another one")
        return self._state.request(edits, suggest)

    def no_room(self, timeout_s: float) -> DeadlineExceeded:
        """The error of a `send` that has waited so long."""
        return DeadlineExceeded(f"{self._most} edits are unanswered after {timeout_s} s: iterate the stream")

    def take(self, response: pb.TypeResponse | None) -> None:
        """A message has come, None being the end. Raises a CarouselError if the connection is of no more use."""
        if response is None:
            if not self.finished or self._state.unanswered:
                raise Unavailable("the server ended the stream before it had answered everything")
            self.ended = True
            return
        try:
            self.events.extend(self._state.take(response))
        except Interrupted as interruption:
            self._gone = self.session.is_gone(interruption.error)
            if self._gone:
                raise Unavailable(str(interruption.error)) from interruption.error
            raise interruption.error from None
        self._resumption.progressed()

    def lost(self, error: CarouselError) -> None:
        """The connection is gone; `wait_s` says when to look for the server. Raises `error` if that is to no avail."""
        try:
            self.wait_s = self._resumption.lost(error)
        except CarouselError:
            self.ended = True
            raise
        if self._connected:
            self._connected = False
            self.events.append(Disconnected(error))

    def reconnecting(self) -> Steps[list[pb.TypeRequest]]:
        """Find the server and the session; what to send first on a new connection.

        Raises CarouselErrors, as `lost` takes them; it may be begun again then.
        """
        if not self._gone:
            try:
                yield get_call(self.session.id, self.session.units, include_text=False)
            except NotFound as error:
                if not self.session.is_gone(error):
                    raise
                self._gone = True
        recreated = self._gone
        if self._gone:
            yield from self._recreating()
        self._resumption.found()
        again, events = self._state.resume()
        self._connected = True
        self.events += [*events, Reconnected(recreated)]
        return again

    def _recreating(self) -> Steps[Any]:
        self._state.restate()
        yield from self.session.recreating()
        self._state.rebase()
        self._gone = False
        self.recreations += 1
