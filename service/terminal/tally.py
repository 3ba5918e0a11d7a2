"""What the corner of the screen tells: how long suggestions took, and how many keystrokes they saved."""

from __future__ import annotations

from collections import deque
from statistics import median

_KEPT = 1000  # latencies that the median is taken of


class Tally:
    """Counts one session of typing. Every key that made text counts, those that moved or removed do not."""

    def __init__(self) -> None:
        self._latencies_s: deque[float] = deque(maxlen=_KEPT)
        self._keys = 0
        self._characters = 0

    def made(self, characters: int) -> None:
        """One key made so many characters: one when it was typed, a whole suggestion when it was accepted."""
        self._keys += 1
        self._characters += characters

    def suggested(self, latency_s: float) -> None:
        """The suggestions for a keystroke came so long after it."""
        self._latencies_s.append(latency_s)

    @property
    def last_s(self) -> float | None:
        """From the last keystroke that was answered to its suggestions."""
        return self._latencies_s[-1] if self._latencies_s else None

    @property
    def p50_s(self) -> float | None:
        """The median of the latest keystrokes."""
        return median(self._latencies_s) if self._latencies_s else None

    @property
    def saved(self) -> float | None:
        """The share of characters that took no key of their own: 1 - keys / characters; None before any."""
        return 1 - self._keys / self._characters if self._characters else None
