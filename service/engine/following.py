"""`StepModel.follow` in terms of `step`: what any model can do, one call a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import LIKELIEST, FollowResult, States, StepModel, StepResult


def follow_by_steps(
    model: StepModel, tokens: NDArray[np.int64], states: States, *, ends_only: bool = False
) -> FollowResult:
    """Feed tokens, int64 [steps, rows], one step a call; see `StepModel.follow`. Raises ModelError."""
    results: list[StepResult] = []
    for given in tokens:
        fed = given if not results else np.where(given == LIKELIEST, results[-1].top_tokens[:, 0], given)
        results.append(model.step(fed[None], states))
        states = results[-1].states
    kept = results[-1:] if ends_only else results
    return FollowResult(
        states=[np.stack([result.states[tensor] for result in kept]) for tensor in range(len(states))],
        top_tokens=np.stack([result.top_tokens for result in results]),
        top_log_probabilities=np.stack([result.top_log_probabilities for result in results]),
    )
