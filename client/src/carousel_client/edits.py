"""What may be done to a session's text, and what may be asked of its model: frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Units(StrEnum):
    """What offsets and counts count. Python's strings count code points."""

    CODEPOINT = "codepoint"
    UTF16 = "utf16"
    UTF8 = "utf8"


class Stop(StrEnum):
    """Where a suggestion ends, beside `max_bytes`.

    `BLOCK`: it may span lines and ends before the first line that leaves the block, that is, before the first line that
    is not blank and is indented less than the block. The block's indentation is that of the first line after the
    cursor's that is not blank, if that is deeper than the cursor's line, else that of the cursor's line.
    """

    WORD = "word"
    LINE = "line"
    BLOCK = "block"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Insert:
    """Put text at the cursor; the cursor lands after it."""

    text: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove `count` units before the cursor."""

    count: int = 1


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
    """Insert the suggestion with this id, whole or its first `length` units; the first edit of its request."""

    suggestion: str
    length: int | None = None


Edit = Insert | Delete | Replace | MoveCursor | UndoTo | Accept


@dataclass(frozen=True, slots=True)
class SuggestOptions:
    """The best `count` continuations of at most `max_bytes` bytes; what is None is the server's default (3, 48).

    Each ends where `stop` says, and before the first of `stop_strings` (at most 4, of 1 to 64 bytes) at the latest.
    """

    count: int | None = None
    max_bytes: int | None = None
    stop: Stop = Stop.LINE
    stop_strings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CompleteOptions:
    """What is None is the server's default: one completion of at most 256 bytes, of the likeliest bytes.

    It ends before the first of the strings in `stop`. `logit_bias` is per byte; byte 255 is the end of the text. With
    the `seed` of an earlier answer the same request gives the same text. `top` asks how likely every byte was, and for
    so many of the likeliest bytes at its place (0 to 16), by the model's own distribution.
    """

    max_bytes: int | None = None
    count: int | None = None
    stop: Sequence[str] = ()
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    top: int | None = None
