"""How far a gradient reaches back: its norm at every step before the one where the loss is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_export.cells.cell import Cell
from model_export.cells.lstm import Lstm


def gradient_norms(cell: Cell, xs: Tensor, seed: int = 0) -> NDArray[np.float64]:
    """|dL/dx_t| for each t of xs [time, rows, inputs], L a random projection of the last output; [time], mean of rows.

    Computed in float64, so that what vanishes is small and not zero.
    """
    cell = cell.double()
    xs = xs.double().detach().requires_grad_()
    outputs, _ = cell(xs, cell.initial(xs.shape[1]))
    direction = torch.randn(outputs.shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((outputs[-1] * direction).sum(), xs)
    return np.asarray(gradient.norm(dim=2).mean(dim=1).numpy())


@dataclass(frozen=True, slots=True)
class MemoryPath:
    """Along an LSTM's memory: gradient, |dL/dc_t| of each step; gates, the mean over units of f_{t+1} ... f_T."""

    gradient: NDArray[np.float64]
    gates: NDArray[np.float64]


def memory_path(cell: Lstm, xs: Tensor, loss: Callable[[Tensor], Tensor]) -> MemoryPath:
    """Read xs [time, rows, inputs] and look back from a loss of the last h. Both are [time], means over rows."""
    cell = cell.double()
    states = cell.initial(xs.shape[1])
    memories, gates = [], []
    for x in xs.double():
        states, signals = cell.step(x, states)
        memories.append(states[1])
        gates.append(signals["f"].detach())
    gradients = torch.autograd.grad(loss(states[0]), memories)
    forget = torch.stack(gates)  # [time, rows, units]
    after = torch.cat([forget[1:], torch.ones_like(forget[:1])])
    products = after.flip(0).cumprod(0).flip(0)
    norms = [float(one.norm(dim=1).mean()) for one in gradients]
    return MemoryPath(np.array(norms), products.mean(dim=(1, 2)).numpy())
