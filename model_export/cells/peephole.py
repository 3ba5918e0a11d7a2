"""The LSTM with peepholes (Gers & Schmidhuber 2000, "Recurrent nets that time and count"): gates see the memory.

    i_t = sigmoid(W_i x_t + R_i h_{t-1} + p_i * c_{t-1} + b_i)
    f_t = sigmoid(W_f x_t + R_f h_{t-1} + p_f * c_{t-1} + b_f)
    g_t = tanh   (W_g x_t + R_g h_{t-1}                 + b_g)
    c_t = f_t * c_{t-1} + i_t * g_t
    o_t = sigmoid(W_o x_t + R_o h_{t-1} + p_o * c_t     + b_o)
    h_t = o_t * tanh(c_t)

Each gate sees the memory of its own unit alone, and the output gate sees it as it is after the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from model_export.cells.cell import Cell, Signals, States
from model_export.cells.onnx_form import lstm_node
from model_export.graphs.building import GraphBuilder


class PeepholeLstm(Cell):
    """W, R, b as in Lstm, in blocks i, f, g, o.  p: [3, units], the peepholes of i, f and o.  States: h and c."""

    states: ClassVar = ("h", "c")
    signals: ClassVar = ("i", "f", "o", "g", "c", "h")

    def __init__(self, inputs: int, units: int, forget_bias: float = 1.0) -> None:
        super().__init__(inputs, units)
        self.W, self.R = self.matrix(4 * units, inputs), self.matrix(4 * units, units)
        self.b = self.bias(0, forget_bias, 0, 0)
        self.p = self.matrix(3, units)

    def step(self, x: Tensor, states: States) -> tuple[States, Signals]:
        """x [rows, inputs]; h, c [rows, units] -> the next h and c."""
        return self._after(x @ self.W.T + self.b, states)

    def _after(self, read: Tensor, states: States) -> tuple[States, Signals]:
        """read: W x + b, [rows, 4 * units]."""
        h, c = states
        i_sum, f_sum, g_sum, o_sum = (read + h @ self.R.T).chunk(4, dim=1)
        p_i, p_f, p_o = self.p
        i = torch.sigmoid(i_sum + p_i * c)
        f = torch.sigmoid(f_sum + p_f * c)
        g = torch.tanh(g_sum)
        c = f * c + i * g
        o = torch.sigmoid(o_sum + p_o * c)
        h = o * torch.tanh(c)
        return (h, c), {"i": i, "f": f, "o": o, "g": g, "c": c, "h": h}

    def forward(self, xs: Tensor, states: States) -> tuple[Tensor, States]:
        """torch has no kernel for it; what is read can at least be multiplied for all steps at once."""
        outputs = []
        for read in xs @ self.W.T + self.b:
            states, _ = self._after(read, states)
            outputs.append(states[0])
        return torch.stack(outputs), states

    def add_to(self, nodes: GraphBuilder, name: str, below: str, before: Sequence[str], after: Sequence[str]) -> str:
        """ONNX's LSTM operator, whose input P are the peepholes."""
        return lstm_node(nodes, name, below, (self.W, self.R, self.b), before, after, peepholes=self.p)
