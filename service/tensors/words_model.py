"""A step model whose tokens are words, as a reader of tensors.

What a reader of many words computes is large, a number for every word at every step, and hardly any of it is wanted:
how likely the words were that came, and what may come at the end. So the last distribution is a state like the others,
and a word is looked up in it before it is read.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import States, StepModel
from service.engine.requests import ModelIdentity
from service.tensors.ports import Inputs


class NamedStepModel(StepModel, Protocol):
    """A step model that says who it is."""

    @property
    def identity(self) -> ModelIdentity:
        """What answers depend on beside the tokens."""


class WordReader:
    """See `ports.Reader`; tokens are those of the model's own vocabulary.

    Its last state is the distribution of what comes next, float32 [rows, vocabulary], natural log.
    """

    def __init__(self, model: NamedStepModel) -> None:
        self._model = model
        self.numbers_a_step = model.vocabulary_size

    @property
    def identity(self) -> ModelIdentity:
        """The model's."""
        return self._model.identity

    def initial_states(self, rows: int) -> States:
        """Before the start token, of which nothing is expected: 0 stands for the distribution."""
        states = [np.full((rows, shape.width), shape.initial, shape.dtype) for shape in self._model.shapes]
        return [*states, np.zeros((rows, self._model.vocabulary_size), np.float32)]

    def read_chunk(self, inputs: Inputs, states: States) -> tuple[NDArray[np.float32], States]:
        """The log-probability that each token had after all before it, float32 [time, rows, 1]."""
        tokens = inputs.astype(np.int64, copy=False)
        *before, expected = states
        read = self._model.read(tokens, before)
        found = np.empty((*tokens.shape, 1), np.float32)
        found[:1] = np.take_along_axis(expected[None], tokens[:1, :, None], axis=2)
        found[1:] = np.take_along_axis(read.log_probabilities[:-1], tokens[1:, :, None], axis=2)
        return found, [*read.states, read.log_probabilities[-1].copy()]
