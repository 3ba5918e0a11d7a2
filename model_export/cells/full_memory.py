"""The LSTM in which every valve sees the whole memory: peepholes from all units to all gates.

    i_t = sigmoid(W_i x_t + R_i h_{t-1} + P_i c_{t-1} + b_i)
    f_t = sigmoid(W_f x_t + R_f h_{t-1} + P_f c_{t-1} + b_f)
    g_t = tanh   (W_g x_t + R_g h_{t-1}               + b_g)
    c_t = f_t * c_{t-1} + i_t * g_t
    o_t = sigmoid(W_o x_t + R_o h_{t-1} + P_o c_t     + b_o)
    h_t = o_t * tanh(c_t)

Diagrams of the LSTM often draw it so, the memory's pipe leading into each valve. With diagonal P it is `peephole.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from model_export.cells.cell import Cell, Signals, States
from model_export.cells.onnx_form import ScanBody, matrix_product, scan
from model_export.graphs.building import GraphBuilder


class FullMemoryLstm(Cell):
    """W, R, b as in Lstm, in blocks i, f, g, o.  P: [3 * units, units], in blocks i, f, o.  States: h and c."""

    states: ClassVar = ("h", "c")
    signals: ClassVar = ("i", "f", "o", "g", "c", "h")

    def __init__(self, inputs: int, units: int, forget_bias: float = 1.0) -> None:
        super().__init__(inputs, units)
        self.W, self.R = self.matrix(4 * units, inputs), self.matrix(4 * units, units)
        self.b = self.bias(0, forget_bias, 0, 0)
        self.P = self.matrix(3 * units, units)

    def step(self, x: Tensor, states: States) -> tuple[States, Signals]:
        """x [rows, inputs]; h, c [rows, units] -> the next h and c."""
        h, c = states
        sums = x @ self.W.T + h @ self.R.T + self.b
        i_sum, f_sum, g_sum, o_sum = sums.chunk(4, dim=1)
        P_i, P_f, P_o = self.P.chunk(3)
        i = torch.sigmoid(i_sum + c @ P_i.T)
        f = torch.sigmoid(f_sum + c @ P_f.T)
        g = torch.tanh(g_sum)
        c = f * c + i * g
        o = torch.sigmoid(o_sum + c @ P_o.T)
        h = o * torch.tanh(c)
        return (h, c), {"i": i, "f": f, "o": o, "g": g, "c": c, "h": h}

    def add_to(self, nodes: GraphBuilder, name: str, below: str, before: Sequence[str], after: Sequence[str]) -> str:
        """No operator of ONNX has it: a Scan over the steps."""
        read = matrix_product(nodes, f"{name}_read", below, self.W, self.b)
        body = ScanBody(nodes, name, self.units, self.states)
        h, c = body.before
        sums = body.add("Add", body.read, body.product(h, self.R, "R"))
        i_sum, f_sum, g_sum, o_sum = body.split(sums, 4)
        P_i, P_f, P_o = self.P.chunk(3)
        i = body.add("Sigmoid", body.add("Add", i_sum, body.product(c, P_i, "P_i")))
        f = body.add("Sigmoid", body.add("Add", f_sum, body.product(c, P_f, "P_f")))
        written = body.add("Mul", i, body.add("Tanh", g_sum))
        c = body.add("Add", body.add("Mul", f, c), written)
        o = body.add("Sigmoid", body.add("Add", o_sum, body.product(c, P_o, "P_o")))
        h = body.add("Mul", o, body.add("Tanh", c))
        return scan(body, read, 4 * self.units, (h, c), before, after)
