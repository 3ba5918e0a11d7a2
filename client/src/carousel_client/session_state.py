"""What a client knows of a session, and the methods that every kind of session has: written once for all shells."""

from __future__ import annotations

import itertools
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

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
from carousel_client.messages import Call, delete_call, edit_call, get_call

EditAnswer = TypeVar("EditAnswer")


class SessionState:
    """Where a session stands as far as this client knows, and the requests that are based on it.

    Not thread-safe: a session belongs to one thread, or to a stream that guards it.
    """

    def __init__(self, answer: Answer, units: Units) -> None:
        self.id, self.model, self.units = answer.session_id, answer.model, units
        self.revision, self.length, self.cursor = answer.revision, answer.length, answer.cursor
        self._id_prefix = secrets.token_hex(8)
        self._edits_named = itertools.count(1)

    def new_edit_id(self) -> str:
        """An id that no other edit has, also if another client edits the same session."""
        return f"{self._id_prefix}-{next(self._edits_named)}"

    def edit(self, edits: Sequence[Edit], suggest: SuggestOptions | None, edit_id: str | None) -> Call[Answer]:
        """The call that applies `edits` to what this client knows."""
        return edit_call(self.id, self.revision, edit_id or self.new_edit_id(), edits, self.units, suggest)

    def read(self) -> Call[tuple[Answer, str]]:
        """The call that reads the text."""
        return get_call(self.id, self.units, include_text=True)

    def delete(self) -> Call[None]:
        """The call that forgets the session."""
        return delete_call(self.id)

    def take(self, answer: Answer | Acknowledged) -> None:
        """The session stands where `answer` says."""
        self.revision, self.length, self.cursor = answer.revision, answer.length, answer.cursor


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
