"""The outputs: what is told of every row, as tensors of one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import fsum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.sessions.commands import ScoredText
from service.sessions.growing import Told
from service.transport.kserve.metadata import (
    FINISH_REASON,
    LOG_LIKELIHOOD,
    LOG_PROBABILITIES,
    OUTPUTS,
    SUGGESTION,
    TOP_LOG_PROBABILITIES,
    TOP_TOKENS,
)
from service.transport.kserve.tensors import Tensor, strings, tensor

ANSWERED_BY_SCORE: Final = frozenset({LOG_PROBABILITIES, TOP_TOKENS, TOP_LOG_PROBABILITIES, LOG_LIKELIHOOD})
_INSIDE_CHARACTER: Final = b"inside_character"


def outputs_of(told: Sequence[Told], wanted: frozenset[str], top_k: int) -> Sequence[Tensor]:
    """The outputs that are wanted, in the model's order; every one has a row for each of `told`."""
    return [
        _strings(name, told) if name in (SUGGESTION, FINISH_REASON) else _numbers(name, told, top_k)
        for name, *_ in OUTPUTS
        if name in wanted
    ]


def top_of(distribution: NDArray[np.float32], top_k: int) -> NDArray[np.int64]:
    """The likeliest tokens, best first; of equals the smaller one. distribution: float32 [vocabulary]."""
    order: NDArray[np.int64] = np.argsort(-distribution, kind="stable")[:top_k].astype(np.int64)
    return order


def _numbers(name: str, told: Sequence[Told], top_k: int) -> Tensor:
    return tensor(name, np.stack([_OF_SCORED[name](_scored(one), top_k) for one in told]))


_OF_SCORED: Final[Mapping[str, Callable[[ScoredText, int], NDArray[np.generic]]]] = {
    LOG_PROBABILITIES: lambda scored, _: scored.distribution,
    TOP_TOKENS: lambda scored, top_k: top_of(scored.distribution, top_k),
    TOP_LOG_PROBABILITIES: lambda scored, top_k: scored.distribution[top_of(scored.distribution, top_k)],
    # Rounded once: the same whatever the order, and however the text was cut into pieces.
    LOG_LIKELIHOOD: lambda scored, _: np.array([fsum(scored.log_probabilities.tolist())], np.float64),
}


def _scored(told: Told) -> ScoredText:
    assert told.scored is not None, "asked for, because an output needs it"
    return told.scored


def _strings(name: str, told: Sequence[Told]) -> Tensor:
    return strings(name, [_suggestion(one) if name == SUGGESTION else _finish_reason(one) for one in told])


def _suggestion(told: Told) -> bytes:
    return b"" if told.suggestion is None else told.suggestion.text.encode()


def _finish_reason(told: Told) -> bytes:
    return _INSIDE_CHARACTER if told.suggestion is None else told.suggestion.finish.encode()
