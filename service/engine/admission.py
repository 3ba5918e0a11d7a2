"""How much the engine takes on: as many suggestions as it can give while they are still of use.

A queue bounded by its length alone is either too short for a fast model or minutes long for a slow one, so the bound is
a time: a newcomer is turned away if those who are inside would keep it for longer than `max_wait_s`, and much longer
than it would take by itself. The time is foreseen from two things that are measured all along: how long a tick takes by
its rows, which is nearly a straight line (a base cost and a cost per row), and how many rows a request needs.
"""

from __future__ import annotations

from service.engine.line import Line

_MEMORY_REQUESTS = 32.0
_PATIENCE = 4.0  # times what a request takes alone: where that is long, company is no reason to send anybody away


class Admission:
    """Foresees how long requests would wait. Used on the engine's thread.

    max_rows: rows of a full batch.  max_wait_s: what a request for suggestions may take, wherever that can be had.
    max_waiting: how many there may be at most, however fast the model is.
    """

    def __init__(self, *, max_rows: int, max_wait_s: float, max_waiting: int) -> None:
        self._max_rows, self._max_wait_s, self._max_waiting = max_rows, max_wait_s, max_waiting
        self._line = Line()
        self._rows_per_request = 0.0
        self._requests = 0.0
        self.most = max_waiting

    def ticked(self, rows: int, seconds: float) -> None:
        """A tick of so many rows took so long, all of its bookkeeping included."""
        self._line.add(rows, seconds)
        self.most = self._most()

    def answered(self, rows: int) -> None:
        """A request got its suggestions, at the cost of so many rows.

        Those of its movement count: who was turned away before brings more than one byte, and under overload that is
        nearly everybody.
        """
        self._requests = min(self._requests + 1.0, _MEMORY_REQUESTS)
        self._rows_per_request += (rows - self._rows_per_request) / self._requests

    def seconds_for(self, requests: int) -> float:
        """How long so many requests take that share the engine, from now to the last answer."""
        ticks = self._rows_per_request * max(requests / self._max_rows, 1.0)
        return ticks * self._line.at(min(requests, self._max_rows))

    def _most(self) -> int:
        """The largest number of requests that are answered in time; at least one, or nobody would ever be served."""
        allowed_s = max(self._max_wait_s, _PATIENCE * self.seconds_for(1))
        if self.seconds_for(self._max_waiting) <= allowed_s:
            return self._max_waiting
        low, high = 1, self._max_waiting  # seconds_for never falls as requests grow
        while high - low > 1:
            middle = (low + high) // 2
            if self.seconds_for(middle) <= allowed_s:
                low = middle
            else:
                high = middle
        return low
