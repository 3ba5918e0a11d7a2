"""The LSTM with a forget gate (Gers, Schmidhuber & Cummins 2000, "Learning to forget"), as it is used everywhere.

i_t = sigmoid(W_i x_t + R_i h_{t-1} + b_i)     input gate: what to save
f_t = sigmoid(W_f x_t + R_f h_{t-1} + b_f)     forget gate: what to remember
g_t = tanh   (W_g x_t + R_g h_{t-1} + b_g)     candidate: what could be saved
o_t = sigmoid(W_o x_t + R_o h_{t-1} + b_o)     output gate: what to focus on
c_t = f_t * c_{t-1} + i_t * g_t                long-term memory
h_t = o_t * tanh(c_t)                          working memory
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from model_export.cells.cell import Cell, Signals, States
from model_export.cells.onnx_form import lstm_node
from model_export.graphs.building import GraphBuilder


class Lstm(Cell):
    """W: [4 * units, inputs], R: [4 * units, units], b: [4 * units]; in blocks i, f, g, o.  States: h and c."""

    states: ClassVar = ("h", "c")
    signals: ClassVar = ("i", "f", "o", "g", "c", "h")

    def __init__(self, inputs: int, units: int, forget_bias: float = 1.0) -> None:
        super().__init__(inputs, units)
        self.W, self.R = self.matrix(4 * units, inputs), self.matrix(4 * units, units)
        self.b = self.bias(0, forget_bias, 0, 0)

    def step(self, x: Tensor, states: States) -> tuple[States, Signals]:
        """x [rows, inputs]; h, c [rows, units] -> the next h and c."""
        h, c = states
        sums = x @ self.W.T + h @ self.R.T + self.b
        i_sum, f_sum, g_sum, o_sum = sums.chunk(4, dim=1)
        i = torch.sigmoid(i_sum)
        f = torch.sigmoid(f_sum)
        g = torch.tanh(g_sum)
        o = torch.sigmoid(o_sum)
        c = f * c + i * g
        h = o * torch.tanh(c)
        return (h, c), {"i": i, "f": f, "o": o, "g": g, "c": c, "h": h}

    def forward(self, xs: Tensor, states: States) -> tuple[Tensor, States]:
        """torch's own kernel."""
        return torch_lstm(xs, states, (self.W, self.R, self.b))

    def add_to(self, nodes: GraphBuilder, name: str, below: str, before: Sequence[str], after: Sequence[str]) -> str:
        """ONNX's LSTM operator."""
        return lstm_node(nodes, name, below, (self.W, self.R, self.b), before, after)


def torch_lstm(xs: Tensor, states: States, weights: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, States]:
    """Read xs [time, rows, inputs] with torch's LSTM. weights: W, R, b in blocks i, f, g, o."""
    matrices = (*weights, torch.zeros_like(weights[2]))  # torch has two biases and adds them
    h, c = states
    outputs, h, c = torch.lstm(xs, (h[None], c[None]), matrices, True, 1, 0.0, True, False, False)
    return outputs, (h[0], c[0])
