"""Ratios of what was measured side by side: each repetition gives one, and the median is the figure.

A machine's speed drifts by tens of per cent within a minute; what is measured alternately drifts together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Ratio:
    """The median of the ratios of some repetitions, and how far they lie apart."""

    value: float
    lowest: float
    highest: float
    repetitions: int

    @property
    def spread(self) -> str:
        """The range over the repetitions, for a table."""
        return f"{self.lowest:.2f} to {self.highest:.2f} in {self.repetitions} repetitions"


def ratio_of(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """One ratio for each repetition, of positive values in the same order. Raises ValueError."""
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    if not ratios:
        raise ValueError("there are no repetitions")
    return Ratio(median(ratios), min(ratios), max(ratios), len(ratios))
