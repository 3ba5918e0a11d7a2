"""The simple recurrent network (Elman 1990, "Finding structure in time"): the layer reads its own last output.

    h_t = tanh(W x_t + R h_{t-1} + b)

With ReLU in place of tanh and R = I at the start it is the IRNN of Le, Jaitly & Hinton (2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from model_export.cells.cell import Cell, Signals, States
from model_export.cells.onnx_form import rnn_node
from model_export.graphs.building import GraphBuilder


class Elman(Cell):
    """W: [units, inputs].  R: [units, units].  b: [units].  State: h."""

    states: ClassVar = ("h",)
    signals: ClassVar = ("h",)

    def __init__(self, inputs: int, units: int, activation: Literal["tanh", "relu"] = "tanh") -> None:
        super().__init__(inputs, units)
        self.activation = activation
        self.W, self.R, self.b = self.matrix(units, inputs), self.matrix(units, units), self.bias(0)

    def step(self, x: Tensor, states: States) -> tuple[States, Signals]:
        """x [rows, inputs], h [rows, units] -> the next h."""
        (h,) = states
        sums = x @ self.W.T + h @ self.R.T + self.b
        h = torch.tanh(sums) if self.activation == "tanh" else torch.relu(sums)
        return (h,), {"h": h}

    def forward(self, xs: Tensor, states: States) -> tuple[Tensor, States]:
        """torch's own kernel."""
        kernel = torch.rnn_tanh if self.activation == "tanh" else torch.rnn_relu
        weights = (self.W, self.R, self.b, torch.zeros_like(self.b))
        outputs, h = kernel(xs, states[0][None], weights, True, 1, 0.0, self.training, False, False)
        return outputs, (h[0],)

    def add_to(self, nodes: GraphBuilder, name: str, below: str, before: Sequence[str], after: Sequence[str]) -> str:
        """ONNX's RNN operator."""
        activation = "Tanh" if self.activation == "tanh" else "Relu"
        return rnn_node(nodes, name, below, (self.W, self.R, self.b), before, after, activation)
