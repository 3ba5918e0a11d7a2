"""How far a gradient reaches back: its norm at every step before the one where the loss is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_export.cells.cell import Cell


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
    """How far a loss is felt along an LSTM's memory, at each of its steps; [time] each, means over rows.

    gradient: |dL/dc_t|, by every way.  alone: the same along the memory alone, each gate taken as a number: what a
    gate was made from, h, is held as it is.  gates: |dL/dc_T * f_{t+1} * ... * f_T|, which that ought to be.
    """

    gradient: NDArray[np.float64]
    alone: NDArray[np.float64]
    gates: NDArray[np.float64]

    @property
    def apart(self) -> float:
        """The largest difference of `alone` and `gates`, over the latter."""
        return float(np.max(np.abs(self.alone - self.gates) / self.gates))

    def lost_a_step(self, values: NDArray[np.float64]) -> float:
        """Decades that one of the three loses a step, from the last to the first."""
        return float(np.log10(values[-1] / values[0]) / (len(values) - 1))


def memory_path(cell: Cell, xs: Tensor, loss: Callable[[Tensor], Tensor]) -> MemoryPath:
    """Read xs [time, rows, inputs] and look back from a loss of the last h, in float64.

    cell: with the states h and c, and c = f * c + ...; one that shows no f forgets nothing, as in 1997.
    """
    cell = cell.double()
    every_way, _ = _gradients(cell, xs.double(), loss, through_h=True)
    alone, forget = _gradients(cell, xs.double(), loss, through_h=False)
    after = torch.cat([forget[1:], torch.ones_like(forget[:1])])
    products = after.flip(0).cumprod(0).flip(0)
    return MemoryPath(_norms(every_way), _norms(alone), _norms(alone[-1] * products))


def _gradients(cell: Cell, xs: Tensor, loss: Callable[[Tensor], Tensor], *, through_h: bool) -> tuple[Tensor, Tensor]:
    """dL/dc_t and f_t of every step, [time, rows, units] each."""
    h, c = cell.initial(xs.shape[1])
    memories, gates = [], []
    for x in xs:
        (h, c), signals = cell.step(x, (h if through_h else h.detach(), c))
        memories.append(c)
        gates.append(signals["f"].detach() if "f" in signals else torch.ones_like(c))
    return torch.stack(torch.autograd.grad(loss(h), memories)), torch.stack(gates)


def _norms(gradients: Tensor) -> NDArray[np.float64]:
    return np.asarray(gradients.norm(dim=2).mean(dim=1).numpy())
