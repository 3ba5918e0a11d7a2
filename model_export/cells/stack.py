"""Layers on top of each other: each reads the outputs of the one below (Graves 2013, "deep" recurrent networks)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from model_export.cells.cell import Cell, Signals, States
from model_export.errors import TrainingError


class Stack(nn.Module):
    """Cells whose widths fit together. Its states are those of every layer, one tuple a layer."""

    def __init__(self, layers: Sequence[Cell]) -> None:
        super().__init__()
        if not layers:
            raise TrainingError("a network needs at least one layer")
        for number, (below, above) in enumerate(pairwise(layers)):
            if below.outputs != above.inputs:
                raise TrainingError(
                    f"layer {number + 1} reads {above.inputs} numbers, but layer {number} gives {below.outputs}"
                )
        self._layers = nn.ModuleList(layers)

    @property
    def layers(self) -> list[Cell]:
        """From the lowest up."""
        return [layer for layer in self._layers if isinstance(layer, Cell)]

    @property
    def causal(self) -> bool:
        """Whether no step knows of a later one."""
        return all(layer.causal for layer in self.layers)

    def initial(self, rows: int) -> list[States]:
        """The states before the first step."""
        return [layer.initial(rows) for layer in self.layers]

    def forward(self, xs: Tensor, states: Sequence[States]) -> tuple[Tensor, list[States]]:
        """Read xs [time, rows, inputs]; the top layer's output and every layer's states after the last step."""
        after = []
        for layer, before in zip(self.layers, states, strict=True):
            xs, own = layer(xs, before)
            after.append(own)
        return xs, after

    def watch(self, xs: Tensor, states: Sequence[States]) -> tuple[Tensor, list[States], list[Signals]]:
        """As `forward`, with the signals of every layer."""
        after, seen = [], []
        for layer, before in zip(self.layers, states, strict=True):
            xs, own, signals = layer.watch(xs, before)
            after.append(own)
            seen.append(signals)
        return xs, after, seen
