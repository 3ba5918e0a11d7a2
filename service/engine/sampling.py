"""Drawing a token: which distribution a request means, and how a seed chooses from it.

The random number of a draw is a hash of (seed, position), a counter-based generator (Salmon et al. 2011): there is no
stream to keep, so a text does not depend on what else is running, on the batch, nor on a restart half-way.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.engine.filters import (
    Allowed,
    LogWeights,
    apply_allowed,
    apply_logit_bias,
    apply_min_p,
    apply_presence_and_frequency_penalties,
    apply_repetition_penalty,
    apply_temperature,
    apply_top_k,
    apply_top_p,
)
from service.engine.requests import SamplingSpec

PENALIZED_BYTES: Final = 64  # how far back a repetition counts

_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15


def looks_at_head_only(spec: SamplingSpec) -> bool:
    """Whether the likeliest tokens are all that the choice depends on: greedy, and nothing shifts the weights."""
    shifted = spec.repetition_penalty != 1.0 or counts_generated(spec) or bool(spec.logit_bias)
    return spec.temperature == 0.0 and not shifted


def counts_generated(spec: SamplingSpec) -> bool:
    """Whether the choice depends on what was generated before, all of it."""
    return spec.presence_penalty != 0.0 or spec.frequency_penalty != 0.0


def choose(
    log_probabilities: NDArray[np.float32],
    spec: SamplingSpec,
    allowed: Allowed,
    recent: bytes,
    position: int,
    generated: bytes = b"",
) -> int:
    """The next token. At temperature zero it is the likeliest, of equals the lowest.

    log_probabilities: natural log, float32 [vocabulary], normalized.  allowed: bool [vocabulary], not all false.
    recent: the text before, as far as repetition counts.  position: how many tokens of this text were drawn before.
    generated: all of them, if presence or frequency is penalized.
    """
    shifted = apply_repetition_penalty(log_probabilities.astype(np.float64), recent, spec.repetition_penalty)
    shifted = apply_presence_and_frequency_penalties(shifted, generated, spec.presence_penalty, spec.frequency_penalty)
    weights = apply_allowed(apply_logit_bias(shifted, spec.logit_bias), allowed)
    if spec.temperature == 0.0:
        return int(weights.argmax())
    return draw(shaped(weights, spec), uniform(spec.seed, position))


def shaped(log_weights: LogWeights, spec: SamplingSpec) -> LogWeights:
    """Temperature, then top-k, top-p and min-p, each seeing what the one before has left."""
    weights = apply_temperature(log_weights, spec.temperature)
    return apply_min_p(apply_top_p(apply_top_k(weights, spec.top_k), spec.top_p), spec.min_p)


def draw(log_weights: LogWeights, at: float) -> int:
    """The token at `at` in [0, 1) of the cumulative distribution in token order; never one of no mass.

    log_weights: float64 [vocabulary].
    """
    cumulative = np.cumsum(np.exp(log_weights - log_weights.max()))
    token = int(cumulative.searchsorted(at * cumulative[-1], side="right"))
    last = int(cumulative.searchsorted(cumulative[-1], side="left"))  # the last token with any mass
    return min(token, last)


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) of 53 bits, a function of (seed, position) alone: splitmix64 (Steele et al. 2014)."""
    return (_mix(_mix(seed & _MASK) + (position + 1) * _GOLDEN) >> 11) * 2.0**-53


def seed_of_sample(seed: int, index: int) -> int:
    """The seed of one of several samples; the first has the seed itself, so that asking for more changes nothing."""
    return seed if index == 0 else _mix(_mix(seed & _MASK) ^ _mix(index))


def _mix(number: int) -> int:
    number &= _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)
