"""The attacker's guess: ridge regression from what it saw to which text was typed, tried on trials of its own.

Half of the trials teach it, the other half test it: it never sees the truth of those that count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.leak.trials import Trials

_RIDGE = 1e-3  # relative to the mean square of a trial


@dataclass(frozen=True, slots=True)
class Guesses:
    """For each tested trial a score, above 0 for the second text, and the truth. float64 and int64 [trials]."""

    scores: NDArray[np.float64]
    typed: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """The share of right guesses; chance is 0.5, both texts being tested equally often."""
        return float(np.mean((self.scores > 0) == (self.typed == 1)))

    @property
    def margin(self) -> float:
        """Half the width of the 95 % interval around chance for this many trials: less than that is luck."""
        return 1.96 * math.sqrt(0.25 / len(self.typed))


def guess(trials: Trials) -> Guesses:
    """Learn from the even half of each text's trials, guess the odd half."""
    learned, tested = _halves(trials.typed)
    seen = trials.seen.astype(np.float64)
    mean = seen[learned].mean(axis=0)
    known, asked = seen[learned] - mean, seen[tested] - mean
    deviation = known.std(axis=0)
    # A column that no trial moved carries nothing; dividing by its rounding error would invent something.
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=np.ptp(seen[learned], axis=0) > 0)
    known, asked = known * scale, asked * scale
    target = np.where(trials.typed[learned] == 1, 1.0, -1.0)
    products = known @ known.T
    ridge = _RIDGE * max(float(np.trace(products)) / len(known), 1.0)
    weights = known.T @ np.linalg.solve(products + ridge * np.eye(len(known)), target)
    return Guesses(asked @ weights, trials.typed[tested])


def _halves(typed: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Trials to learn from and to test, each with as many of one text as of the other."""
    by_text = [np.flatnonzero(typed == text) for text in (0, 1)]
    learned, tested = (np.sort(np.concatenate([places[start::2] for places in by_text])) for start in (0, 1))
    return learned, tested
