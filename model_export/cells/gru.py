"""The gated recurrent unit (Cho et al. 2014): two gates, and one state that is its output, too.

    z_t = sigmoid(W_z x_t + R_z h_{t-1} + b_z)                   update gate: how much to keep
    r_t = sigmoid(W_r x_t + R_r h_{t-1} + b_r)                   reset gate: how much of the past to look at
    n_t = tanh   (W_n x_t + b_n + r_t * (R_n h_{t-1} + b_m))     candidate; the paper has R_n (r_t * h_{t-1}) instead
    h_t = z_t * h_{t-1} + (1 - z_t) * n_t

`reset_after` chooses between the form above, which torch and cuDNN compute, and the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from model_export.cells.cell import Cell, Signals, States
from model_export.cells.onnx_form import gru_node
from model_export.graphs.building import GraphBuilder


class Gru(Cell):
    """W: [3 * units, inputs], R: [3 * units, units], b: [3 * units], in blocks r, z, n.  b_m: [units].  State: h."""

    states: ClassVar = ("h",)
    signals: ClassVar = ("r", "z", "n", "h")

    def __init__(self, inputs: int, units: int, reset_after: bool = True) -> None:
        super().__init__(inputs, units)
        self.reset_after = reset_after
        self.W, self.R = self.matrix(3 * units, inputs), self.matrix(3 * units, units)
        self.b, self.b_m = self.bias(0, 0, 0), self.bias(0)

    def step(self, x: Tensor, states: States) -> tuple[States, Signals]:
        """x [rows, inputs], h [rows, units] -> the next h."""
        (h,) = states
        r_read, z_read, n_read = (x @ self.W.T + self.b).chunk(3, dim=1)
        R_r, R_z, R_n = self.R.chunk(3)
        r = torch.sigmoid(r_read + h @ R_r.T)
        z = torch.sigmoid(z_read + h @ R_z.T)
        past = r * (h @ R_n.T + self.b_m) if self.reset_after else (r * h) @ R_n.T + self.b_m
        n = torch.tanh(n_read + past)
        h = z * h + (1 - z) * n
        return (h,), {"r": r, "z": z, "n": n, "h": h}

    def forward(self, xs: Tensor, states: States) -> tuple[Tensor, States]:
        """torch's own kernel, which has the first form alone."""
        if not self.reset_after:
            return super().forward(xs, states)
        second = torch.cat([torch.zeros_like(self.b[: 2 * self.units]), self.b_m])
        weights = (self.W, self.R, self.b, second)
        outputs, h = torch.gru(xs, states[0][None], weights, True, 1, 0.0, self.training, False, False)
        return outputs, (h[0],)

    def add_to(self, nodes: GraphBuilder, name: str, below: str, before: Sequence[str], after: Sequence[str]) -> str:
        """ONNX's GRU operator."""
        weights = (self.W, self.R, self.b, self.b_m)
        return gru_node(nodes, name, below, weights, before, after, reset_after=self.reset_after)
