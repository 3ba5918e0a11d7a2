"""Knocking units out: the same reading with a unit's h or c held at a number, to see what the network loses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_export.cells.cell import Cell, Signals, States
from model_export.errors import TrainingError
from model_export.lab.network import Network
from model_export.lab.units import Place


@dataclass(frozen=True, slots=True)
class Clamp:
    """A unit held at a value after every step. With c goes h = o * tanh(c), as the cell makes it."""

    place: Place
    value: float = 0.0


@torch.no_grad()
def scores_with(
    network: Network, symbols: Tensor, clamps: Sequence[Clamp], before: Sequence[States] | None = None
) -> Tensor:
    """Read int64 [time, rows] with some units held; scores [time, rows, size].

    before: the states to start from; those of the beginning if not given. Raises TrainingError if there is no such
    layer, unit or state.
    """
    layers = network.stack.layers
    for clamp in clamps:
        _check(layers, clamp.place)
    xs = network.embedding(symbols)
    for number, (layer, states) in enumerate(zip(layers, before or network.initial(symbols.shape[1]), strict=True)):
        own = [clamp for clamp in clamps if clamp.place.layer == number]
        if not own:
            xs, _ = layer(xs, states)
            continue
        outputs = []
        for x in xs:
            states, signals = layer.step(x, states)
            states, output = _held(layer, states, signals, own)
            outputs.append(output)
        xs = torch.stack(outputs)
    scores: Tensor = network.head(xs)
    return scores


def _held(layer: Cell, states: States, signals: Signals, clamps: Sequence[Clamp]) -> tuple[States, Tensor]:
    """The states and the output with the clamps applied; the memory first, since the output is made from it."""
    by_letter = dict(zip(layer.states, states, strict=True)) or {"h": signals["h"]}
    if clamps:
        by_letter = {letter: value.clone() for letter, value in by_letter.items()}
    for clamp in sorted(clamps, key=lambda clamp: clamp.place.letter):  # c before h
        unit = clamp.place.unit
        by_letter[clamp.place.letter][:, unit] = clamp.value
        if clamp.place.letter == "c":
            by_letter["h"][:, unit] = signals["o"][:, unit] * torch.tanh(by_letter["c"][:, unit])
    return tuple(by_letter[letter] for letter in layer.states), by_letter["h"]


def _check(layers: Sequence[Cell], place: Place) -> None:
    if not 0 <= place.layer < len(layers):
        raise TrainingError(f"there is no layer {place.layer}; there are 0 to {len(layers) - 1}")
    layer = layers[place.layer]
    if not 0 <= place.unit < layer.units:
        raise TrainingError(f"layer {place.layer} has no unit {place.unit}; it has 0 to {layer.units - 1}")
    holdable = layer.states or ("h",)
    if place.letter not in holdable:
        raise TrainingError(f"{place.letter!r} cannot be held in layer {place.layer}; it carries {', '.join(holdable)}")
