"""Whole distributions after every token of a chunk: what `StepModel.read` gives, by any model, and to one row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import ReadResult, States, StepModel, StepResult


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model expected after each token of one row of a batch.

    log_probabilities: float32 [time, vocabulary], natural log.  top_tokens: integers [time, top_k], best first.
    top_log_probabilities: float32 [time, top_k].
    """

    log_probabilities: NDArray[np.float32]
    top_tokens: NDArray[np.integer]
    top_log_probabilities: NDArray[np.float32]

    @classmethod
    def of(cls, result: ReadResult, row: int) -> Reading:
        """Row `row` of a batch, as views."""
        return cls(result.log_probabilities[:, row], result.top_tokens[:, row], result.top_log_probabilities[:, row])


def read_by_steps(model: StepModel, tokens: NDArray[np.int64], states: States) -> ReadResult:
    """`StepModel.read` in terms of `step`: what any model can do, one call a token. Raises ModelError."""
    results: list[StepResult] = []
    for given in tokens:
        results.append(model.step(given[None], states, all_probabilities=True))
        states = results[-1].states
    return ReadResult(
        states=states,
        top_tokens=np.stack([result.top_tokens for result in results]),
        top_log_probabilities=np.stack([result.top_log_probabilities for result in results]),
        log_probabilities=np.stack([one for result in results if (one := result.log_probabilities) is not None]),
    )
