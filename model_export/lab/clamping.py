"""Holding units: the same reading with a unit's signal held at a number, to see what the network loses without it.

Any signal that a cell shows can be held: its memory c, its output h, a gate, the candidate. What the cell makes from
it in the same step is made from the held value, by the cell's own equations: with c goes h, and where the output gate
sees the memory, o; with a gate goes c. torch.fx follows the cell's `step` for that (`cells/followed.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_export.cells.cell import Cell, States
from model_export.cells.followed import followed, signal_nodes
from model_export.errors import TrainingError
from model_export.lab.network import Network
from model_export.lab.units import Place


@dataclass(frozen=True, slots=True)
class Clamp:
    """A unit's signal, held at every step. value: a number, or one for each step and row, float [time, rows]."""

    place: Place
    value: float | Tensor = 0.0

    def over(self, xs: Tensor) -> Tensor:
        """What it is held at while xs [time, rows, inputs] are read, [time, rows]. Raises TrainingError."""
        value, read = torch.as_tensor(self.value, dtype=xs.dtype), xs.shape[:2]
        if value.ndim and value.shape != read:
            raise TrainingError(f"{self.place} is held at {tuple(value.shape)} values, but {tuple(read)} are read")
        return value.expand(read)


@torch.no_grad()
def scores_with(
    network: Network, symbols: Tensor, clamps: Sequence[Clamp], before: Sequence[States] | None = None
) -> Tensor:
    """Read int64 [time, rows] with some units held; scores [time, rows, size].

    before: the states to start from; those of the beginning if not given. Raises TrainingError if there is no such
    layer, unit or signal, or if a layer of a clamp has no single steps.
    """
    layers = network.stack.layers
    for clamp in clamps:
        _check(layers, clamp.place)
    xs = network.embedding(symbols)
    for number, (layer, states) in enumerate(zip(layers, before or network.initial(symbols.shape[1]), strict=True)):
        own = [clamp for clamp in clamps if clamp.place.layer == number]
        xs = _read_holding(layer, xs, states, own) if own else layer(xs, states)[0]
    scores: Tensor = network.head(xs)
    return scores


def _read_holding(layer: Cell, xs: Tensor, states: States, clamps: Sequence[Clamp]) -> Tensor:
    """What the layer shows, [time, rows, units], step by step with the clamps applied."""
    step = _step_holding(layer, [clamp.place for clamp in clamps])
    held = [clamp.over(xs) for clamp in clamps]
    outputs = []
    for x, *values in zip(xs, *held, strict=True):
        states, signals = step(*values, x, *states)
        outputs.append(signals["h"])
    return torch.stack(outputs)


def _step_holding(layer: Cell, places: Sequence[Place]) -> Callable[..., tuple[States, dict[str, Tensor]]]:
    """The cell's step with a value [rows] for each place in front of what it reads; after it stands in for the unit."""
    module = followed(layer)
    graph = module.graph
    reads = next(iter(graph.nodes))
    for number, place in enumerate(places):
        with graph.inserting_before(reads):
            value = graph.placeholder(f"held_{number}")
        made = signal_nodes(graph)[place.letter]
        with graph.inserting_after(made):
            instead = graph.call_function(_with_unit, (made, place.unit, value))
        made.replace_all_uses_with(instead)
        instead.update_arg(0, made)  # which is the one use that stays
    module.recompile()
    return module


def _with_unit(signal: Tensor, unit: int, value: Tensor) -> Tensor:
    """A signal [rows, units] with one unit's column replaced."""
    changed = signal.clone()
    changed[:, unit] = value
    return changed


def _check(layers: Sequence[Cell], place: Place) -> None:
    if not 0 <= place.layer < len(layers):
        raise TrainingError(f"there is no layer {place.layer}; there are 0 to {len(layers) - 1}")
    layer = layers[place.layer]
    if not 0 <= place.unit < layer.units:
        raise TrainingError(f"layer {place.layer} has no unit {place.unit}; it has 0 to {layer.units - 1}")
    if place.letter not in layer.signals:
        raise TrainingError(f"layer {place.layer} has no signal {place.letter!r}; it has {', '.join(layer.signals)}")
