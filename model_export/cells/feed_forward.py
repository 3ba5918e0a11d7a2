"""A layer without memory: what it gives depends on what it reads now.

h_t = tanh(W x_t + b)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from model_export.cells.cell import Cell, Signals, States
from model_export.cells.onnx_form import matrix_product
from model_export.graphs.building import GraphBuilder


class FeedForward(Cell):
    """Rosenblatt's and Rumelhart's layer. W: [units, inputs].  b: [units].  No states."""

    states: ClassVar = ()
    signals: ClassVar = ("h",)

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__(inputs, units)
        self.W, self.b = self.matrix(units, inputs), self.bias(0)

    def step(self, x: Tensor, states: States) -> tuple[States, Signals]:
        """x [rows, inputs] -> h [rows, units]."""
        h = torch.tanh(x @ self.W.T + self.b)
        return (), {"h": h}

    def forward(self, xs: Tensor, states: States) -> tuple[Tensor, States]:
        """All steps at once: none waits for another."""
        return torch.tanh(xs @ self.W.T + self.b), ()

    def add_to(self, nodes: GraphBuilder, name: str, below: str, before: Sequence[str], after: Sequence[str]) -> str:
        """MatMul, Add, Tanh."""
        return nodes.add("Tanh", [matrix_product(nodes, f"{name}_sums", below, self.W, self.b)], f"{name}_h")
