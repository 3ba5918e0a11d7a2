"""A step model whose tokens are words, as a reader of tensors."""

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
    """See `ports.Reader`; tokens are those of the model's own vocabulary."""

    def __init__(self, model: NamedStepModel) -> None:
        self._model = model

    @property
    def identity(self) -> ModelIdentity:
        """The model's."""
        return self._model.identity

    def initial_states(self, rows: int) -> States:
        """Before the start token."""
        return [np.full((rows, shape.width), shape.initial, shape.dtype) for shape in self._model.shapes]

    def read_chunk(self, inputs: Inputs, states: States) -> tuple[NDArray[np.float32], States]:
        """Log-probabilities of every word after each token, [time, rows, vocabulary]."""
        read = self._model.read(inputs.astype(np.int64, copy=False), states)
        return read.log_probabilities, read.states
