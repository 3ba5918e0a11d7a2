"""What a StepModel does with states that no text leads to: right answers or a refusal, never NaN."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import LIKELIEST, ModelError, States, StateShape, StepModel

STEPS = 24
Outcome = Literal["harmless", "refused", "NaN"]

_EXTREMES = {
    "1e30": 1e30,
    "-1e30": -1e30,
    "largest": float(np.finfo(np.float32).max),
    "infinity": np.inf,
    "-infinity": -np.inf,
    "NaN": np.nan,
}


def feed_extremes(model: StepModel) -> dict[str, Outcome]:
    """Step and follow from states of 1e30, the largest floats, infinities and NaN, and integers at their ends.

    Returns by case `harmless` (finite probabilities for 24 steps, either way) or `refused`; `NaN` would be a broken
    model.
    """
    found: dict[str, Outcome] = {}
    for name, value in _EXTREMES.items():
        outcomes = _stepped(model, value), _followed(model, value)
        worst = max(outcomes, key=("harmless", "refused", "NaN").index)
        found[name] = worst
    return found


def limits(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    """The least and the largest value of an integer dtype."""
    bits = 8 * dtype.itemsize
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype.kind == "i" else (0, 2**bits - 1)


def _stepped(model: StepModel, value: float) -> Outcome:
    states: States = [_filled(shape, value) for shape in model.shapes]
    for step in range(STEPS):
        token = np.array([[step % model.vocabulary_size]], np.int64)
        try:
            result = model.step(token, states, all_probabilities=True)
        except ModelError:
            return "refused"
        if not np.isfinite(result.log_probabilities if result.log_probabilities is not None else np.nan).all():
            return "NaN"
        states = result.states
    return "harmless"


def _followed(model: StepModel, value: float) -> Outcome:
    tokens = np.full((STEPS, 1), LIKELIEST, np.int64)
    tokens[0] = 0
    try:
        result = model.follow(tokens, [_filled(shape, value) for shape in model.shapes])
    except ModelError:
        return "refused"
    return "harmless" if np.isfinite(result.top_log_probabilities).all() else "NaN"


def _filled(shape: StateShape, value: float) -> NDArray[np.generic]:
    if np.issubdtype(shape.dtype, np.floating):
        return np.full((1, shape.width), value).astype(shape.dtype)
    low, high = limits(shape.dtype)
    return np.full((1, shape.width), high if value > 0 else low).astype(shape.dtype)
