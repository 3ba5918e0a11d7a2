"""What the units of a network of characters stand for: properties of each character, and which units tell them.

The texts are those that no training saw. A unit that tells a property need not be used: so it is held at its mean, and
what the network then loses is compared with what it loses by others of the same layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from model_export.cells.cell import States
from model_export.errors import TrainingError
from model_export.lab.clamping import Clamp, scores_with
from model_export.lab.network import Network
from model_export.lab.sequences import IGNORED, batch_of
from model_export.lab.units import Observed, Place, Ranked, rank_units

CARRIED = ("c", "h")
"""The signals that a property is looked for in: what a unit remembers and what it shows.

Every other signal that the cells have is ranked, too, but a gate that goes with a property stands for nothing.
"""
CAPTION = (
    "A character's background is what the unit that tells the property best has there: red where it says yes, or more, "
    "blue where it says no, or less; grey where the property is not asked about."
)
_SHOWS = "h"  # a large c can be held without effect: nothing sees it but through o * tanh(c)
_COLUMNS = 72  # of a picture at least, so that letters of short lines stand together
_FULL = 30  # characters a line, on an average, that leave no picture half empty
_BESIDE = (0.9, 0.9, 0.9)  # the colour of characters that are not asked about
_STRENGTH = 0.6  # of the colours, so that letters can be read on them
OTHERS = 5
"""How many other units of its layer a unit is compared with."""
COSTED = 100
"""In how many stretches, the first ones, it is tried what it costs to hold a unit still."""

Flags = NDArray[np.bool_]
Label = Callable[[str], NDArray[np.generic]]


def _everywhere(text: str) -> Flags:
    return np.ones(len(text), np.bool_)


@dataclass(frozen=True, slots=True)
class Property:
    """label: of each character, bool or a number, [length].  where: the characters that the question is about."""

    name: str
    label: Label
    where: Callable[[str], Flags] = _everywhere


@dataclass(frozen=True, slots=True)
class Found:
    """The unit whose c or h tells a property best, and what it costs, in bits a character, to hold its h still.

    The cost is that of what comes next, where the property is true, or for a number where the question makes sense;
    beside it stands that of other units. best_of: for each signal, gates too, the unit that tells it best.
    """

    asked: Property
    best: Ranked
    cost: float
    costs_of_others: tuple[float, ...]
    best_of: Mapping[str, Ranked]

    @property
    def lead(self) -> float:
        """How far it is from what rotated labels give."""
        return self.best.score - self.best.control

    @property
    def used(self) -> bool:
        """Whether it is missed more than each of the others."""
        return self.cost > max(self.costs_of_others)

    def as_document(self) -> dict[str, Any]:
        """Fit for JSON."""
        return {
            "place": str(self.best.place),
            "score": self.best.score,
            "rotated": self.best.control,
            "cost_bits": self.cost,
            "cost_bits_of_others": list(self.costs_of_others),
            "best_of": {letter: {"place": str(one.place), "score": one.score} for letter, one in self.best_of.items()},
        }


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some characters of a text, from `start` on."""

    text: str
    start: int
    length: int

    def of(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """That part of one value for each character of the text."""
        return values[self.start : self.start + self.length]

    @property
    def shown(self) -> str:
        """The characters."""
        return self.text[self.start : self.start + self.length]


class Reading:
    """A network that reads texts of ASCII from their beginnings, and its signals in stretches of them.

    A stretch of `length` characters begins at `start`, and then every `every` characters, if given. Each is what
    `rank_units` takes for a sequence.
    """

    def __init__(
        self, network: Network, texts: Sequence[str], *, start: int = 0, length: int, every: int | None = None
    ) -> None:
        self.network = network
        batch = batch_of([network.symbols.encode_text(text) for text in texts])
        longest = max(map(len, texts))
        starts = range(start, longest, every) if every else range(start, min(start + 1, longest))
        states, read = network.initial(len(texts)), 0
        self.stretches: list[Stretch] = []
        before: list[list[States]] = []
        parts: list[tuple[Tensor, Tensor]] = []
        for first in starts:
            rows = [row for row, text in enumerate(texts) if len(text) >= first + (length if every else 1)]
            if not rows:
                break
            with torch.no_grad():
                states, read = network(batch.inputs[read : first + 1], states)[1], first + 1
            before.append([tuple(state[rows] for state in layer) for layer in states])
            part = slice(first + 1, first + 1 + length)
            parts.append((batch.inputs[part][:, rows], batch.targets[part][:, rows]))
            self.stretches += [Stretch(texts[row], first, min(length, len(texts[row]) - first)) for row in rows]
        if not parts:
            raise TrainingError(f"no text is longer than {start} characters")
        # All stretches side by side: symbols read and symbols that follow, [time, stretches], and the states before.
        self._read, self._follows = (torch.cat(each, dim=1) for each in zip(*parts, strict=True))
        self._before = [
            tuple(torch.cat(each) for each in zip(*layer, strict=True)) for layer in zip(*before, strict=True)
        ]
        with torch.no_grad():
            signals = network.stack.watch(network.embedding(self._read), self._before)[2]
        kept = {(n, letter): self._in_turn(one[letter].numpy()) for n, one in enumerate(signals) for letter in one}
        numbers = np.repeat(np.arange(len(self.stretches)), [one.length for one in self.stretches])
        self.observed = Observed(kept, numbers)
        self._plain = self._surprise(())

    def of_each(self, label: Label) -> NDArray[np.generic]:
        """A label of every character that was looked at, [characters]."""
        labels = {text: label(text) for text in {one.text for one in self.stretches}}
        return np.concatenate([one.of(labels[one.text]) for one in self.stretches])

    def find(self, asked: Property, *, seed: int) -> Found:
        """The unit that tells it best, and the best of each signal. Raises TrainingError where too little is told."""
        where = np.flatnonzero(self.of_each(asked.where))
        label = self.of_each(asked.label)[where]
        observed = Observed(
            {key: values[where] for key, values in self.observed.signals.items()}, self.observed.sequence[where]
        )
        ranked = rank_units(observed, label, seed=seed)
        best_of = {one.place.letter: one for one in reversed(ranked)}
        best = next(one for one in ranked if one.place.letter in CARRIED)
        counted = where[label] if label.dtype == np.bool_ else where
        place = best.place
        generator = np.random.default_rng(seed)
        units = [int(unit) for unit in generator.permutation(self.network.config.units) if unit != place.unit]
        others = [Place(place.layer, _SHOWS, unit) for unit in units[:OTHERS]]
        counted = counted[counted < len(self._plain)]
        if not len(counted):
            return Found(asked, best, math.nan, (math.nan,) * OTHERS, best_of)
        cost, *rest = (
            float((self._surprise((self._at_mean(one),)) - self._plain)[counted].mean())
            for one in (replace(place, letter=_SHOWS), *others)
        )
        return Found(asked, best, cost, tuple(rest), best_of)

    def _at_mean(self, place: Place) -> Clamp:
        values = self.observed.signals[place.layer, place.letter][:, place.unit]
        return Clamp(place, float(values.mean()))

    def _surprise(self, clamps: Sequence[Clamp]) -> NDArray[np.float64]:
        """Bits of what comes after each character of the first stretches; the ends of texts cost nothing."""
        before = [tuple(state[:COSTED] for state in layer) for layer in self._before]
        follows = self._follows[:, :COSTED]
        scores: Tensor = scores_with(self.network, self._read[:, :COSTED], clamps, before)
        nats = functional.cross_entropy(scores.flatten(0, 1), follows.flatten(), ignore_index=IGNORED, reduction="none")
        return self._in_turn(nats.reshape(follows.shape).numpy()).astype(np.float64) / math.log(2)

    def _in_turn(self, values: NDArray[np.generic]) -> NDArray[np.floating]:
        """[time, stretches, ...] -> [characters, ...], stretch after stretch."""
        parts = [values[: one.length, row] for row, one in enumerate(self.stretches[: values.shape[1]])]
        return np.asarray(np.concatenate(parts), np.float32)

    def signal(self, place: Place, number: int) -> NDArray[np.floating]:
        """One unit's signal over the characters of one stretch."""
        own = self.observed.sequence == number
        return np.asarray(self.observed.signals[place.layer, place.letter][own, place.unit])

    def telling_lines(self, asked: Property, lines: int) -> tuple[int, slice]:
        """The stretch, and those of its characters that are a few whole lines, well filled, in which it varies most."""
        best: tuple[float, int, slice] = (-1.0, 0, slice(0, 0))
        for number, one in enumerate(self.stretches):
            label, where = one.of(asked.label(one.text)).astype(np.float64), one.of(asked.where(one.text))
            starts = [place + 1 for place, letter in enumerate(one.shown) if letter == "\n"]
            for first, last in zip(starts, starts[lines:], strict=False):
                part = slice(first, last)
                whole = one.shown[part].splitlines()
                if not all(line.strip() for line in whole):
                    continue
                spread = float(label[part][where[part]].std()) if where[part].any() else 0.0
                spread *= min(1.0, (last - first) / lines / _FULL) * min(1.0, max(map(len, whole)) / _COLUMNS)
                if spread > best[0]:
                    best = (spread, number, part)
        return best[1], best[2]

    def leaning(self, found: Found) -> tuple[NDArray[np.float64], Flags]:
        """How much the unit says yes, or more, at each character, [characters], and where the question makes sense.

        0 lies in the middle, between its mean where the property is false and that where it is true; 1 and -1 are what
        it reaches in 95 of 100 places.
        """
        where, label = self.of_each(found.asked.where).astype(np.bool_), self.of_each(found.asked.label)
        place = found.best.place
        values = self.observed.signals[place.layer, place.letter][:, place.unit].astype(np.float64)
        asked, told = values[where], label[where].astype(np.float64)
        middle = float(asked.mean())
        if label.dtype == np.bool_:
            middle = float(asked[told > 0].mean() + asked[told == 0].mean()) / 2
        turned = -1.0 if float(((asked - asked.mean()) * (told - told.mean())).sum()) < 0 else 1.0
        reach = max(float(np.quantile(np.abs(asked - middle), 0.95)), 1e-6)
        return np.clip(turned * (values - middle) / reach, -1, 1), where


def draw_text(axes: Axes, reading: Reading, found: Found, number: int, part: slice) -> None:
    """Lines of a text, each character on the colour of what a unit says there; `CAPTION` tells the colours."""
    leaning, where = (values[reading.observed.sequence == number][part] for values in reading.leaning(found))
    lines = reading.stretches[number].shown[part].splitlines()
    image = np.ones((len(lines), max(_COLUMNS, *map(len, lines)), 3))
    colours = 1 - _STRENGTH * (1 - colormaps["RdBu_r"]((leaning + 1) / 2)[:, :3])
    place = 0
    for down, line in enumerate(lines):
        for column, letter in enumerate(line):
            image[down, column] = colours[place + column] if where[place + column] else _BESIDE
            axes.text(column, down, letter, ha="center", va="center", family="monospace", fontsize=8)
        place += len(line) + 1
    axes.imshow(image, aspect="auto", interpolation="nearest")
    axes.set_axis_off()
