"""What may be asked of a session and what it answers: one domain request for every facade, frozen values all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from service.engine.requests import CompleteSpec, FinishReason, ModelIdentity, SamplingSpec, SuggestSpec

SessionId = NewType("SessionId", str)
Tenant = NewType("Tenant", str)


class Units(StrEnum):
    """What offsets and counts count: code points, UTF-16 code units (editors, browsers) or bytes of UTF-8."""

    CODEPOINT = "codepoint"
    UTF16 = "utf16"
    UTF8 = "utf8"


@dataclass(frozen=True, slots=True)
class Insert:
    """Put text at the cursor; the cursor lands after it."""

    text: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove `count` units before the cursor."""

    count: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Put text in place of [start, end); the cursor lands after it."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class MoveCursor:
    """Set the cursor to an absolute offset."""

    position: int


@dataclass(frozen=True, slots=True)
class UndoTo:
    """Make the text and cursor of an earlier revision the newest revision."""

    revision: int


@dataclass(frozen=True, slots=True)
class Accept:
    """Insert a suggestion of this session, whole or its first `length` units."""

    suggestion: str
    length: int | None = None


Edit = Insert | Delete | Replace | MoveCursor | UndoTo | Accept


@dataclass(frozen=True, slots=True)
class CreateSession:
    """Create is idempotent for a client-chosen id: the same id and text answer the existing session."""

    text: str = ""
    id: SessionId | None = None
    model: str | None = None
    suggest: SuggestSpec | None = None
    units: Units = Units.CODEPOINT


@dataclass(frozen=True, slots=True)
class EditSession:
    """Apply `edits` in order, all or none, to the session at `revision`; empty edits do not advance it.

    Offsets of an edit refer to the text before that edit. `edit_id` makes a retry safe when the client chose it.
    """

    session: SessionId
    revision: int
    edits: tuple[Edit, ...] = ()
    edit_id: str | None = None
    units: Units = Units.CODEPOINT
    suggest: SuggestSpec | None = None


@dataclass(frozen=True, slots=True)
class GetSession:
    """Read a session; nothing changes."""

    session: SessionId
    include_text: bool = False
    units: Units = Units.CODEPOINT


@dataclass(frozen=True, slots=True)
class DeleteSession:
    """Forget a session and its text."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text without a session; `model` None is the default one."""

    text: str
    model: str | None = None


@dataclass(frozen=True, slots=True)
class CompleteText:
    """Go on from a prompt, or from a session's cursor; nothing is changed.

    `count` continuations of at most `max_bytes` bytes of UTF-8, each ending before the first of the strings in `stop`.
    `sampling` chooses the tokens; `seed` None lets the server choose one.
    """

    source: SessionId | Prompt
    max_bytes: int = CompleteSpec().max_bytes
    count: int = 1
    stop: tuple[str, ...] = ()
    sampling: SamplingSpec = SamplingSpec()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class CompletedPiece:
    """The next characters of continuation `index`; `finish_reason` stands on its last piece, which may be empty."""

    index: int
    text: str
    finish_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A continuation with the id by which `Accept` names it; `probability` is that of exactly `text`."""

    id: str
    text: str
    probability: float
    finish_reason: FinishReason


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session as an answer shows it: `length` and `cursor` in the request's units; `text` only if it was asked for.

    `suggestions` is None if none were asked for; empty with `finish_reason` if they came too late.
    """

    id: SessionId
    revision: int
    length: int
    cursor: int
    model: ModelIdentity
    suggestions: tuple[Suggestion, ...] | None = None
    finish_reason: FinishReason | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Suggested:
    """What was suggested for the text at `revision`; empty with `finish_reason` if it came too late."""

    revision: int
    suggestions: tuple[Suggestion, ...]
    finish_reason: FinishReason | None = None
