"""What may be asked of a session and what it answers: one domain request for every facade, frozen values all."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import log
from typing import NamedTuple, NewType

import numpy as np
from numpy.typing import NDArray

from service.engine.requests import CompleteSpec, FinishReason, ModelIdentity, SamplingSpec, SuggestSpec

SessionId = NewType("SessionId", str)
Tenant = NewType("Tenant", str)


class Units(StrEnum):
    """What offsets and counts count: code points, UTF-16 code units (editors, browsers) or bytes of UTF-8."""

    CODEPOINT = "codepoint"
    UTF16 = "utf16"
    UTF8 = "utf8"


class Insert(NamedTuple):
    """Put text at the cursor; the cursor lands after it."""

    text: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove `count` units before the cursor."""

    count: int


class Replace(NamedTuple):
    """Put text in place of [start, end); the cursor lands after it."""

    start: int
    end: int
    text: str


class MoveCursor(NamedTuple):
    """Set the cursor to an absolute offset."""

    position: int


class UndoTo(NamedTuple):
    """Make the text and cursor of an earlier revision the newest revision."""

    revision: int


class Accept(NamedTuple):
    """Insert a suggestion of this session, whole or its first `length` units."""

    suggestion: str
    length: int | None = None


Edit = Insert | Delete | Replace | MoveCursor | UndoTo | Accept


class CreateSession(NamedTuple):
    """Create is idempotent for a client-chosen id: the same id and text answer the existing session.

    Of a session with `store_text` false nothing is ever written: it is in this process's memory, and lost with it.
    """

    text: str = ""
    id: SessionId | None = None
    model: str | None = None
    suggest: SuggestSpec | None = None
    units: Units = Units.CODEPOINT
    store_text: bool = True


class EditSession(NamedTuple):
    """Apply `edits` in order, all or none, to the session at `revision`; empty edits do not advance it.

    Offsets of an edit refer to the text before that edit. `edit_id` makes a retry safe when the client chose it.
    """

    session: SessionId
    revision: int
    edits: tuple[Edit, ...] = ()
    edit_id: str | None = None
    units: Units = Units.CODEPOINT
    suggest: SuggestSpec | None = None


class GetSession(NamedTuple):
    """Read a session; nothing changes."""

    session: SessionId
    include_text: bool = False
    units: Units = Units.CODEPOINT


class DeleteSession(NamedTuple):
    """Forget a session and its text."""

    session: SessionId


class ListSessions(NamedTuple):
    """The tenant's sessions by id, those after `after`; at most `limit`."""

    after: SessionId | None = None
    limit: int = 100


class ForkSession(NamedTuple):
    """A new session with the text, cursor and history of another one, at the revision that it was taken from.

    `revision` None is the newest one; an earlier one must be one that can be undone to. Idempotent for a client-chosen
    id: the same id, session and revision answer the existing fork.
    """

    session: SessionId
    id: SessionId | None = None
    revision: int | None = None
    units: Units = Units.CODEPOINT


