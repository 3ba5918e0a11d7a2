"""Networks that read numbers instead of symbols: a series in, at each step what is expected to come next.

A window network is the same question without a memory: a feed-forward net that sees the last so many values at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model_export.cells.catalogue import make_cell
from model_export.cells.cell import Signals, States
from model_export.cells.stack import Stack
from model_export.errors import TrainingError
from model_export.lab.bench import Bench


@dataclass(frozen=True, slots=True)
class SeriesConfig:
    """The shape of a network. mean, scale: what is taken from every value, and what it is divided by then."""

    cell: str = "lstm"
    units: int = 24
    layers: int = 1
    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.units < 1 or self.layers < 1:
            raise TrainingError(f"units and layers must be at least 1, not {self.units} and {self.layers}")
        if not (math.isfinite(self.mean) and 0 < self.scale < math.inf):
            raise TrainingError(f"a series has a mean and a scale above 0, not {self.mean} and {self.scale}")

    def as_document(self) -> dict[str, Any]:
        """Fit for JSON."""
        return asdict(self)


class SeriesNetwork(nn.Module):
    """E[next value | all values before it], values in their own unit."""

    def __init__(self, config: SeriesConfig) -> None:
        super().__init__()
        self.config = config
        layers = []
        width = 1
        for _ in range(config.layers):
            layers.append(make_cell(config.cell, width, config.units))
            width = layers[-1].outputs
        self.stack = Stack(layers)
        self.head = nn.Linear(width, 1)

    def initial(self, rows: int) -> list[States]:
        """The states before the first value."""
        return self.stack.initial(rows)

    def forward(self, values: Tensor, states: Sequence[States]) -> tuple[Tensor, list[States]]:
        """Read [time, rows, 1]; what is expected after each value, [time, rows, 1], and the states after the last."""
        outputs, after = self.stack((values - self.config.mean) / self.config.scale, states)
        return self.head(outputs) * self.config.scale + self.config.mean, after

    @torch.no_grad()
    def watch(self, values: Tensor) -> tuple[Tensor, list[Signals]]:
        """Read [time, rows, 1] from the beginning: what is expected, and every layer's signals."""
        outputs, _, signals = self.stack.watch(
            (values - self.config.mean) / self.config.scale, self.initial(values.shape[1])
        )
        return self.head(outputs) * self.config.scale + self.config.mean, signals

    @torch.no_grad()
    def forecast(self, values: Tensor, steps: int) -> Tensor:
        """Go on from [time, rows, 1] for so many steps, each reading what was expected before it; [steps, rows, 1]."""
        expected, states = self(values, self.initial(values.shape[1]))
        given = [expected[-1:]]
        for _ in range(steps - 1):
            expected, states = self(given[-1], states)
            given.append(expected)
        return torch.cat(given)


class WindowNetwork(nn.Module):
    """E[next value | the last `window` values]: one hidden layer of tanh, and no memory."""

    def __init__(self, window: int, units: int, mean: float, scale: float) -> None:
        super().__init__()
        self.window, self.mean, self.scale = window, mean, scale
        self.layers = nn.Sequential(nn.Linear(window, units), nn.Tanh(), nn.Linear(units, 1))

    def forward(self, values: Tensor) -> Tensor:
        """Read [time, rows]; what is expected after each whole window, [time - window + 1, rows]."""
        windows = ((values - self.mean) / self.scale).unfold(0, self.window, 1)
        expected: Tensor = self.layers(windows)[..., 0] * self.scale + self.mean
        return expected


def fit_series(
    network: nn.Module, loss_at: Callable[[int], Tensor], steps: int, bench: Bench, what: str, *, rate: float = 0.01
) -> float:
    """Train with Adam, at a rate that falls to nothing, on the loss of each step; the mean loss of the last tenth.

    Raises TrainingError if the loss is no number any more.
    """
    weights = list(network.parameters())
    optimizer = torch.optim.Adam(weights, lr=rate)
    last: list[float] = []
    network.train()
    with bench.bar(what, steps) as bar:
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            loss = loss_at(step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch ships it without annotations
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            value = float(loss.item())
            if not math.isfinite(value):
                raise TrainingError(f"{what}: the loss is {value} at step {step}; a lower rate may help")
            if step >= 0.9 * steps:
                last.append(value)
            bar.advance(f"loss {value:.4f}")
    network.eval()
    return sum(last) / len(last) if last else value
