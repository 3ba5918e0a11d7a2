"""The state of one `Type` stream: what is unanswered, what the next edit is based on, and what is sent again.

This is the whole of what a stream knows; it does no I/O. A shell sends what `request` and `resume` give, hands every
message of the server to `take`, and when its connection breaks opens another one and calls `resume`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from carousel_client.answers import Acknowledged, Event, Rejected, Suggested
from carousel_client.edits import Edit, SuggestOptions
from carousel_client.errors import CarouselError, InvalidArgument, RevisionConflict, Unavailable
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.messages import events_of, type_request
from carousel_client.retries import is_passing
from carousel_client.session_state import SessionState
from carousel_client.text_mirror import CannotFollow

MOST_UNANSWERED = 256
"""A server knows so many edit ids; more unanswered ones could not all be sent again safely."""


class Interrupted(Exception):
    """The connection is of no use any more, for the reason `error`: open another one and `resume`."""

    def __init__(self, error: CarouselError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class _Sent:
    """One message. `course` counts the rejections that had been seen when it was sent, `after` is the edit id of what
    it builds on, if that was not answered then.
    """

    edit_id: str
    revision: int
    edits: tuple[Edit, ...]
    suggest: SuggestOptions | None
    course: int
    after: str = ""


class StreamState:
    """Foresees revisions, so that an edit can be sent before the one that it builds on is acknowledged.

    After a rejection the edits that were already on their way are rejected too, and what is sent next builds on the
    last acknowledged revision again. Not thread-safe.

    Resuming rests on the server's promise that an edit id it knows is answered as it was the first time and not applied
    again. So whatever is unanswered is sent again, in order, with its ids and revisions: what was committed is
    acknowledged, what was lost is applied.
    """

    def __init__(self, session: SessionState, most: int = MOST_UNANSWERED) -> None:
        """`most` is how many edits may be unanswered. Raises InvalidArgument if so many could not be sent again."""
        if not 1 <= most <= MOST_UNANSWERED:
            raise InvalidArgument(f"{most} is not in 1..{MOST_UNANSWERED}", field="max_unanswered")
        self._session = session
        self._unanswered: deque[_Sent] = deque()
        self._asked: _Sent | None = None  # the newest message, if its suggestions have not come
        self._next_revision = session.revision
        self._course = 0

    @property
    def unanswered(self) -> int:
        """How many edits are neither acknowledged nor rejected."""
        return len(self._unanswered)

    @property
    def next_revision(self) -> int:
        """The revision that the next edit builds on, if all that were sent are applied."""
        return self._next_revision

    def request(self, edits: Sequence[Edit], suggest: SuggestOptions | None) -> pb.TypeRequest:
        """The next message to send. Raises InvalidArgument for what cannot be sent; nothing has changed then."""
        builds_on = (sent.edit_id for sent in reversed(self._unanswered) if sent.edits and sent.course == self._course)
        sent = _Sent(
            self._session.new_edit_id(), self._next_revision, tuple(edits), suggest, self._course, next(builds_on, "")
        )
        request = self._message(sent)
        self._unanswered.append(sent)
        self._asked = sent if suggest is not None else None
        if edits:  # a request without edits does not advance the revision
            self._next_revision += 1
        return request

    def take(self, response: pb.TypeResponse) -> tuple[Event, ...]:
        """What the server says, in order; the session and the edits to come follow it.

        Raises Interrupted if it says that it cannot say just now; no event is lost by that.
        """
        return tuple(event for event in events_of(response) if self._is_news(event))

    def resume(self) -> tuple[list[pb.TypeRequest], list[Event]]:
        """What to send first on a new connection, and what is known of what was under way without asking.

        What was built on an edit that was rejected is rejected, as the server would have said. A request for
        suggestions that a newer edit has overtaken is dropped: an acknowledgement tells of all before it.
        """
        hopeless = [sent for sent in self._unanswered if sent.edits and sent.course != self._course]
        kept = [sent for sent in self._unanswered if sent not in hopeless]
        kept = [sent for sent in kept if sent.edits or sent is kept[-1]]
        if kept and not kept[-1].edits:
            kept[-1] = replace(kept[-1], revision=self._next_revision, course=self._course)
        again = list(kept)
        if kept or self._asked in hopeless:
            self._asked = kept[-1] if kept and kept[-1].suggest is not None else None
        elif self._asked is not None:
            again = [self._asked]  # acknowledged, but without the suggestions that it asked for
        self._unanswered = deque(kept)
        conflict = RevisionConflict("it was built on an edit that was rejected", current=self._session.revision)
        return [self._message(sent) for sent in again], [Rejected(sent.edit_id, conflict) for sent in hopeless]

    def restate(self) -> None:
        """Let the unanswered edits speak of the text alone: undoing and accepting refer to a session, which is gone."""
        if self._session.mirror is None:
            return
        mirror = self._session.mirror.copy()
        for index, sent in enumerate(self._unanswered):
            if sent.course == self._course:
                try:
                    plain = mirror.apply(sent.edits)
                except CannotFollow:
                    return  # the server will refuse that edit, and so what is built on it
                self._unanswered[index] = replace(sent, edits=tuple(plain))

    def rebase(self) -> None:
        """The session was created anew: what is unanswered builds on its revisions."""
        revision = self._session.revision
        for index, sent in enumerate(self._unanswered):
            if sent.course == self._course:
                self._unanswered[index] = replace(sent, revision=revision)
                revision += bool(sent.edits)
        self._next_revision = revision
        if self._unanswered:
            newest = self._unanswered[-1]
            self._asked = None if newest.suggest is None else newest
        elif self._asked is not None:
            self._asked = replace(self._asked, revision=revision, edits=())

    def _is_news(self, event: Event) -> bool:
        match event:
            case Acknowledged():
                settled = self._settle(event.edit_id)
                if settled:
                    applied = (sent.edits for sent in settled if sent.course == self._course or sent is settled[-1])
                    self._session.take(event, *applied)
                return bool(settled)  # else it was sent again for its suggestions alone
            case Rejected():
                return self._reject(event)
            case Suggested():
                self._session.offer(event.revision, event.suggestions)
                if self._asked is not None and self._asked.edit_id == event.edit_id:
                    self._asked = None
            case _:
                pass
        return True

    def _reject(self, event: Rejected) -> bool:
        sent = next((one for one in self._unanswered if one.edit_id == event.edit_id), None)
        if sent is None or sent.course == self._course:
            if is_passing(event.error) or self._session.is_gone(event.error):
                raise Interrupted(event.error)
            if sent is not None:
                self._insert_instead(sent, event.error)
        settled = self._settle(event.edit_id)
        if not settled:
            return False
        if settled[-1].course == self._course:
            self._course += 1
            self._next_revision = self._session.revision
        return True

    def _insert_instead(self, sent: _Sent, error: CarouselError) -> None:
        """If the server has forgotten the suggestion that is accepted, have its text sent: raises Interrupted."""
        edits = self._session.without_accept(sent.edits, error)
        if edits is not None:
            inserting = replace(sent, edits=tuple(edits))
            self._unanswered = deque(inserting if one is sent else one for one in self._unanswered)
            raise Interrupted(Unavailable(str(error), retry_after_s=0.0))

    def _settle(self, edit_id: str) -> list[_Sent]:
        """Answers are cumulative: this edit and those before it, the last one this. Empty if it is not one of ours."""
        if all(sent.edit_id != edit_id for sent in self._unanswered):
            return []
        settled: list[_Sent] = []
        while not settled or settled[-1].edit_id != edit_id:
            settled.append(self._unanswered.popleft())
        return settled

    def _message(self, sent: _Sent) -> pb.TypeRequest:
        session = self._session
        return type_request(
            session.id, sent.revision, sent.edit_id, sent.edits, session.units, sent.suggest, sent.after
        )