class ExportSession(NamedTuple):
    """A session as a document that `ImportSession` takes, on any server."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class ImportSession:
    """A session from a document of `ExportSession`, at its revision, with its history and what makes retries safe.

    `id` None is the id of then, `model` None the model of then. Idempotent: a session that has grown out of the same
    document is answered as it is now.
    """

    document: bytes
    id: SessionId | None = None
    model: str | None = None
    units: Units = Units.CODEPOINT


@dataclass(frozen=True, slots=True)
class SetText:
    """Make `text` the session's text: one Replace of what differs, which the server finds.

    `revision` and `edit_id` as for EditSession. The cursor lands after what has changed, or where `cursor` says. If
    nothing differs and the cursor stays, the revision does not advance.
    """

    session: SessionId
    revision: int
    text: str
    cursor: int | None = None
    edit_id: str | None = None
    units: Units = Units.CODEPOINT
    suggest: SuggestSpec | None = None


class Prompt(NamedTuple):
    """A text without a session; `model` None is the default one. Bytes that are scored need not be whole characters."""

    text: str | bytes
    model: str | None = None

    @property
    def data(self) -> bytes:
        """The text in UTF-8. Raises UnicodeEncodeError for a lone surrogate, which checks find before."""
        return self.text if isinstance(self.text, bytes) else self.text.encode()


@dataclass(frozen=True, slots=True)
class CompleteText:
    """Go on from a prompt, or from a session's cursor; nothing is changed.

    `count` continuations of at most `max_bytes` bytes of UTF-8, each ending before the first of the strings in `stop`.
    `sampling` chooses the tokens; `seed` None lets the server choose one. top: tell how likely every byte was, and so
    many of the likeliest bytes at its place, 0 to 16; None tells nothing.
    """

    source: SessionId | Prompt
    max_bytes: int = CompleteSpec().max_bytes
    count: int = 1
    stop: tuple[str, ...] = ()
    sampling: SamplingSpec = SamplingSpec()
    seed: int | None = None
    top: int | None = None


@dataclass(frozen=True, slots=True)
class CompletedPiece:
    """The next characters of continuation `index`; `finish_reason` stands on its last piece, which may be empty.

    Unless `CompleteText.top` is None, of each byte of the text's UTF-8, under the model's own distribution:
    log_probabilities: float32 [bytes], natural log.  top_tokens: int64 [bytes, top], best first; 255 is the end of the
    text.  top_log_probabilities: float32 [bytes, top].
    """

    index: int
    text: str
    finish_reason: FinishReason | None = None
    log_probabilities: NDArray[np.float32] | None = field(default=None, compare=False)
    top_tokens: NDArray[np.int64] | None = field(default=None, compare=False)
    top_log_probabilities: NDArray[np.float32] | None = field(default=None, compare=False)


class ScoreText(NamedTuple):
    """How likely a text is, byte by byte: a prompt, or all of a session's text; nothing is changed.

    start: where scoring begins, in `units`; what is before it is only read.  top: alternatives at each byte, 0 to 16.
    surprises: how many of the places that surprised the model most are told, 0 to 64. `units` is what `start` and the
    surprises' offsets count; a prompt of bytes has no others than UTF8.
    """

    source: SessionId | Prompt
    start: int = 0
    top: int = 0
    surprises: int = 0
    units: Units = Units.UTF8


class ScoreAhead(NamedTuple):
    """How likely bytes are after what is left of a session's cursor, as if they were typed; nothing is changed.

    They need not be whole characters. start: the first of them that is scored. Answered with a ScoredText.
    """

    session: SessionId
    appended: bytes
    start: int = 0


class SuggestText(NamedTuple):
    """How a prompt goes on, without a session: there is nothing to accept. `prompt.text` is whole characters."""

    prompt: Prompt
    suggest: SuggestSpec


class Surprise(NamedTuple):
    """A place where the model expected something else; `offset` and `length` in the request's units.

    text: what stands there, to the end of the word, or bytes that are no character as U+FFFD.  surprisal_bits: of the
    character at `offset`.  expected: how the model would have gone on there, to the end of a word; empty if it expected
    the text to end.  probability: of exactly that.
    """

    offset: int
    length: int
    text: str
    surprisal_bits: float
    expected: str
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class ScoredText:
    """A scored text; arrays as in `service.engine.requests.Scored`, one row for each byte of UTF-8 from `start` on.

    start: the first byte that was scored.  length: bytes of the whole text.  revision: of the session, None for a
    prompt.  surprises: the greatest first.
    """

    model: ModelIdentity
    revision: int | None
    start: int
    length: int
    log_probabilities: NDArray[np.float32]
    top_tokens: NDArray[np.int64]
    top_log_probabilities: NDArray[np.float32]
    distribution: NDArray[np.float32]
    surprises: tuple[Surprise, ...] = ()
    steps: int = 0

    @property
    def surprisal_bits(self) -> NDArray[np.float32]:
        """What each byte would take to be told, float32 [n]: its probability's logarithm to the base of a half."""
        return self.log_probabilities * np.float32(-1 / log(2))

    @property
    def bits_per_byte(self) -> float:
        """The mean; 0 if nothing was scored."""
        if not len(self.log_probabilities):
            return 0.0
        # A running sum, whose order is fixed, so that the last bit is the same everywhere.
        total = float(np.cumsum(self.log_probabilities, dtype=np.float64)[-1])
        return -total / log(2) / len(self.log_probabilities)


class Suggestion(NamedTuple):
    """A continuation with the id by which `Accept` names it; `probability` is that of exactly `text`."""

    id: str
    text: str
    probability: float
    finish_reason: FinishReason


class SessionView(NamedTuple):
    """A session as an answer shows it: `length` and `cursor` in the request's units; `text` only if it was asked for.

    `stored` tells, in the answers to create and get, whether it outlives this process.
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
    stored: bool | None = None


class Suggested(NamedTuple):
    """What was suggested for the text at `revision`; empty with `finish_reason` if it came too late."""

    revision: int
    suggestions: tuple[Suggestion, ...]
    finish_reason: FinishReason | None = None
