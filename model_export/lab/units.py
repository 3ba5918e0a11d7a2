"""Which unit stands for what: a measurement, not an impression.

A property labels every position: a count so far, or whether the position lies inside a string. Every unit of every
signal is asked how well it alone tells the property on sequences that it was not fitted to (cross-validation by
sequence). The same is asked with the labels rotated, along all positions and again within each sequence, which keeps
their rhythm but tears them from what was read: the best of all units then is what chance gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model_export.errors import TrainingError

FOLDS = 5
ROTATIONS = 20
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a unit's signal is: in a figure or a sentence, `layer 0, unit 3, c`."""

    layer: int
    letter: str
    unit: int

    def __str__(self) -> str:
        return f"layer {self.layer}, unit {self.unit}, {self.letter}"


@dataclass(frozen=True, slots=True)
class Ranked:
    """A unit's score on unseen sequences: R^2 of a number, or balanced accuracy of a yes or no.

    control: the best score of any unit on rotated labels, the largest of 20 rotations.
    """

    place: Place
    score: float
    control: float

    @property
    def beats_chance(self) -> bool:
        """Whether the labels mean more to it than rotated ones to any."""
        return self.score > self.control


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen at n positions: signals by (layer, letter), float [n, units]; sequence: which one each lies in."""

    signals: Mapping[tuple[int, str], NDArray[np.floating]]
    sequence: NDArray[np.int64]


def rank_units(seen: Observed, label: NDArray[np.generic], *, seed: int = 0) -> list[Ranked]:
    """All units of all signals, the best first. label: bool or numbers, [n].

    Raises TrainingError if there is too little to tell: under one sequence for each fold, or a label that is constant.
    """
    sequences = np.unique(seen.sequence)
    if len(sequences) < FOLDS:
        raise TrainingError(f"{len(sequences)} sequences are too few to cross-validate; at least {FOLDS}")
    if len(np.unique(label)) < 2:
        raise TrainingError("the property is the same everywhere, so no unit can tell it")
    generator = np.random.default_rng(seed)
    fold_of = dict(zip(sequences.tolist(), generator.permutation(len(sequences)) % FOLDS, strict=True))
    folds = np.array([fold_of[one] for one in seen.sequence.tolist()])
    keys = list(seen.signals)
    places = [Place(layer, letter, u) for layer, letter in keys for u in range(seen.signals[layer, letter].shape[1])]
    values = np.concatenate([seen.signals[key] for key in keys], axis=1).astype(np.float64)
    score = _balanced_accuracy if label.dtype == np.bool_ else _explained
    scores = score(values, label, folds)
    rotated = (_rotated(label, seen.sequence, generator) for _ in range(ROTATIONS))
    control = max(float(score(values, one, folds).max()) for one in rotated)
    order = np.argsort(-scores, kind="stable")
    return [Ranked(places[n], float(scores[n]), control) for n in order]


def _rotated(
    label: NDArray[np.generic], sequence: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.generic]:
    """The labels moved along: all of them by one length, then each sequence's by one of its own.

    The first alone would leave labels in place that depend on the place in sequences of one length, the second alone
    those that are the same all through a sequence.
    """
    tenth = len(label) // 10
    moved = np.roll(label, int(generator.integers(tenth + 1, max(len(label) - tenth, tenth + 2))))
    starts = np.flatnonzero(np.diff(sequence, prepend=sequence[0] - 1))
    parts = [np.roll(part, int(generator.integers(len(part)))) for part in np.split(moved, starts[1:])]
    return np.concatenate(parts)


def beyond(
    seen: Observed, label: NDArray[np.number], known: NDArray[np.number]
) -> tuple[Observed, NDArray[np.float64]]:
    """Signals and label less what a straight line from something known tells of them, such as the place in a sentence.

    A unit that goes with the place goes with all that grows with it; what it tells beyond that is what is left.
    """
    line = np.stack([np.ones(len(known)), known.astype(np.float64)], axis=1)

    def rest(values: NDArray[np.number]) -> NDArray[np.float64]:
        wide = values.astype(np.float64)
        return np.asarray(wide - line @ np.linalg.lstsq(line, wide, rcond=None)[0])

    return Observed({key: rest(values) for key, values in seen.signals.items()}, seen.sequence), rest(label)


def _explained(values: Values, label: NDArray[np.generic], folds: NDArray[np.int64]) -> Values:
    """R^2 of a straight line from each column to the label, on the folds that it was not fitted to; [columns]."""
    wanted = label.astype(np.float64)
    missed = np.zeros(values.shape[1])
    for fold in range(FOLDS):
        fit, rest = folds != fold, folds == fold
        x, y = values[fit], wanted[fit]
        mean_x, mean_y = x.mean(axis=0), y.mean()
        slope = ((x - mean_x) * (y - mean_y)[:, None]).sum(axis=0) / np.maximum(((x - mean_x) ** 2).sum(axis=0), 1e-12)
        missed += ((wanted[rest][:, None] - mean_y - slope * (values[rest] - mean_x)) ** 2).sum(axis=0)
    return np.asarray(1 - missed / ((wanted - wanted.mean()) ** 2).sum())


def _balanced_accuracy(values: Values, label: NDArray[np.generic], folds: NDArray[np.int64]) -> Values:
    """How often each column is nearer to its mean of the right class, both classes weighing the same; [columns]."""
    yes = label.astype(np.bool_)
    right = np.zeros((2, values.shape[1]))
    for fold in range(FOLDS):
        fit, rest = folds != fold, folds == fold
        if not (fit & yes).any() or not (fit & ~yes).any():
            continue
        mean_yes, mean_no = values[fit & yes].mean(axis=0), values[fit & ~yes].mean(axis=0)
        says_yes = np.abs(values[rest] - mean_yes) < np.abs(values[rest] - mean_no)
        right[1] += (says_yes & yes[rest][:, None]).sum(axis=0)
        right[0] += (~says_yes & ~yes[rest][:, None]).sum(axis=0)
    return np.asarray((right[1] / yes.sum() + right[0] / (~yes).sum()) / 2)


def sparseness(values: NDArray[np.floating]) -> float:
    """Hoyer's (2004) measure of |values|, [positions, units]: 0 where all units are alike, 1 where one alone is active.

    The mean over positions; it does not depend on the scale. Positions where nothing is active count as 1.
    """
    sizes = np.abs(values.astype(np.float64))
    root = np.sqrt(sizes.shape[1])
    ratio = sizes.sum(axis=1) / np.maximum(np.sqrt((sizes**2).sum(axis=1)), 1e-12)
    return float(np.mean((root - ratio) / max(root - 1, 1e-12)))
