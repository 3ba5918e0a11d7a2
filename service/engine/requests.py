"""What may be asked of the engine and what it answers: frozen values all."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, NamedTuple, NewType, TypeVar

import numpy as np
from numpy.typing import NDArray

PathId = NewType("PathId", int)
"""A place in the state tree that a session holds; its node and the nodes above it stay reachable while it is open."""


class Stop(StrEnum):
    """Where a suggestion ends, beside `max_bytes`."""

    WORD = "word"
    LINE = "line"
    BLOCK = "block"
    NONE = "none"


class FinishReason(StrEnum):
    """Why a suggestion or a completion ended, or why there are no suggestions."""

    STOP = "stop"  # the stop rule, or a stop string
    LENGTH = "length"  # max_bytes
    END = "end"  # the model expects the text to end here
    DEADLINE = "deadline"  # came too late: no suggestions; a completion is as far as it came
    SUPERSEDED = "superseded"  # a newer edit of the session made it pointless: no suggestions, half a completion
    SHED = "shed"  # dropped under overload: no suggestions


@dataclass(frozen=True, slots=True)
class SuggestSpec:
    """The best `count` continuations of at most `max_bytes` bytes each; ranges are checked by sessions.

    Each ends where `stop` says, and before the first of `stop_strings` at the latest.
    """

    count: int = 3
    max_bytes: int = 48
    stop: Stop = Stop.LINE
    stop_strings: tuple[bytes, ...] = ()


class Continuation(NamedTuple):
    """One suggestion: valid UTF-8, never empty, and the probability of exactly this text after the path's text."""

    text: bytes
    log_probability: float  # natural log
    finish: FinishReason


AnswerType = TypeVar("AnswerType")


class Request(Generic[AnswerType]):
    """Base of what may be submitted: `AnswerType` is what its answer is called with, if not with an error."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Advance(Request["AdvanceResult"]):
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


class AdvanceResult(NamedTuple):
    """The suggestions, best first, distinct, none a prefix of another; `finish` says why if there are none.

    `steps` counts the model steps that this request caused.
    """

    continuations: tuple[Continuation, ...] = ()
    finish: FinishReason | None = None
    steps: int = 0


@dataclass(frozen=True, slots=True)
class SamplingSpec:
    """How a token is chosen; the defaults are greedy. Ranges are checked by sessions.

    Applied in this order: repetition penalty, presence and frequency penalties, logit bias, temperature, top-k, top-p,
    min-p. What is off is `top_k` 0, `top_p` 1, `min_p` 0, `repetition_penalty` 1, the other penalties 0. At
    `temperature` 0 the likeliest token is taken. The repetition penalty looks at the last bytes of the text, the other
    two count the bytes generated so far.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


@dataclass(frozen=True, slots=True)
class CompleteSpec:
    """One continuation of at most `max_bytes` bytes, ending before the first of the stop strings.

    top: tell how likely every byte was, and so many of the likeliest at its place, at most the model's `top_k`; None
    tells nothing, 0 the byte alone.
    """

    max_bytes: int = 256
    stop: tuple[bytes, ...] = ()
    sampling: SamplingSpec = SamplingSpec()
    top: int | None = None


@dataclass(frozen=True, slots=True)
class Complete(Request["Piece"]):
    """Continue `text` from where a path stands; the answer is called with one Piece after another.

    `kept` says how many leading bytes of `text` equal the text that the path was last moved to; 0 is always right. An
    Advance of the same path to another text supersedes it. After `deadline_s`, on the engine's clock, it ends with what
    it has. moves: the path, which nothing takes to another text meanwhile, stands at the end of `text` from the first
    piece on; else it stays where it is.
    """

    path: PathId
    text: bytes
    kept: int = 0
    spec: CompleteSpec = CompleteSpec()
    deadline_s: float | None = None
    moves: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """The next bytes of a completion, valid UTF-8 by themselves; `finish` says why it ended and stands on the last one.

    A last piece may be empty, no other is. `steps` counts the model steps so far. Unless `CompleteSpec.top` is None, of
    each byte of `text`, under the model's own distribution, before penalties, biases and temperature:

    log_probabilities: float32 [bytes], natural log.  top_tokens: int64 [bytes, top], the likeliest there, best first.
    top_log_probabilities: float32 [bytes, top].
    """

    text: bytes
    finish: FinishReason | None = None
    steps: int = 0
    log_probabilities: NDArray[np.float32] | None = field(default=None, compare=False)
    top_tokens: NDArray[np.int64] | None = field(default=None, compare=False)
    top_log_probabilities: NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Score(Request["Scored"]):
    """How likely `text` is, byte by byte.

    `kept` as for Complete. moves: the path, which nothing else moves, stands at the end of `text` afterwards; else it
    is not moved. start: the first byte that is scored; what is before it is only read.  top: so many of the
    likeliest bytes at every place, at most the model's `top_k`. Edits of the session do not supersede it. After
    `deadline_s`, on the engine's clock, it ends with DeadlineExceeded.
    """

    path: PathId
    text: bytes
    kept: int = 0
    start: int = 0
    top: int = 0
    deadline_s: float | None = None
    moves: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """What `Score` found of the n bytes `text[start:]`; all are natural logs of the model's own distribution.

    log_probabilities: float32 [n], of each byte after those before it.  top_tokens: int64 [n, top], the likeliest at
    its place, best first.  top_log_probabilities: float32 [n, top].  distribution: float32 [vocabulary], of what comes
    after the whole text.  steps: the model steps that it took.
    """

    log_probabilities: NDArray[np.float32]
    top_tokens: NDArray[np.int64]
    top_log_probabilities: NDArray[np.float32]
    distribution: NDArray[np.float32]
    steps: int = 0


class ModelIdentity(NamedTuple):
    """What an answer depends on beside its text: the model's name and digest, and the numerics id of this process."""

    name: str
    digest: str
    numerics_id: str
