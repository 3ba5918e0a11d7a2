"""Looking at a unit or a layer that somebody asked for, while its network reads an example, and at what it is for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch.nn import functional

from model_export.errors import TrainingError
from model_export.lab import pictures
from model_export.lab.clamping import Clamp, scores_with
from model_export.lab.experiment import Experiment, Looked, Picture
from model_export.lab.network import Network, Watched
from model_export.lab.sequences import IGNORED, Batch, batch_of
from model_export.lab.symbols import END
from model_export.lab.units import Place
from model_export.lab.words import Words
from service.model.checked import Checked

MEAN = "mean"
_SHOWN = {" ": "\u2423", "\n": "\u21b5", "\t": "\u21e5"}
_LEAST_SHOWN = 0.01  # bits: where nothing moves, rounding is not blown up to fill the picture
_REACHED = {**dict.fromkeys("iforz", (0.0, 1.0)), **dict.fromkeys("gnh", (-1.0, 1.0))}
"""Between which numbers a signal lies, whatever is read; c may be anything, and h of a cell with ReLU."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be drawn: a layer, or a unit of it, and then which of its signals is held at what; None is its mean.

    looked: the network that the experiment names for it.
    """

    looked: Looked[Any]
    layer: int
    unit: int | None
    letter: str
    value: float | None


@dataclass(frozen=True, slots=True)
class Look:
    """A picture, and what was measured, fit for JSON."""

    picture: Picture
    measured: dict[str, Any] = field(default_factory=dict)


def asked_for(
    experiment: Experiment[Any],
    settings: Checked,
    *,
    layer: int | None,
    unit: int | None,
    signal: str | None,
    hold: str | None,
) -> Asked | None:
    """What the options of these names ask for, checked; None if they ask for nothing. Raises TrainingError."""
    for option, given in (("--signal", signal), ("--hold", hold)):
        if given is not None and unit is None:
            raise TrainingError(f"{option} is of one unit: say which with --unit")
    if layer is None and unit is None:
        return None
    looked = experiment.looked
    if looked is None:
        raise TrainingError(
            f"--layer and --unit: {experiment.name} has no one network over letters or words to look into"
        )
    looked.check(settings, layer or 0, unit)
    letters = looked.signals
    letter = signal if signal is not None else "c" if "c" in letters else "h"
    if letter not in letters:
        raise TrainingError(f"--signal: a unit of {looked.model} has no {signal!r}; it has {', '.join(letters)}")
    return Asked(looked, layer or 0, unit, letter, _held_at(hold or "0", letter, looked.cell))


def _held_at(hold: str, letter: str, cell: str) -> float | None:
    """The number that a text says; None for the mean. Raises TrainingError if the signal cannot have that value."""
    if hold == MEAN:
        return None
    try:
        value = float(hold)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TrainingError(f"--hold is a number or `{MEAN}`, not {hold!r}")
    low, high = _REACHED.get(letter, (-math.inf, math.inf)) if cell != "relu-rnn" else (0.0, math.inf)
    if not low <= value <= high:
        bounds = f"from {low:g} to {high:g}" if high < math.inf else f"at least {low:g}"
        raise TrainingError(f"--hold: {hold} is nothing that {letter} can be, which is {bounds}")
    return value


def look(network: Network, asked: Asked, settings: Checked) -> Look:
    """All signals of a unit and what is lost without it, or all units of a layer.

    Raises TrainingError if the network cannot read the example.
    """
    letters, numbers = _cut(network, asked.looked.reads)
    watched = network.watch(batch_of([numbers]).inputs)
    if asked.unit is not None:
        return _look_at_unit(network, asked, asked.unit, settings, letters, numbers, watched)
    caption = f"As asked: every unit of layer {asked.layer} while {asked.looked.reads!r} is read."
    return Look(Picture(f"layer-{asked.layer}", _draw_layer(watched, asked.layer, letters), caption))


def _look_at_unit(
    network: Network,
    asked: Asked,
    unit: int,
    settings: Checked,
    letters: list[str],
    numbers: NDArray[np.int64],
    watched: Watched,
) -> Look:
    tests = asked.looked.tests
    batch = _as_it_stands(numbers) if tests is None else tests(settings)
    clamps = _clamps(network, asked, batch)
    whole = bits(network, batch)
    costs = [round(bits(network, batch, (clamp,)) - whole, 6) + 0.0 for clamp in clamps]
    value, cost = float(torch.as_tensor(clamps[unit].value)), costs.pop(unit)
    held = f"with its {asked.letter} held at {_told(value, mean=asked.value is None)}"
    moved = moved_with(network, numbers, clamps[unit])
    over = f"the {int(batch.counted.sum()):,} symbols of its tests" if tests else "the symbols of this text"
    caption = (
        f"As asked: unit {unit} of layer {asked.layer} while {asked.looked.reads!r} is read; {held}, "
        f"{_of_moves(moved, letters)} Over {over} it is surprised by {_three(whole + cost)} bits each then, in place "
        f"of {_three(whole)}: {_three(cost)} are lost. {_beside(cost, costs)}"
    )
    measured = {
        "layer": asked.layer,
        "unit": unit,
        "signal": asked.letter,
        "held_at": value,
        "symbols": int(batch.counted.sum()),
        "bits_a_symbol": whole,
        "bits_lost": cost,
        "bits_lost_by_others": costs,
        "bits_moved": moved.tolist(),
    }
    figure = _draw_unit(watched, asked.layer, unit, letters, moved, held)
    return Look(Picture(f"layer-{asked.layer}-unit-{unit}", figure, caption), measured)


def _as_it_stands(numbers: NDArray[np.int64]) -> Batch:
    """A text, each symbol to be foreseen from those before it; where it ends is by chance."""
    return batch_of([numbers], [np.arange(len(numbers) + 1) < len(numbers)])


def _clamps(network: Network, asked: Asked, batch: Batch) -> list[Clamp]:
    """Each unit of the layer held as was asked: at a number, or at its own mean over all that a batch reads."""
    read = batch.inputs != END
    read[0] = True
    signal = network.watch(batch.inputs).signal(asked.layer, asked.letter)
    means = signal[read].mean(dim=0).tolist()
    return [
        Clamp(Place(asked.layer, asked.letter, unit), mean if asked.value is None else asked.value)
        for unit, mean in enumerate(means)
    ]


def _told(value: float, *, mean: bool) -> str:
    if mean:
        return f"its mean of {value:.3g}"
    return "zero" if value == 0 else f"{value:.3g}"


def _of_moves(moved: NDArray[np.float64], letters: list[str]) -> str:
    most = int(moved.argmax())
    if _three(moved[most]) == _three(0):
        return "what the network expects does not move."
    where = f"{letters[most]!r} at place {most + 1}"
    return (
        f"what the network expects moves by {_three(moved.mean())} bits a symbol, most after {where}: "
        f"{_three(moved[most])}."
    )


def _beside(cost: float, others: list[float]) -> str:
    """What is lost beside what is lost by the others of the layer."""
    if not others:
        return "There is no other unit in its layer."
    if len(others) == 1:
        return f"The other unit of its layer costs {_three(others[0])} when it is held alike."
    less = sum(one < cost for one in others)
    rank = "any" if less == len(others) else "none" if not less else str(less)
    return (
        f"That is more than {rank} of the {len(others)} others of its layer cost when they are held alike: "
        f"{_three(np.median(others))} is the middle of theirs, {_three(max(others))} the most."
    )


def _three(bits: float | np.floating[Any]) -> str:
    """Three digits, and no minus before a zero."""
    return f"{round(float(bits), 3) + 0.0:.3f}"


@torch.no_grad()
def bits(network: Network, batch: Batch, clamps: tuple[Clamp, ...] = ()) -> float:
    """How surprised the network is by what is right, with some units held: bits a symbol that is asked for."""
    scores = scores_with(network, batch.inputs, clamps).flatten(0, 1)
    return float(functional.cross_entropy(scores, batch.targets.flatten(), ignore_index=IGNORED)) / math.log(2)


def moved_with(network: Network, numbers: NDArray[np.int64], clamp: Clamp) -> NDArray[np.float64]:
    """How far what is expected next is from the same with a unit held, in bits; [length] (Kullback & Leibler 1951)."""
    inputs = batch_of([numbers]).inputs
    whole = torch.log_softmax(scores_with(network, inputs, ()).double(), dim=-1)
    without = torch.log_softmax(scores_with(network, inputs, (clamp,)).double(), dim=-1)
    apart = (whole.exp() * (whole - without)).sum(dim=-1)[1:, 0] / math.log(2)
    return np.asarray(apart.clamp(min=0).numpy())


def _cut(network: Network, reads: str) -> tuple[list[str], NDArray[np.int64]]:
    """The symbols of an example as they are shown, and their numbers."""
    if network.symbols.are_bytes:
        return [_SHOWN.get(letter, letter) for letter in reads], network.symbols.encode(reads)
    words = Words(network.symbols)
    return words.cut(reads), words.encode(reads)


def _draw_unit(
    watched: Watched, layer: int, unit: int, letters: list[str], moved: NDArray[np.float64], held: str
) -> Figure:
    signals = {letter: values[1:, 0, unit].numpy() for letter, values in watched.layers[layer].items()}
    kept = {letter: values for letter, values in signals.items() if letter in "ch"}
    gates = {letter: values for letter, values in signals.items() if letter not in "ch"}
    panels = 3 if gates else 2
    figure, axes = pictures.new_figure(panels, 1, width=max(10.0, 3.0 + 0.22 * len(letters)), height=2.6 * panels)
    pictures.draw_signals(axes[0], kept, letters, f"layer {layer}, unit {unit}: what it remembers and shows")
    if gates:
        pictures.draw_signals(axes[1], gates, letters, "its gates and its candidate")
    axes[-1].bar(range(len(moved)), moved, color=pictures.GREY)
    pictures.letters_below(axes[-1], letters)
    axes[-1].set(title=f"how far what is expected next moves {held}", ylabel="bits", xlim=axes[0].get_xlim())
    axes[-1].set_ylim(0, max(_LEAST_SHOWN, 1.05 * float(moved.max())))
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
