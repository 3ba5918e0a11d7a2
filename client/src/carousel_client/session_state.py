"""What a client knows of a session, and the methods that every kind of session has: written once for all shells."""

from __future__ import annotations

import itertools
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

from carousel_client.answers import Acknowledged, Answer, Model, Suggestion
from carousel_client.edits import (
    Accept,
    Delete,
    Edit,
    Insert,
    MoveCursor,
    Replace,
    Stop,
    SuggestOptions,
    UndoTo,
    Units,
)
from carousel_client.errors import CarouselError, InvalidArgument, NotFound, RevisionConflict
from carousel_client.messages import Call, create_call, delete_call, edit_call, get_call
from carousel_client.text_mirror import CannotFollow, TextMirror, first_units

A = TypeVar("A")
EditAnswer = TypeVar("EditAnswer")

Steps = Generator[Call[Any], Any, A]
"""What takes several calls: yields each, is sent its answer or thrown its CarouselError, and returns the outcome."""

FIRST_REVISION = 1
"""Of a session that was just created."""

_ACCEPTED_FIELD = "edits[0].accept.suggestion"


class SessionState:
    """Where a session stands as far as this client knows, and the requests that are based on it.

    Given its `text`, it follows what becomes of it, so that a session which its server has forgotten can be made anew.
    Not thread-safe: a session belongs to one thread, or to a stream that guards it.
    """

    def __init__(self, answer: Answer, units: Units, text: str | None = None, *, store_text: bool = True) -> None:
        self.id, self.model, self.units = answer.session_id, answer.model, units
        self.revision, self.length, self.cursor = answer.revision, answer.length, answer.cursor
        self.mirror: TextMirror | None = None
        self.recreates, self._store_text = text is not None, store_text
        self._id_prefix = secrets.token_hex(8)
        self._edits_named = itertools.count(1)
        self._offered: dict[str, str] = {}
        if text is not None:
            self.read_as(answer, text)

    def new_edit_id(self) -> str:
        """An id that no other edit has, also if another client edits the same session."""
        return f"{self._id_prefix}-{next(self._edits_named)}"

    def deleting(self) -> Steps[None]:
        """Let the server forget the session; one that is gone is what was wanted."""
        try:
            yield delete_call(self.id)
        except NotFound:
            return

    def take(self, answer: Answer | Acknowledged, *requests: Sequence[Edit]) -> None:
        """The session stands where `answer` says; the edits of `requests`, in turn, have brought it there."""
        self.revision, self.length, self.cursor = answer.revision, answer.length, answer.cursor
        self._follow(requests)
        if isinstance(answer, Answer):
            self.offer(answer.revision, answer.suggestions)

    def read_as(self, answer: Answer, text: str) -> None:
        """The session stands where `answer` says, and its text was read."""
        self.mirror = TextMirror(text, answer.cursor, answer.revision, self.units) if self.recreates else None
        self.take(answer)

    def offer(self, revision: int, suggestions: Sequence[Suggestion]) -> None:
        """Suggestions have come for the text at `revision`; those of earlier answers are outdated."""
        if suggestions:
            self._offered = {one.id: one.text for one in suggestions}
            if self.mirror is not None:
                self.mirror.offer(revision, suggestions)

    def without_accept(self, edits: Sequence[Edit], error: CarouselError) -> list[Edit] | None:
        """The same edits with the suggestion's text inserted, if the server refused them because it has forgotten that
        it suggested it: that much a restarted server does forget. None if that is not what is wrong.
        """
        if not (isinstance(error, InvalidArgument) and error.field == _ACCEPTED_FIELD and edits):
            return None
        first, *others = edits
        if not isinstance(first, Accept) or first.suggestion not in self._offered:
            return None
        text = first_units(self._offered[first.suggestion], first.length, self.units)
        return [Insert(text), *others]

    def is_gone(self, error: CarouselError) -> bool:
        """Whether `error` says that the server has forgotten the session and this client can make it anew."""
        return self.mirror is not None and isinstance(error, NotFound) and error.kind == "session"

    def editing(self, edits: Sequence[Edit], suggest: SuggestOptions | None, edit_id: str | None) -> Steps[Answer]:
        """Apply edits, also if the server has forgotten the suggestion, or a session that can be made anew."""
        edit_id = edit_id or self.new_edit_id()
        try:
            answer: Answer = yield self._edit(edits, suggest, edit_id)
        except InvalidArgument as error:
            inserting = self.without_accept(edits, error)
            if inserting is None:
                raise
            edits = inserting
            answer = yield self._edit(edits, suggest, edit_id)
        except NotFound as error:
            if not self.is_gone(error):
                raise
            edits = self.plain(edits)
            yield from self.recreating()
            answer = yield self._edit(edits, suggest, edit_id)
        self.take(answer, edits)
        return answer

    def reading(self) -> Steps[str]:
        """The text; the next edit is based on it."""
        answer, text = yield from self.about(lambda: get_call(self.id, self.units, include_text=True))
        self.read_as(answer, text)
        return str(text)

    def about(self, call: Callable[[], Call[A]]) -> Steps[A]:
        """Make a call that changes nothing about the session; it is made anew first if need be and may be."""
        answer: A
        try:
            answer = yield call()
        except NotFound as error:
            if not self.is_gone(error):
                raise
            yield from self.recreating()
            answer = yield call()
        return answer

    def plain(self, edits: Sequence[Edit]) -> Sequence[Edit]:
        """The edits in terms of the text alone, as far as that is known here."""
        try:
            return edits if self.mirror is None else self.mirror.copy().apply(edits)
        except CannotFollow:
            return edits  # the server will refuse them

    def recreating(self) -> Steps[None]:
        """Make the session anew, with the id and text of the one that is gone, which `is_gone` has said.

        Raises RevisionConflict if somebody else has done so and has edited it. May be begun again if it fails.
        """
        if self.mirror is None:
            raise NotFound("the session's text is not known here", kind="session")
        cursor = None if self.mirror.at_end else self.mirror.cursor
        answer: Answer = yield create_call(
            self.id, self.mirror.text, self.model.name, self.units, store_text=self._store_text
        )
        self.mirror.restart(FIRST_REVISION)
        if cursor is None:
            if answer.revision != FIRST_REVISION:
                raise RevisionConflict(
                    "another client has made the session anew and edited it", current=answer.revision
                )
            self.take(answer)
        else:
            # Always the same request: if its answer was lost, it is recalled; if another client was here, refused.
            move = [MoveCursor(cursor)]
            edit_id = f"{self._id_prefix}-cursor-{cursor}"
            answer = yield edit_call(self.id, FIRST_REVISION, edit_id, move, self.units, None)
            self.take(answer, move)

    def _edit(self, edits: Sequence[Edit], suggest: SuggestOptions | None, edit_id: str) -> Call[Answer]:
        return edit_call(self.id, self.revision, edit_id, edits, self.units, suggest)

    def _follow(self, requests: Sequence[Sequence[Edit]]) -> None:
        """Do here what the server did; if that cannot be, nothing is followed until the text is read again."""
        if self.mirror is None:
            return
        try:
            for edits in requests:
                self.mirror.apply(edits)
        except CannotFollow:
            self.mirror = None
        else:
            if self.mirror.revision != self.revision:
                self.mirror = None


