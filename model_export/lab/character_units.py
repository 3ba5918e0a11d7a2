"""What the units of a network of characters stand for: properties of each character, and which units tell them.

The texts are those that no training saw. A unit that tells a property need not be used: so it is held at its mean, and
what the network then loses is compared with what it loses by others of the same layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from model_export.lab.sequences import batch_of
from model_export.lab.units import Observed, Place, Ranked, rank_units

LETTERS = ("c", "h")
OTHERS = 5
"""How many other units of its layer a unit is compared with."""

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
    """The unit that tells a property best, and what it costs, in bits a character, to hold it and others still.

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


class Reading:
    """A network that has read some texts of ASCII: its signals for the characters from `start` on.

    Texts that are no longer than `start` are left out.
    """

    def __init__(self, network: Network, texts: Sequence[str], *, start: int = 0, length: int) -> None:
        self.network, self.start = network, start
        self.texts = [text[: start + length] for text in texts if len(text) > start]
        if not self.texts:
            raise TrainingError(f"no text is longer than {start} characters")
        batch = batch_of([network.symbols.encode_text(text) for text in self.texts])
        with torch.no_grad():
            before: list[States] = network(batch.inputs[: start + 1], network.initial(len(self.texts)))[1]
            _, _, signals = network.stack.watch(network.embedding(batch.inputs[start + 1 :]), before)
        self._read, self._follows = batch.inputs[start + 1 :], batch.targets[start + 1 :]
        self._before = before
        kept = {(n, letter): layer[letter].numpy() for n, layer in enumerate(signals) for letter in LETTERS}
        self.observed = Observed({key: self._in_turn(values) for key, values in kept.items()}, self._numbers())

    def _in_turn(self, values: NDArray[np.generic]) -> NDArray[np.floating]:
        """[time, texts, ...] -> [characters, ...], text after text."""
        parts = [values[: len(text) - self.start, row] for row, text in enumerate(self.texts)]
        return np.asarray(np.concatenate(parts), np.float32)

    def _numbers(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(self.texts)), [len(text) - self.start for text in self.texts])

    def of_each(self, label: Label) -> NDArray[np.generic]:
        """A label of every character that was looked at, [characters]."""
        return np.concatenate([label(text)[self.start :] for text in self.texts])

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
        others = [Place(place.layer, place.letter, unit) for unit in units[:OTHERS]]
        plain = self._surprise(())
        cost, *rest = (
            float((self._surprise((self._at_mean(one),)) - plain)[counted].mean()) for one in (place, *others)
        )
        return Found(best, cost, tuple(rest))

    def _at_mean(self, place: Place) -> Clamp:
        values = self.observed.signals[place.layer, place.letter][:, place.unit]
        return Clamp(place, float(values.mean()))

    def _surprise(self, clamps: Sequence[Clamp]) -> NDArray[np.float64]:
        """Bits of what comes after each character, [characters]; the ends of texts cost nothing."""
        scores: Tensor = scores_with(self.network, self._read, clamps, self._before)
        nats = functional.cross_entropy(
            scores.flatten(0, 1), self._follows.flatten(), ignore_index=-100, reduction="none"
        )
        return self._in_turn(nats.reshape(self._follows.shape).numpy()).astype(np.float64) / math.log(2)

    def signal(self, place: Place, row: int) -> NDArray[np.floating]:
        """One unit's signal over the characters of one text, from `start` on."""
        own = self.observed.sequence == row
        return np.asarray(self.observed.signals[place.layer, place.letter][own, place.unit])

    def telling_lines(self, asked: Property, lines: int) -> tuple[int, slice]:
        """The text, and the characters of a few lines of it, counted from `start`, where the property varies most."""
        best: tuple[float, int, slice] = (-1.0, 0, slice(0, 0))
        for row, text in enumerate(self.texts):
            label, where = asked.label(text)[self.start :].astype(np.float64), asked.where(text)[self.start :]
            shown = text[self.start :]
            starts = [0, *(place + 1 for place, one in enumerate(shown) if one == "\n")]
            for first, last in zip(starts, starts[lines:], strict=False):
                part = slice(first, last)
                spread = float(label[part][where[part]].std()) if where[part].any() else 0.0
                if spread > best[0] and shown[part].count("\n\n") == 0:
                    best = (spread, row, part)
        return best[1], best[2]


def draw_text(axes: Axes, reading: Reading, found: Found, row: int, part: slice) -> None:
    """Lines of a text, each character on the colour of a unit's signal there."""
    values = reading.signal(found.best.place, row)
    mean, spread = float(values.mean()), max(float(np.abs(values - values.mean()).max()), 1e-6)
    shown = reading.texts[row][reading.start :][part]
    lines = shown.splitlines()
    width = max(map(len, lines), default=1)
    grid = np.full((len(lines), width), np.nan)
    place = 0
    for number, line in enumerate(lines):
        for column, letter in enumerate(line):
            grid[number, column] = (values[part][place + column] - mean) / spread
            axes.text(column, number, letter, ha="center", va="center", family="monospace", fontsize=7)
        place += len(line) + 1
    axes.imshow(grid, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest", alpha=0.6)
    axes.set_axis_off()
