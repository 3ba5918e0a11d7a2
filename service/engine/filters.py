"""Filters over a next-token distribution: pure functions from log-weights to log-weights.

Log-weights are natural-log probabilities up to one constant per row, float64 [vocabulary] or [rows, vocabulary]; what
is ruled out has -inf. A filter shifts weights or rules tokens out; what it keeps keeps its ratios, except where
shifting them is the filter's purpose. None of them normalizes, so their order matters only where it says so, and a
filter at its identity setting returns what it was given. `probabilities` is where mass comes to be one.

Every row is worked on alone: elementwise operations, a stable sort and running sums, no matrix product and no sum whose
order depends on how many rows there are. So a row gives the same bits in any company (docs/decisions/011-complete.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.model.utf8 import TRANSITIONS, Utf8

LogWeights = NDArray[np.float64]
Allowed = NDArray[np.bool_]

_RULED_OUT: Final = -np.inf
_LEAST_TEMPERATURE: Final = 1e-6  # what is a thousandth of a nat behind the best has no mass at it; no float overflows
_CAN_FOLLOW: Final = np.array([[following is not Utf8.REJECT for following in row] for row in TRANSITIONS])


def probabilities(log_weights: LogWeights) -> NDArray[np.float64]:
    """The distribution itself: the same shape, every row of mass one up to rounding. A row needs one finite weight."""
    weights = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    # The last running sum: unlike a sum, it adds in the same order whatever the shape and the memory's layout.
    mass: NDArray[np.float64] = weights / np.cumsum(weights, axis=-1)[..., -1:]
    return mass


def allowed_tokens(utf8: Utf8, vocabulary_size: int, separator: int) -> Allowed:
    """Which tokens may follow a text in this state of its UTF-8, bool [vocabulary].

    A byte must go on with the text or begin a code point; the separator may come where the text could end.
    """
    allowed = np.zeros(vocabulary_size, np.bool_)
    known = min(vocabulary_size, 256)
    allowed[:known] = _CAN_FOLLOW[utf8][:known]
    allowed[separator] = utf8 is Utf8.COMPLETE
    return allowed


def apply_allowed(log_weights: LogWeights, allowed: Allowed) -> LogWeights:
    """Rule out every token that is not allowed, bool [vocabulary]."""
    return np.where(allowed, log_weights, _RULED_OUT)


def apply_logit_bias(log_weights: LogWeights, bias: Sequence[tuple[int, float]]) -> LogWeights:
    """Add a number to the log-weight of some tokens; tokens outside of the vocabulary have no weight to add to."""
    if not bias:
        return log_weights
    shifted = log_weights.copy()
    for token, added in bias:
        if token < shifted.shape[-1]:
            shifted[..., token] += added
    return shifted


def apply_repetition_penalty(log_weights: LogWeights, recent: bytes, penalty: float) -> LogWeights:
    """Multiply the log-probability of every token in `recent` by `penalty` (Keskar et al. 2019, section 4.1).

    Takes normalized log-probabilities: they are never positive, so a penalty above one always makes a token rarer.
    """
    if penalty == 1.0 or not recent:
        return log_weights
    shifted = log_weights.copy()
    seen = np.unique(np.frombuffer(recent, np.uint8))
    shifted[..., seen] *= penalty
    return shifted


def apply_presence_and_frequency_penalties(
    log_weights: LogWeights, generated: bytes, presence: float, frequency: float
) -> LogWeights:
    """Take from every token in `generated` `presence`, and `frequency` for each time that it is there.

    OpenAI's definition ("Frequency and presence penalties", its guide to text generation); below zero repetition is
    made likelier. Tokens outside of the vocabulary have no weight to take from.
    """
    if (presence == 0.0 and frequency == 0.0) or not generated:
        return log_weights
    times = np.bincount(np.frombuffer(generated, np.uint8), minlength=256)
    known = min(log_weights.shape[-1], len(times))
    shifted = log_weights.copy()
    shifted[..., :known] -= presence * (times[:known] > 0) + frequency * times[:known]
    return shifted


def apply_temperature(log_weights: LogWeights, temperature: float) -> LogWeights:
    """Divide by `temperature`, above zero: below one sharpens, above one flattens."""
    if temperature == 1.0:
        return log_weights
    # From the best downwards, so that the least temperature leaves the best token and not nothing at all.
    best = log_weights.max(axis=-1, keepdims=True)
    divided: LogWeights = (log_weights - best) / max(temperature, _LEAST_TEMPERATURE)
    return divided


def apply_top_k(log_weights: LogWeights, k: int) -> LogWeights:
    """Keep the k best tokens; of equals the lower ones. Zero keeps all."""
    if k == 0 or k >= log_weights.shape[-1]:
        return log_weights
    order = _best_first(log_weights)
    kept = np.full_like(log_weights, _RULED_OUT)
    best = order[..., :k]
    np.put_along_axis(kept, best, np.take_along_axis(log_weights, best, axis=-1), axis=-1)
    return kept


def apply_top_p(log_weights: LogWeights, p: float) -> LogWeights:
    """Keep the nucleus: the fewest best tokens whose mass is at least `p` (Holtzman et al. 2020, section 3.1)."""
    if p >= 1.0:
        return log_weights
    order = _best_first(log_weights)
    mass = np.take_along_axis(probabilities(log_weights), order, axis=-1)
    better = np.cumsum(mass, axis=-1) - mass
    kept = np.take_along_axis(log_weights, order, axis=-1)
    kept = np.where(better < p, kept, _RULED_OUT)
    nucleus = np.empty_like(log_weights)
    np.put_along_axis(nucleus, order, kept, axis=-1)
    return nucleus


def apply_min_p(log_weights: LogWeights, p: float) -> LogWeights:
    """Keep tokens at least `p` times as likely as the best one (Nguyen et al. 2024, section 3)."""
    if p == 0.0:
        return log_weights
    least = log_weights.max(axis=-1, keepdims=True) + np.log(p)
    return np.where(log_weights >= least, log_weights, _RULED_OUT)


def _best_first(log_weights: LogWeights) -> NDArray[np.intp]:
    return np.argsort(-log_weights, axis=-1, kind="stable")
