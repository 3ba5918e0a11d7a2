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
    labels = np.stack([label, *(_rotated(label, seen.sequence, generator) for _ in range(ROTATIONS))])
    scores, *of_rotated = score(values, labels.astype(np.float64), folds)
    control = float(np.max(of_rotated))
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


def _explained(values: Values, labels: Values, folds: NDArray[np.int64]) -> Values:
    """R^2 of a straight line from each column to each label, on the folds that it was not fitted to; [labels, columns].

    labels: [labels, n]. Everything follows from sums of x, x^2, y and xy over each fold.
    """
    x = values - values.mean(axis=0)
    y = labels - labels.mean(axis=1, keepdims=True)
    own = [folds == fold for fold in range(FOLDS)]
    count = np.array([one.sum() for one in own], np.float64)
    sum_x, sum_xx = (np.stack([part[one].sum(axis=0) for one in own]) for part in (x, x**2))  # [folds, columns]
    sum_y = np.stack([y[:, one].sum(axis=1) for one in own])[:, :, None]  # [folds, labels, 1]
    sum_yy = np.stack([(y[:, one] ** 2).sum(axis=1) for one in own])[:, :, None]
    sum_xy = np.stack([y[:, one] @ x[one] for one in own])  # [folds, labels, columns]
    missed = np.zeros(sum_xy.shape[1:])
    for fold in range(FOLDS):
        fit = count.sum() - count[fold]
        mean_x = (sum_x.sum(axis=0) - sum_x[fold]) / fit
        mean_y = (sum_y.sum(axis=0) - sum_y[fold]) / fit
        spread = sum_xx.sum(axis=0) - sum_xx[fold] - fit * mean_x**2
        slope = (sum_xy.sum(axis=0) - sum_xy[fold] - fit * mean_x * mean_y) / np.maximum(spread, 1e-12)
        n = count[fold]
        rest_yy = sum_yy[fold] - 2 * mean_y * sum_y[fold] + n * mean_y**2
        rest_xy = sum_xy[fold] - mean_x * sum_y[fold] - mean_y * sum_x[fold] + n * mean_x * mean_y
        rest_xx = sum_xx[fold] - 2 * mean_x * sum_x[fold] + n * mean_x**2
        missed += rest_yy - 2 * slope * rest_xy + slope**2 * rest_xx
    return np.asarray(1 - missed / (y**2).sum(axis=1)[:, None])


def _balanced_accuracy(values: Values, labels: Values, folds: NDArray[np.int64]) -> Values:
    """How often each column is nearer to its mean of the right class, both weighing the same; [labels, columns].

    labels: 0 or 1, [labels, n].
    """
    own = [folds == fold for fold in range(FOLDS)]
    count = np.stack([labels[:, one].sum(axis=1) for one in own])[:, :, None]  # of the ones, [folds, labels, 1]
    size = np.array([one.sum() for one in own], np.float64)[:, None, None]
    ones = np.stack([labels[:, one] @ values[one] for one in own])  # [folds, labels, columns]
    noes = np.stack([values[one].sum(axis=0) for one in own])[:, None, :] - ones
    right = np.zeros((2, *ones.shape[1:]))
    for fold, rest in enumerate(own):
        many = count.sum(axis=0) - count[fold]
        few = size.sum(axis=0) - size[fold] - many
        told = (many > 0) & (few > 0)
        mean_yes = (ones.sum(axis=0) - ones[fold]) / np.maximum(many, 1)
        mean_no = (noes.sum(axis=0) - noes[fold]) / np.maximum(few, 1)
        middle, above = (mean_yes + mean_no) / 2, mean_yes > mean_no
        columns = values[rest].T  # [columns, n of the fold]
        for number, label in enumerate(labels[:, rest]):
            higher = (columns > middle[number][:, None]).astype(np.float32)
            of_ones, of_all = higher @ label.astype(np.float32), higher.sum(axis=1)
            yes, no = label.sum(), len(label) - label.sum()
            right_yes = np.where(above[number], of_ones, yes - of_ones)
            right_no = np.where(above[number], no - (of_all - of_ones), of_all - of_ones)
            right[:, number] += told[number] * np.stack([right_no, right_yes])
    yes_of = labels.sum(axis=1)[:, None]
    return np.asarray((right[1] / yes_of + right[0] / (labels.shape[1] - yes_of)) / 2)


def sparseness(values: NDArray[np.floating]) -> float:
    """Hoyer's (2004) measure of |values|, [positions, units]: 0 where all units are alike, 1 where one alone is active.

    The mean over positions; it does not depend on the scale. Positions where nothing is active count as 1.
    """
    sizes = np.abs(values.astype(np.float64))
    root = np.sqrt(sizes.shape[1])
    ratio = sizes.sum(axis=1) / np.maximum(np.sqrt((sizes**2).sum(axis=1)), 1e-12)
    return float(np.mean((root - ratio) / max(root - 1, 1e-12)))
