"""The LSTM with layer normalization (Ba, Kiros & Hinton 2016, equations 20 to 22 of its supplement).

    LN(z; a, s) = a * (z - mean(z)) / sqrt(variance(z) + epsilon) + s, over the units of one row

    (i, f, g, o)_t = LN(W x_t; a_x, 0) + LN(R h_{t-1}; a_h, 0) + b
    c_t = sigmoid(f_t) * c_{t-1} + sigmoid(i_t) * tanh(g_t)
    h_t = sigmoid(o_t) * tanh(LN(c_t; a_c, s_c))

The mean is over all four blocks together, as in the paper. It looks at one row alone, so rows stay apart in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from model_export.cells.cell import Cell, Signals, States
from model_export.cells.onnx_form import ScanBody, array, matrix_product, scan
from model_export.graphs.building import GraphBuilder

EPSILON = 1e-5


class LayerNormLstm(Cell):
    """W, R, b as in Lstm, in blocks i, f, g, o.  a_x, a_h: [4 * units].  a_c, s_c: [units].  States: h and c."""

    states: ClassVar = ("h", "c")
    signals: ClassVar = ("i", "f", "o", "g", "c", "h")

    def __init__(self, inputs: int, units: int, forget_bias: float = 1.0) -> None:
        super().__init__(inputs, units)
        self.W, self.R = self.matrix(4 * units, inputs), self.matrix(4 * units, units)
        self.b = self.bias(0, forget_bias, 0, 0)
        self.a_x, self.a_h = self.bias(1, 1, 1, 1), self.bias(1, 1, 1, 1)
        self.a_c, self.s_c = self.bias(1), self.bias(0)

    def step(self, x: Tensor, states: States) -> tuple[States, Signals]:
        """x [rows, inputs]; h, c [rows, units] -> the next h and c."""
        h, c = states
        sums = normalized(x @ self.W.T) * self.a_x + normalized(h @ self.R.T) * self.a_h + self.b
        i_sum, f_sum, g_sum, o_sum = sums.chunk(4, dim=1)
        i = torch.sigmoid(i_sum)
        f = torch.sigmoid(f_sum)
        g = torch.tanh(g_sum)
        o = torch.sigmoid(o_sum)
        c = f * c + i * g
        h = o * torch.tanh(normalized(c) * self.a_c + self.s_c)
        return (h, c), {"i": i, "f": f, "o": o, "g": g, "c": c, "h": h}

    def forward(self, xs: Tensor, states: States) -> tuple[Tensor, States]:
        """torch has no kernel for it, but one that normalizes; what is read is multiplied for all steps at once."""
        h, c = states
        wide, narrow = (4 * self.units,), (self.units,)
        outputs = []
        for read in functional.layer_norm(xs @ self.W.T, wide, self.a_x, self.b, EPSILON):
            sums = read + functional.layer_norm(h @ self.R.T, wide, self.a_h, None, EPSILON)
            i_sum, f_sum, g_sum, o_sum = sums.chunk(4, dim=1)
            c = torch.sigmoid(f_sum) * c + torch.sigmoid(i_sum) * torch.tanh(g_sum)
            h = torch.sigmoid(o_sum) * torch.tanh(functional.layer_norm(c, narrow, self.a_c, self.s_c, EPSILON))
            outputs.append(h)
        return torch.stack(outputs), (h, c)

    def add_to(self, nodes: GraphBuilder, name: str, below: str, before: Sequence[str], after: Sequence[str]) -> str:
        """No operator of ONNX has it: a Scan over the steps."""
        product = matrix_product(nodes, f"{name}_product", below, self.W)
        gain = [nodes.constant(f"{name}_a_x", array(self.a_x)), nodes.constant(f"{name}_b", array(self.b))]
        read = nodes.add("LayerNormalization", [product, *gain], f"{name}_read", axis=-1, epsilon=EPSILON)
        body = ScanBody(nodes, name, self.units, self.states)
        h, c = body.before
        recurrent = self._normalize(body, body.product(h, self.R, "R"), "a_h", self.a_h, None)
        i_sum, f_sum, g_sum, o_sum = body.split(body.add("Add", body.read, recurrent), 4)
        kept = body.add("Mul", body.add("Sigmoid", f_sum), c)
        c = body.add("Add", kept, body.add("Mul", body.add("Sigmoid", i_sum), body.add("Tanh", g_sum)))
        shown = body.add("Tanh", self._normalize(body, c, "a_c", self.a_c, self.s_c))
        h = body.add("Mul", body.add("Sigmoid", o_sum), shown)
        return scan(body, read, 4 * self.units, (h, c), before, after)

    @staticmethod
    def _normalize(body: ScanBody, value: str, name: str, gain: Tensor, shift: Tensor | None) -> str:
        shift = torch.zeros_like(gain) if shift is None else shift
        constants = [body.constant(name, gain), body.constant(f"{name}_shift", shift)]
        return body.add("LayerNormalization", value, *constants, axis=-1, epsilon=EPSILON)


def normalized(values: Tensor) -> Tensor:
    """Each row of [rows, width] with mean 0 and variance 1."""
    mean = values.mean(dim=-1, keepdim=True)
    variance = ((values - mean) ** 2).mean(dim=-1, keepdim=True)
    return (values - mean) / torch.sqrt(variance + EPSILON)
