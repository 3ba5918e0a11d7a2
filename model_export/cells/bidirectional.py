"""Two LSTMs, one of which reads from the end (Schuster & Paliwal 1997; Graves & Schmidhuber 2005).

    h_t = [forward h_t, backward h_t],  the backward one having read x_T, x_{T-1}, ..., x_t

What it gives at a step depends on what comes after it: good for texts that are complete, of no use to one who types.
So it carries no state from call to call, and it is exported but not served.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from model_export.cells.cell import Cell, Signals, States
from model_export.cells.lstm import Lstm
from model_export.cells.onnx_form import bidirectional_lstm_node
from model_export.errors import TrainingError
from model_export.graphs.building import GraphBuilder


class BidirectionalLstm(Cell):
    """`ahead` and `back` are LSTMs of `units` units; the output has 2 * units numbers.  No states."""

    states: ClassVar = ()
    signals: ClassVar = ("h",)
    causal: ClassVar = False

    def __init__(self, inputs: int, units: int, forget_bias: float = 1.0) -> None:
        super().__init__(inputs, units)
        self.ahead, self.back = Lstm(inputs, units, forget_bias), Lstm(inputs, units, forget_bias)

    @property
    def outputs(self) -> int:
        """Both directions side by side."""
        return 2 * self.units

    def step(self, x: Tensor, states: States) -> tuple[States, Signals]:
        """Raises TrainingError: there is no single step where the end must be known."""
        raise TrainingError("a bidirectional layer reads whole sequences; it has no single steps")

    def forward(self, xs: Tensor, states: States) -> tuple[Tensor, States]:
        """Read xs [time, rows, inputs] from both ends; [time, rows, 2 * units]."""
        rows = xs.shape[1]
        ahead, _ = self.ahead(xs, self.ahead.initial(rows))
        back, _ = self.back(xs.flip(0), self.back.initial(rows))
        return torch.cat([ahead, back.flip(0)], dim=2), ()

    def watch(self, xs: Tensor, states: States) -> tuple[Tensor, States, Signals]:
        """Both directions' outputs."""
        outputs, _ = self.forward(xs, states)
        return outputs, (), {"h": outputs}

    def add_to(self, nodes: GraphBuilder, name: str, below: str, before: Sequence[str], after: Sequence[str]) -> str:
        """ONNX's LSTM operator, direction=bidirectional."""
        weights = [(cell.W, cell.R, cell.b) for cell in (self.ahead, self.back)]
        return bidirectional_lstm_node(nodes, name, below, weights)
