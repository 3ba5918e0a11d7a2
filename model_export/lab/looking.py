"""Looking at a unit or a layer that somebody asked for, while its network reads an example, and at what it is for."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.lab import pictures
from model_export.lab.clamping import Clamp, scores_with
from model_export.lab.experiment import Picture
from model_export.lab.network import Network, Watched
from model_export.lab.sequences import batch_of
from model_export.lab.units import Place
from model_export.lab.words import Words

_SHOWN = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}


def look(network: Network, reads: str, layer: int, unit: int | None) -> Picture:
    """All signals of a unit, or all units of a layer. Raises TrainingError if the network cannot read the example."""
    letters, numbers = _cut(network, reads)
    watched = network.watch(batch_of([numbers]).inputs)
    if unit is None:
        figure = _draw_layer(watched, layer, letters)
        return Picture(f"layer-{layer}", figure, f"As asked: every unit of layer {layer} while {reads!r} is read.")
    moved = moved_without(network, numbers, layer, unit)
    most = int(moved.argmax())
    where = f"{letters[most]!r} at place {most + 1}"
    caption = (
        f"As asked: unit {unit} of layer {layer} while {reads!r} is read. With it held at zero, what the network "
        f"expects moves by {moved.mean():.3f} bits a symbol, most after {where}: {moved[most]:.3f}."
    )
    return Picture(f"layer-{layer}-unit-{unit}", _draw_unit(watched, layer, unit, letters), caption)


def moved_without(network: Network, numbers: NDArray[np.int64], layer: int, unit: int) -> NDArray[np.float64]:
    """How far what is expected next is from the same with the unit's memory held at zero, in bits; [length].

    The memory is c where a cell has one, and h where not (Kullback & Leibler 1951).
    """
    letter = "c" if "c" in network.stack.layers[layer].states else "h"
    inputs = batch_of([numbers]).inputs
    whole = torch.log_softmax(scores_with(network, inputs, ()), dim=-1)
    without = torch.log_softmax(scores_with(network, inputs, (Clamp(Place(layer, letter, unit)),)), dim=-1)
    apart = (whole.exp() * (whole - without)).sum(dim=-1)[1:, 0] / math.log(2)
    return np.asarray(apart.double().numpy())


def _cut(network: Network, reads: str) -> tuple[list[str], NDArray[np.int64]]:
    """The symbols of an example as they are shown, and their numbers."""
    if network.symbols.are_bytes:
        return [_SHOWN.get(letter, letter) for letter in reads], network.symbols.encode(reads)
    words = Words(network.symbols)
    return words.cut(reads), words.encode(reads)


def _draw_unit(watched: Watched, layer: int, unit: int, letters: list[str]) -> Figure:
    signals = {letter: values[1:, 0, unit].numpy() for letter, values in watched.layers[layer].items()}
    figure, axes = pictures.new_figure(2, 1, width=10, height=6)
    kept = {letter: values for letter, values in signals.items() if letter in "ch"}
    gates = {letter: values for letter, values in signals.items() if letter not in "ch"}
    pictures.draw_signals(axes[0], kept, letters, f"layer {layer}, unit {unit}: what it remembers and shows")
    if gates:
        pictures.draw_signals(axes[1], gates, letters, "its gates and its candidate")
    else:
        axes[1].remove()
    return figure


def _draw_layer(watched: Watched, layer: int, letters: list[str]) -> Figure:
    signals = {letter: values for letter, values in watched.layers[layer].items() if letter in "ch"}
    units = next(iter(signals.values())).shape[2]
    figure, axes = pictures.new_figure(1, len(signals), width=11, height=max(3.0, 1.2 + 0.16 * units))
    rows = [f"unit {number}" if units <= 40 or number % 5 == 0 else "" for number in range(units)]
    for place, (letter, values) in zip(axes, signals.items(), strict=True):
        title = pictures.SIGNAL_NAMES[letter]
        pictures.draw_map(place, values[1:, 0].numpy().T, columns=letters, rows=rows, title=title)
    return figure
