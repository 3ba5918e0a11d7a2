"""A straight line through what was measured lately: seconds over rows. Nearly what every batch obeys."""

from __future__ import annotations

from dataclasses import dataclass

_MEMORY = 64.0  # measurements; older ones count for less than a third
_LEAST_SPREAD = 1.0  # rows squared; below it all were alike and tell nothing about the cost of a row


@dataclass(slots=True)
class Line:
    """Seconds over rows: least squares, the past forgotten exponentially."""

    weight: float = 0.0
    mean_rows: float = 0.0
    mean_seconds: float = 0.0
    spread: float = 0.0  # variance of the rows
    together: float = 0.0  # covariance of rows and seconds

    def add(self, rows: int, seconds: float) -> None:
        """So many rows took so long."""
        self.weight = min(self.weight + 1.0, _MEMORY)
        share = 1.0 / self.weight
        rows_off, seconds_off = rows - self.mean_rows, seconds - self.mean_seconds
        self.mean_rows += share * rows_off
        self.mean_seconds += share * seconds_off
        self.spread = (1.0 - share) * (self.spread + share * rows_off * rows_off)
        self.together = (1.0 - share) * (self.together + share * rows_off * seconds_off)

    def at(self, rows: float) -> float:
        """Seconds for so many rows; never less for more of them."""
        slope = max(self.together / self.spread, 0.0) if self.spread > _LEAST_SPREAD else 0.0
        # Not below what the cost of a row alone makes: a line through a cloud may meet the axis under zero.
        return max(self.mean_seconds + slope * (rows - self.mean_rows), slope * rows)
