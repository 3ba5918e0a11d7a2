"""Whether batches take turns: while the model runs one half of a crowd, the engine does the bookkeeping of the other.

That keeps the model busy all the time, but many models take longer for two halves than for the whole, because they read
their weights twice. So the two losses are compared, from what was measured lately: that of halves, and that of a model
that waits for the next batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from service.engine.line import Line

_SHARE = 0.1  # of a new measurement in what is believed
_STALE = 256  # batches after which a size is measured again


@dataclass(slots=True)
class _Measured:
    """Seconds of a row and a step in batches of about one size, and which batch told so last."""

    seconds: float
    at: int


class Pace:
    """How long the model takes for a step of so many rows, and how long it waits if no other batch is there."""

    def __init__(self) -> None:
        self._sizes: dict[int, _Measured] = {}  # by the power of two that is next to the rows
        self._waits = Line()
        self._steps = 1.0
        self._batches = 0

    def ran(self, rows: int, steps: int, seconds: float) -> None:
        """A batch was in the model for so long, a step after another."""
        self._batches += 1
        self._steps += _SHARE * (steps - self._steps)
        measured, found = self._sizes.get(_size(rows)), seconds / (rows * steps)
        if measured is None or self._batches - measured.at > _STALE:
            self._sizes[_size(rows)] = _Measured(found, self._batches)
        else:
            measured.seconds += _SHARE * (found - measured.seconds)
            measured.at = self._batches

    def waited(self, rows: int, seconds: float) -> None:
        """The model had nothing to do for so long before it got so many rows."""
        self._waits.add(rows, seconds)

    def foreseen_s(self, rows: int, steps: int) -> float:
        """How many seconds such a batch will be in the model; infinite as long as that is anybody's guess."""
        measured = self._sizes.get(_size(rows))
        return math.inf if measured is None else measured.seconds * rows * steps

    def takes_turns(self, rows: int) -> bool:
        """Whether so many rows go through sooner as two batches than as one; what is not known is tried."""
        whole, halves = self._sizes.get(_size(rows)), self._sizes.get(_size(rows / 2))
        if halves is None or self._batches - halves.at > _STALE:
            return True
        if whole is None or self._batches - whole.at > _STALE:
            return False
        lost_s = (halves.seconds - whole.seconds) * rows * self._steps
        return lost_s <= self._waits.at(rows)


def _size(rows: float) -> int:
    return round(math.log2(rows))
