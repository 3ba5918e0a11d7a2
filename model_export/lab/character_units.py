"""What the units of a network of characters stand for: properties of each character, and which units tell them.

The texts are those that no training saw. A unit that tells a property need not be used: so it is held at its mean, and
what the network then loses is compared with what it loses by others of the same layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
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

LETTERS = ("c", "h")
_SHOWS = "h"  # a large c can be held without effect: nothing sees it but through o * tanh(c)
_COLUMNS = 100  # of a picture, so that letters of short lines stand together
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
    """The unit that tells a property best, and what it costs, in bits a character, to hold its h and others' still.

    The cost is that of what comes next, where the property is true, or for a number where the question makes sense.
    """

    best: Ranked
    cost: float
    costs_of_others: tuple[float, ...]

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
        kept = {(n, letter): self._in_turn(one[letter].numpy()) for n, one in enumerate(signals) for letter in LETTERS}
        numbers = np.repeat(np.arange(len(self.stretches)), [one.length for one in self.stretches])
        self.observed = Observed(kept, numbers)
        self._plain = self._surprise(())

    def of_each(self, label: Label) -> NDArray[np.generic]:
        """A label of every character that was looked at, [characters]."""
        labels = {text: label(text) for text in {one.text for one in self.stretches}}
        return np.concatenate([one.of(labels[one.text]) for one in self.stretches])

    def find(self, asked: Property, *, seed: int) -> Found:
        """The unit that tells it best. Raises TrainingError where there is too little to tell."""
        where = np.flatnonzero(self.of_each(asked.where))
        label = self.of_each(asked.label)[where]
        observed = Observed(
            {key: values[where] for key, values in self.observed.signals.items()}, self.observed.sequence[where]
        )
        best = rank_units(observed, label, seed=seed)[0]
        counted = where[label] if label.dtype == np.bool_ else where
        place = best.place
        generator = np.random.default_rng(seed)
        units = [int(unit) for unit in generator.permutation(self.network.config.units) if unit != place.unit]
        others = [Place(place.layer, _SHOWS, unit) for unit in units[:OTHERS]]
        counted = counted[counted < len(self._plain)]
        if not len(counted):
            return Found(best, math.nan, (math.nan,) * OTHERS)
        cost, *rest = (
            float((self._surprise((self._at_mean(one),)) - self._plain)[counted].mean())
            for one in (replace(place, letter=_SHOWS), *others)
        )
        return Found(best, cost, tuple(rest))

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
        """The stretch, and those of its characters that are a few whole lines in which the property varies most."""
        best: tuple[float, int, slice] = (-1.0, 0, slice(0, 0))
        for number, one in enumerate(self.stretches):
            label, where = one.of(asked.label(one.text)).astype(np.float64), one.of(asked.where(one.text))
            starts = [place + 1 for place, letter in enumerate(one.shown) if letter == "\n"]
            for first, last in zip(starts, starts[lines:], strict=False):
                part = slice(first, last)
                spread = float(label[part][where[part]].std()) if where[part].any() else 0.0
                if spread > best[0] and "\n\n" not in one.shown[part]:
                    best = (spread, number, part)
        return best[1], best[2]


def draw_text(axes: Axes, reading: Reading, found: Found, number: int, part: slice) -> None:
    """Lines of a text, each character on the colour of a unit's signal there."""
    values = reading.signal(found.best.place, number)
    mean, spread = float(values.mean()), max(float(np.abs(values - values.mean()).max()), 1e-6)
    lines = reading.stretches[number].shown[part].splitlines()
    width = max(_COLUMNS, *map(len, lines))
    grid = np.full((len(lines), width), np.nan)
    place = 0
    for down, line in enumerate(lines):
        for column, letter in enumerate(line):
            grid[down, column] = (values[part][place + column] - mean) / spread
            axes.text(column, down, letter, ha="center", va="center", family="monospace", fontsize=7)
        place += len(line) + 1
    axes.imshow(grid, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest", alpha=0.6)
    axes.set_axis_off()
