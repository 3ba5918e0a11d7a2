"""The state of one `Type` stream: which edits are unanswered, and which revision the next one will be based on."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from carousel_client.answers import Acknowledged, Event, Rejected
from carousel_client.edits import Edit, SuggestOptions
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.messages import events_of, type_request
from carousel_client.session_state import SessionState


@dataclass(frozen=True, slots=True)
class _Unanswered:
    edit_id: str
    course: int  # counts the rejections that had been seen when it was sent


class StreamState:
    """Foresees revisions, so that an edit can be sent before the one that it builds on is acknowledged.

    After a rejection the edits that were already on their way are rejected too, and what is sent next builds on the
    last acknowledged revision again. Not thread-safe.
    """

    def __init__(self, session: SessionState) -> None:
        self._session = session
        self._unanswered: deque[_Unanswered] = deque()
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
        edit_id = self._session.new_edit_id()
        request = type_request(self._session.id, self._next_revision, edit_id, edits, self._session.units, suggest)
        self._unanswered.append(_Unanswered(edit_id, self._course))
        if edits:  # a request without edits does not advance the revision
            self._next_revision += 1
        return request

    def take(self, response: pb.TypeResponse) -> tuple[Event, ...]:
        """What the server says, in order; the session and the edits to come follow it."""
        events = events_of(response)
        for event in events:
            match event:
                case Acknowledged():
                    self._settle(event.edit_id)
                    self._session.take(event)
                case Rejected():
                    rejected = self._settle(event.edit_id)
                    if rejected is None or rejected.course == self._course:
                        self._course += 1
                        self._next_revision = self._session.revision
                case _:
                    pass  # suggestions settle nothing
        return events

    def _settle(self, edit_id: str) -> _Unanswered | None:
        """Answers are cumulative: this edit and those before it. None if it is not one of ours."""
        if all(edit.edit_id != edit_id for edit in self._unanswered):
            return None
        while (edit := self._unanswered.popleft()).edit_id != edit_id:
            pass
        return edit
