"""Whether batches take turns: while the model runs one half of a crowd, the engine does the bookkeeping of the other.

That keeps the model busy all the time, but many models take longer for two halves than for the whole, because they read
their weights twice. So the two losses are compared, from what was measured lately: that of halves, and that of a model
that waits for the bookkeeping of a whole.
"""

from __future__ import annotations

import math

from service.engine.line import Line


class Pace:
    """How long the model takes for a step of so many rows, and the engine for the bookkeeping of such a batch."""

    def __init__(self) -> None:
        self._model = Line()
        self._bookkeeping = Line()
        self._steps = 1.0

    def ran(self, rows: int, steps: int, seconds: float) -> None:
        """A batch was in the model for so long."""
        self._model.add(rows, seconds / steps)
        self._steps += 0.1 * (steps - self._steps)

    def kept(self, rows: int, seconds: float) -> None:
        """It took so long to keep a batch and to plan and launch the next one."""
        self._bookkeeping.add(rows, seconds)

    def foreseen_s(self, rows: int, steps: int) -> float:
        """How many seconds such a batch will be in the model; infinite as long as that is anybody's guess."""
        return self._model.at(rows) * steps if self._model.weight else math.inf

    def takes_turns(self, rows: int) -> bool:
        """Whether so many rows go through sooner as two batches than as one."""
        whole_s = self._model.at(rows)
        halves_s = 2 * self._model.at(rows / 2)
        return halves_s * self._steps <= whole_s * self._steps + self._bookkeeping.at(rows)
