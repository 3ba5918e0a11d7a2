"""What a model of tensors is: what it reads, and something that reads a chunk of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import States
from service.engine.requests import ModelIdentity
from service.model import example_request
from service.model.words import Words

Inputs = NDArray[np.int64] | NDArray[np.float32]
"""A chunk, time-major: tokens int64 [time, rows], or values float32 [time, rows, width]."""


class Reader(Protocol):
    """A recurrent network. A row's result is bit-identical in any batch and any chunking.

    numbers_a_step: what it computes for a row's step, and holds while it reads a chunk.
    """

    @property
    def numbers_a_step(self) -> int:
        """See above."""

    @property
    def identity(self) -> ModelIdentity:
        """What answers depend on beside the inputs."""

    def initial_states(self, rows: int) -> States:
        """Before the first step, one array [rows, width] per recurrent tensor."""

    def read_chunk(self, inputs: Inputs, states: States) -> tuple[NDArray[np.float32], States]:
        """What is said of each step, float32 [time, rows, outputs], and the states after the last; none is mutated.

        Outputs: of numbers, what is expected of the next step; of words, the one log-probability that the token had,
        and what may come next is the last of the states, float32 [rows, words].
        Raises ModelError if the runtime refuses the chunk, or what it gives is not finite. One thread at a time.
        """


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a model of numbers reads. width: numbers of a step.  names: what each is, or none.  step: what a step is."""

    width: int
    names: Sequence[str] = ()
    step: str = "step"


@dataclass(frozen=True, slots=True)
class TensorModel:
    """A model that is served over tensors alone. shows: what it is shown with, a text or numbers of steps, if any."""

    reader: Reader
    reads: Numbers | Words
    shows: str | Sequence[float] = ()

    @property
    def identity(self) -> ModelIdentity:
        """Its reader's."""
        return self.reader.identity

    @property
    def example(self) -> Mapping[str, object]:
        """A request to infer that it answers, as JSON."""
        if isinstance(self.reads, Numbers):
            shown = [] if isinstance(self.shows, str) else list(self.shows)
            return example_request.of_numbers(shown or range(3 * self.reads.width), self.reads.width)
        text = self.shows if isinstance(self.shows, str) else ""
        return example_request.of_words(text or self.reads.first_word, self.reads.size)

    @property
    def way_out(self) -> str:
        """What a caller is told who wants text of it."""
        what = "numbers" if isinstance(self.reads, Numbers) else "whole words of its own vocabulary"
        name = self.identity.name
        return (
            f"{name!r} reads {what}, not the bytes of a text: ask it over /v2/models/{name}/infer, tensors in and out"
        )
