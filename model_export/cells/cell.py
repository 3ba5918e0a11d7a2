"""What every cell is: one layer that reads a sequence, keeps states, and tells what went on inside.

A subclass writes `step` from its paper's equations. Everything else follows from it: `forward` is a loop over the steps
unless the cell has a faster way (torch's own kernels), and `add_to` writes the layer into an ONNX graph.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from model_export.errors import TrainingError
from model_export.graphs.building import GraphBuilder

States = tuple[Tensor, ...]
"""The states of one layer, each [rows, units], in the order of `Cell.states`."""

Signals = dict[str, Tensor]
"""What can be watched inside of a layer, by its letter: gates i, f, o, candidate g, c and h. Each [rows, units]."""


class Cell(nn.Module, ABC):
    """One recurrent layer of `units` units that reads vectors of `inputs` numbers.

    states: the letters of what it carries from step to step: ("h", "c"), ("h",) or none.
    signals: the letters of what `step` shows. causal: whether a step knows nothing of what comes after it.
    """

    states: ClassVar[tuple[str, ...]]
    signals: ClassVar[tuple[str, ...]]
    causal: ClassVar[bool] = True

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        for name, size in (("inputs", inputs), ("units", units)):
            if size < 1:
                raise TrainingError(f"a layer needs at least 1 of {name}, not {size}")
        self.inputs, self.units = inputs, units

    @property
    def outputs(self) -> int:
        """Width of what the layer gives at each step."""
        return self.units

    @abstractmethod
    def step(self, x: Tensor, states: States) -> tuple[States, Signals]:
        """One time step: x [rows, inputs] and the states before it -> the states after it and what went on inside."""

    @abstractmethod
    def add_to(self, nodes: GraphBuilder, name: str, below: str, before: Sequence[str], after: Sequence[str]) -> str:
        """Write the layer into a graph: reads `below` [time, rows, inputs], returns the output [time, rows, outputs].

        name: what the layer's constants and values are called after.  before, after: the names of its states,
        [rows, units], before the first and after the last step.
        """

    def initial(self, rows: int) -> States:
        """The states before the first step: zeros."""
        return tuple(next(self.parameters()).new_zeros(rows, self.units) for _ in self.states)

    def forward(self, xs: Tensor, states: States) -> tuple[Tensor, States]:
        """Read xs [time, rows, inputs]; the layer's output h [time, rows, units] and the states after the last step."""
        outputs, states, _ = self.watch(xs, states)
        return outputs, states

    def watch(self, xs: Tensor, states: States) -> tuple[Tensor, States, Signals]:
        """As `forward`, step by step, with every signal of every step, [time, rows, units] each."""
        seen: list[Signals] = []
        for x in xs:
            states, signals = self.step(x, states)
            seen.append(signals)
        together = {letter: torch.stack([signals[letter] for signals in seen]) for letter in self.signals}
        return together["h"], states, together

    def matrix(self, rows: int, columns: int) -> nn.Parameter:
        """Weights [rows, columns], drawn uniformly within 1/sqrt(units), as is usual for recurrent layers."""
        bound = 1 / math.sqrt(self.units)
        return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))

    def bias(self, *blocks: float) -> nn.Parameter:
        """A bias for as many blocks of `units` units, each block starting at its number."""
        return nn.Parameter(torch.tensor(blocks, dtype=torch.get_default_dtype()).repeat_interleave(self.units))