def once(call: Call[A]) -> Steps[A]:
    """Steps of one call."""
    answer: A = yield call
    return answer


class SessionMethods(ABC, Generic[EditAnswer]):
    """A session as its user sees it; `EditAnswer` is Answer, or what gives one when awaited.

    Offsets and counts are in the units that the session was opened with, code points unless said otherwise.
    """

    def __init__(self, state: SessionState) -> None:
        self._state = state

    @property
    def id(self) -> str:
        """Its name on the server."""
        return self._state.id

    @property
    def model(self) -> Model:
        """The model that suggests."""
        return self._state.model

    @property
    def revision(self) -> int:
        """The revision that the next edit is based on."""
        return self._state.revision

    @property
    def length(self) -> int:
        """The text's length at that revision."""
        return self._state.length

    @property
    def cursor(self) -> int:
        """The cursor's offset at that revision."""
        return self._state.cursor

    @abstractmethod
    def edit(
        self,
        edits: Sequence[Edit],
        *,
        suggest: SuggestOptions | None = None,
        edit_id: str | None = None,
        timeout_s: float | None = None,
    ) -> EditAnswer:
        """Apply `edits` in order, all or none; each offset refers to the text before that edit.

        After DeadlineExceeded or Unavailable it is not known whether they were applied: the same call with the same
        `edit_id` (any unique string) applies them if they were not, and answers either way.
        Raises InvalidArgument, RevisionConflict and the other CarouselErrors; the session is as it was then.
        """

    def type(self, text: str, *, suggest: SuggestOptions | None = None) -> EditAnswer:
        """Insert text at the cursor."""
        return self.edit([Insert(text)], suggest=suggest)

    def delete(self, count: int = 1, *, suggest: SuggestOptions | None = None) -> EditAnswer:
        """Remove `count` units before the cursor."""
        return self.edit([Delete(count)], suggest=suggest)

    def replace(self, start: int, end: int, text: str, *, suggest: SuggestOptions | None = None) -> EditAnswer:
        """Put text in place of [start, end); the cursor lands after it."""
        return self.edit([Replace(start, end, text)], suggest=suggest)

    def move(self, position: int, *, suggest: SuggestOptions | None = None) -> EditAnswer:
        """Set the cursor."""
        return self.edit([MoveCursor(position)], suggest=suggest)

    def undo_to(self, revision: int, *, suggest: SuggestOptions | None = None) -> EditAnswer:
        """Make the text and cursor of an earlier revision the newest revision."""
        return self.edit([UndoTo(revision)], suggest=suggest)

    def accept(
        self, suggestion: Suggestion | str, length: int | None = None, *, suggest: SuggestOptions | None = None
    ) -> EditAnswer:
        """Insert a suggestion of the last answer (or its id), whole or its first `length` units."""
        id_ = suggestion.id if isinstance(suggestion, Suggestion) else suggestion
        return self.edit([Accept(id_, length)], suggest=suggest)

    def suggest(
        self,
        count: int | None = None,
        *,
        max_bytes: int | None = None,
        stop: Stop = Stop.LINE,
        stop_strings: Sequence[str] = (),
    ) -> EditAnswer:
        """The best continuations at the cursor; 3 of at most 48 bytes unless asked otherwise. Changes nothing."""
        return self.edit([], suggest=SuggestOptions(count, max_bytes, stop, stop_strings))
