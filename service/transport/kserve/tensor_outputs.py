"""The outputs of models of tensors: what was found of every row, as tensors of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from numpy.typing import NDArray

from service.model.words import Words
from service.tensors.ports import Inputs, Numbers, TensorModel
from service.tensors.sequences import Read
from service.transport.kserve.answering import top_of
from service.transport.kserve.metadata import (
    LOG_LIKELIHOOD,
    LOG_PROBABILITIES,
    TOP_LOG_PROBABILITIES,
    TOP_TOKENS,
)
from service.transport.kserve.signatures import EXPECTED, FORECAST, TOP_WORDS, signature_of
from service.transport.kserve.tensors import BYTES, Tensor, tensor


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What came of a chunk, and the forecast from its end, float32 [steps, rows, width], if one was wanted."""

    chunk: Inputs
    read: Read
    forecast: NDArray[np.float32] | None


def outputs_of_tensors(
    model: TensorModel, answered: Sequence[Answered], wanted: frozenset[str], top_k: int
) -> Sequence[Tensor]:
    """Those that are wanted, in the model's order; the rows of one chunk after those of another."""
    names = [output.name for output in signature_of(model).outputs if output.name in wanted]
    if isinstance(model.reads, Numbers):
        return [_of_numbers(name, answered, model.reads.width) for name in names]
    words = _Said(model.reads, answered, top_k)
    return [words.tensor(name) for name in names]


def _of_numbers(name: str, answered: Sequence[Answered], width: int) -> Tensor:
    of_each = []
    for one in answered:
        if name == FORECAST:
            assert one.forecast is not None, "made, because it is wanted"
            of_each.append(one.forecast.transpose(1, 0, 2))
        else:
            assert name == EXPECTED
            time, rows = one.chunk.shape[:2]
            of_each.append(one.read.said.reshape(time, rows, width).transpose(1, 0, 2))
    return tensor(name, np.concatenate(of_each))


class _Said:
    """What a model of words says at the end of every row."""

    def __init__(self, words: Words, answered: Sequence[Answered], top_k: int) -> None:
        self._words, self._answered = words, answered
        last = [one.read.last for one in answered]
        self._distributions = np.concatenate([one for one in last if one is not None])  # words begin with the start
        self._top = np.stack([top_of(row, top_k) for row in self._distributions])

    def tensor(self, name: str) -> Tensor:
        if name == LOG_PROBABILITIES:
            return tensor(name, self._distributions)
        if name == TOP_TOKENS:
            return tensor(name, self._top)
        if name == TOP_LOG_PROBABILITIES:
            return tensor(name, np.take_along_axis(self._distributions, self._top, axis=1))
        if name == TOP_WORDS:
            shown = [word.encode() for word in self._words.decode(self._top.reshape(-1).tolist())]
            return Tensor(name, BYTES, self._top.shape, tuple(shown))
        assert name == LOG_LIKELIHOOD
        return tensor(name, np.array([[one] for one in self._likelihoods()], np.float64))

    def _likelihoods(self) -> list[float]:
        """Rounded once: the same whatever the order, and however the words were cut into pieces of one request."""
        return [fsum(row) for one in self._answered for row in one.read.said[:, :, 0].T.tolist()]
