"""The LSTM whose input and forget gate are one (Greff et al. 2017, CIFG): it saves exactly where it forgets.

f_t = sigmoid(W_f x_t + R_f h_{t-1} + b_f)
i_t = 1 - f_t
g_t = tanh   (W_g x_t + R_g h_{t-1} + b_g)
o_t = sigmoid(W_o x_t + R_o h_{t-1} + b_o)
c_t = f_t * c_{t-1} + i_t * g_t
h_t = o_t * tanh(c_t)
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


class CoupledLstm(Cell):
    """W: [3 * units, inputs], R: [3 * units, units], b: [3 * units]; in blocks f, g, o.  States: h and c."""

    states: ClassVar = ("h", "c")
    signals: ClassVar = ("i", "f", "o", "g", "c", "h")

    def __init__(self, inputs: int, units: int, forget_bias: float = 1.0) -> None:
        super().__init__(inputs, units)
        self.W, self.R = self.matrix(3 * units, inputs), self.matrix(3 * units, units)
        self.b = self.bias(forget_bias, 0, 0)

    def step(self, x: Tensor, states: States) -> tuple[States, Signals]:
        """x [rows, inputs]; h, c [rows, units] -> the next h and c."""
        h, c = states
        sums = x @ self.W.T + h @ self.R.T + self.b
        f_sum, g_sum, o_sum = sums.chunk(3, dim=1)
        f = torch.sigmoid(f_sum)
        i = 1 - f
        g = torch.tanh(g_sum)
        o = torch.sigmoid(o_sum)
        c = f * c + i * g
        h = o * torch.tanh(c)
        return (h, c), {"i": i, "f": f, "o": o, "g": g, "c": c, "h": h}

    def with_own_input_gate(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same cell as weights of an LSTM, in blocks i, f, g, o: 1 - sigmoid(x) is sigmoid(-x)."""
        W, R, b = (torch.cat([-a[: self.units], a]) for a in (self.W, self.R, self.b))
        return W, R, b

    def forward(self, xs: Tensor, states: States) -> tuple[Tensor, States]:
        """torch's own kernel."""
        return torch_lstm(xs, states, self.with_own_input_gate())

    def add_to(self, nodes: GraphBuilder, name: str, below: str, before: Sequence[str], after: Sequence[str]) -> str:
        """ONNX's LSTM operator."""
        return lstm_node(nodes, name, below, self.with_own_input_gate(), before, after)
