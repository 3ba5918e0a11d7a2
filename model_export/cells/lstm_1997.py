"""The first LSTM (Hochreiter & Schmidhuber 1997): nothing is forgotten. The loop of c is the constant error carousel.

    i_t = sigmoid(W_i x_t + R_i h_{t-1} + b_i)
    g_t = tanh   (W_g x_t + R_g h_{t-1} + b_g)
    o_t = sigmoid(W_o x_t + R_o h_{t-1} + b_o)
    c_t = c_{t-1} + i_t * g_t
    h_t = o_t * tanh(c_t)

One cell to a block, and tanh where the paper squashes to [-2, 2] and [-1, 1] with logistic functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from model_export.cells.cell import Cell, Signals, States
from model_export.cells.lstm import torch_lstm
from model_export.cells.onnx_form import lstm_node
from model_export.graphs.building import GraphBuilder

_OPEN = 100.0  # sigmoid(100) is 1 in float32 and in float64


class Lstm1997(Cell):
    """W: [3 * units, inputs], R: [3 * units, units], b: [3 * units]; in blocks i, g, o.  States: h and c."""

    states: ClassVar = ("h", "c")
    signals: ClassVar = ("i", "o", "g", "c", "h")

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__(inputs, units)
        self.W, self.R = self.matrix(3 * units, inputs), self.matrix(3 * units, units)
        self.b = self.bias(0, 0, 0)

    def step(self, x: Tensor, states: States) -> tuple[States, Signals]:
        """x [rows, inputs]; h, c [rows, units] -> the next h and c."""
        h, c = states
        sums = x @ self.W.T + h @ self.R.T + self.b
        i_sum, g_sum, o_sum = sums.chunk(3, dim=1)
        i = torch.sigmoid(i_sum)
        g = torch.tanh(g_sum)
        o = torch.sigmoid(o_sum)
        c = c + i * g
        h = o * torch.tanh(c)
        return (h, c), {"i": i, "o": o, "g": g, "c": c, "h": h}

    def with_open_forget_gate(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same cell as weights of an LSTM whose forget gate is 1 whatever it reads, in blocks i, f, g, o."""
        shut_off = [torch.zeros_like(block[: self.units]) for block in (self.W, self.R)]
        opened = torch.full_like(self.b[: self.units], _OPEN)
        blocks = zip((self.W, self.R, self.b), (*shut_off, opened), strict=True)
        W, R, b = (torch.cat([a[: self.units], forget, a[self.units :]]) for a, forget in blocks)
        return W, R, b

    def forward(self, xs: Tensor, states: States) -> tuple[Tensor, States]:
        """torch's own kernel."""
        return torch_lstm(xs, states, self.with_open_forget_gate())

    def add_to(self, nodes: GraphBuilder, name: str, below: str, before: Sequence[str], after: Sequence[str]) -> str:
        """ONNX's LSTM operator."""
        return lstm_node(nodes, name, below, self.with_open_forget_gate(), before, after)
