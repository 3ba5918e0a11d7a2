"""What may be asked of the engine and what it answers: frozen values that cross to the engine thread and back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

PathId = NewType("PathId", int)
"""A place in the state tree that a session holds; its node and the nodes above it stay reachable while it is open."""


class Stop(StrEnum):
    """Where a suggestion ends, beside `max_bytes`."""

    WORD = "word"
    LINE = "line"
    NONE = "none"


class FinishReason(StrEnum):
    """Why a suggestion ended, or why there is none."""

    STOP = "stop"  # the stop rule
    LENGTH = "length"  # max_bytes
    END = "end"  # the model expects the text to end here
    DEADLINE = "deadline"  # came too late: no suggestions
    SUPERSEDED = "superseded"  # a newer edit of the session made it pointless: no suggestions
    SHED = "shed"  # dropped under overload: no suggestions


@dataclass(frozen=True, slots=True)
class SuggestSpec:
    """The best `count` continuations of at most `max_bytes` bytes each; ranges are checked by sessions."""

    count: int = 3
    max_bytes: int = 48
    stop: Stop = Stop.LINE


@dataclass(frozen=True, slots=True)
class Continuation:
    """One suggestion: valid UTF-8, never empty, and the probability of exactly this text after the path's text."""

    text: bytes
    log_probability: float  # natural log
    finish: FinishReason


@dataclass(frozen=True, slots=True)
class Advance:
    """Move a path to `text` (all that is left of the cursor) and, if asked, suggest what comes next.

    `kept` says how many leading bytes of `text` equal the path's previous text; 0 is always right. A newer Advance of
    the same path supersedes the suggestions of an older one, never its movement. `deadline_s` is a moment on the
    engine's clock (`time.monotonic` in service), after which suggestions are not worth computing.
    """

    path: PathId
    text: bytes
    kept: int = 0
    suggest: SuggestSpec | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class AdvanceResult:
    """The suggestions, best first, distinct, none a prefix of another; `finish` says why if there are none.

    `steps` counts the model steps that this request caused.
    """

    continuations: tuple[Continuation, ...] = ()
    finish: FinishReason | None = None
    steps: int = 0


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What an answer depends on beside its text: the model's name and digest, and the numerics id of this process."""

    name: str
    digest: str
    numerics_id: str
