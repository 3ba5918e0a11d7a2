"""What the matrices of a model are multiplied by, learned from a text that the model makes up itself.

No corpus is needed, so a model that was trained elsewhere is quantized as well as one of ours. The draws are seeded:
the same weights on the same machine give the same text, hence the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.graph_session import open_session
from model_export.graphs import contract, fp32
from model_export.graphs.quantization import HIDDEN_STEPS, Inputs
from model_export.weights import LanguageModelWeights

ROWS = 32
STEPS = 512
_SEED = 1997
_KEPT = 16  # steps whose h are added up together


@dataclass(frozen=True, slots=True)
class Calibration:
    """inputs: of each layer's matrix, [h from below, own h] but for layer 0, which multiplies its own h; of the head's.

    likeliest_first: int64 [vocabulary], the tokens in the order of their mean log-probabilities.
    """

    inputs: tuple[Inputs, ...]
    likeliest_first: NDArray[np.int64]


def calibrate(weights: LanguageModelWeights) -> Calibration:
    """Sample 32 texts of 512 tokens. Nothing is assumed of a model whose probabilities are not finite."""
    widths = _widths(weights)
    sums = [np.zeros(width) for width in widths]
    products = [np.zeros((width, width)) for width in widths]
    seen, total = 0, np.zeros(weights.vocabulary_size)
    batches: list[list[NDArray[np.float64]]] = []
    with np.errstate(all="ignore"):  # weights may be anything finite
        for number, (read, log_probabilities) in enumerate(_sampled(weights)):
            if not np.isfinite(log_probabilities).all():
                return _unknown(weights)
            total += log_probabilities.sum(axis=0)
            batches.append(read)
            if number % _KEPT == _KEPT - 1:
                for place, parts in enumerate(zip(*batches, strict=True)):
                    values = np.concatenate(parts)
                    sums[place] += values.sum(axis=0)
                    products[place] += values.T @ values  # whole numbers: exact, in any order
                seen += _KEPT * ROWS
                batches.clear()
    means = [one / seen for one in sums]
    inputs = (Inputs(m, p / seen - np.outer(m, m)) for m, p in zip(means, products, strict=True))
    return Calibration(tuple(inputs), np.argsort(-total, kind="stable"))


def _sampled(weights: LanguageModelWeights) -> Iterator[tuple[list[NDArray[np.float64]], NDArray[np.float64]]]:
    """Step by step what each matrix reads, in whole steps of 1/127 [rows, width], and the log-probabilities after."""
    session = open_session(fp32.build(weights))
    states = fp32.states(weights)
    wanted = [contract.LOG_PROBABILITIES, *(state.output for state in states)]
    values = {state.input: np.zeros((ROWS, state.width), np.float32) for state in states}
    generator = np.random.default_rng(_SEED)
    tokens = np.full(ROWS, weights.vocabulary_size - 1)
    layers = range(len(weights.layers))
    for _ in range(STEPS):
        feeds = {contract.TOKENS: tokens[None], contract.POSITIONS: np.array([0], np.int64), **values}
        log_probabilities, *after = session.run(wanted, feeds)
        before = [_whole(values[f"h{layer}"]) for layer in layers]
        values = {state.input: value for state, value in zip(states, after, strict=True)}
        hidden = [_whole(values[f"h{layer}"]) for layer in layers]
        upper = [np.concatenate([hidden[layer - 1], before[layer]], axis=1) for layer in layers[1:]]
        found = log_probabilities[0].astype(np.float64)
        yield [before[0], *upper, hidden[-1]], found
        shares = np.cumsum(np.exp(found), axis=1)
        drawn = (shares < generator.random((ROWS, 1)) * shares[:, -1:]).sum(axis=1)
        tokens = np.minimum(drawn, weights.vocabulary_size - 1)


def _whole(h: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.rint(h.astype(np.float64) * HIDDEN_STEPS)


def _widths(weights: LanguageModelWeights) -> list[int]:
    upper = [layer.inputs.shape[1] + layer.units for layer in weights.layers[1:]]
    return [weights.layers[0].units, *upper, weights.layers[-1].units]


def _unknown(weights: LanguageModelWeights) -> Calibration:
    inputs = tuple(Inputs.unknown(width) for width in _widths(weights))
    return Calibration(inputs, np.arange(weights.vocabulary_size))
