"""What the engine asks of the room below it: something that steps rows of a recurrent model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

States = Sequence[NDArray[np.generic]]
"""One array per recurrent tensor of the model, each [rows, width] in that tensor's dtype, C-contiguous."""


class ModelError(Exception):
    """The runtime refused a batch; nothing has changed."""


class StateShape(NamedTuple):
    """One recurrent tensor of the model."""

    width: int
    dtype: np.dtype[np.generic]
    initial: float

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.width * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one batch gave: `states` after the last token of the chunk, and the head of the distribution there.

    top_tokens: int64 [rows, top_k], best first.  top_log_probabilities: float32 [rows, top_k], natural log.
    log_probabilities: float32 [rows, vocabulary], or None if it was not asked for.
    """

    states: States
    top_tokens: NDArray[np.int64]
    top_log_probabilities: NDArray[np.float32]
    log_probabilities: NDArray[np.float32] | None = None


LIKELIEST = -1
"""In a batch for `StepModel.follow`: feed the likeliest token after the step before."""


@dataclass(frozen=True, slots=True)
class FollowResult:
    """What one batch of `StepModel.follow` gave after each of its steps; the head as in StepResult.

    states: one array [steps, rows, width] per recurrent tensor; [1, rows, width], the last, if no more was asked for.
    top_tokens: int64 [steps, rows, top_k].  top_log_probabilities: float32 [steps, rows, top_k].
    """

    states: States
    top_tokens: NDArray[np.int64]
    top_log_probabilities: NDArray[np.float32]


class ReadResult(NamedTuple):
    """What one batch of `StepModel.read` gave: `states` after the last token, and what was expected after each.

    top_tokens: int64 [time, rows, top_k].  top_log_probabilities: float32 [time, rows, top_k].
    log_probabilities: float32 [time, rows, vocabulary], natural log.
    """

    states: States
    top_tokens: NDArray[np.int64]
    top_log_probabilities: NDArray[np.float32]
    log_probabilities: NDArray[np.float32]


class StepModel(Protocol):
    """A recurrent language model over bytes. A row's result is bit-identical in any batch and any chunking."""

    @property
    def shapes(self) -> Sequence[StateShape]:
        """The recurrent tensors, in the order of `States`."""

    @property
    def top_k(self) -> int:
        """How many of the likeliest tokens a step returns per row."""

    @property
    def vocabulary_size(self) -> int:
        """Tokens are 0 .. vocabulary_size - 1."""

    @property
    def start_token(self) -> int:
        """Fed first in every session; it cannot occur in text."""

    @property
    def separator_token(self) -> int:
        """Predicted where a document ends; it cannot occur in text."""

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        """Feed a chunk to every row.

        tokens: int64 [time, rows].  states: not mutated.
        Raises ModelError if the runtime refuses the batch; nothing has changed then. May be called from one thread at
        a time; releases the interpreter lock while it computes.
        """

    def follow(self, tokens: NDArray[np.int64], states: States, *, ends_only: bool = False) -> FollowResult:
        """Feed several tokens to every row, some of them of the model's own choice, and keep what is on the way.

        tokens: int64 [steps, rows]; where LIKELIEST stands, the row is fed the first of its head after the step before,
        so none stands in the first step.  states: not mutated.  ends_only: of the states, the last ones are enough.
        The same bits as `step` with the same tokens, one at a time. Raises ModelError as `step` does.
        """

    def read(self, tokens: NDArray[np.int64], states: States) -> ReadResult:
        """Feed a chunk to every row, and tell the whole distribution after each of its tokens.

        tokens: int64 [time, rows].  states: not mutated.
        The same bits as `step` with the same tokens, one at a time. Raises ModelError as `step` does.
        """


@runtime_checkable
class Releasable(Protocol):
    """A model that holds more than Python takes back by itself."""

    def release(self) -> None:
        """Give it back. Called once, last, by whoever has run the model."""
