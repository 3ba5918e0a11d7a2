"""Who is let in: as many requests as can be answered while that is of use; the others are told when to come again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.engine.admission import Admission
from service.engine.requests import Advance, Complete, Score
from service.errors import Overloaded

_LONGEST_DELAY_S = 60.0  # that anybody is told to stay away
_RATE_EVERY_S = 0.5


@dataclass(slots=True)
class _ServiceRate:
    """Requests answered per second, smoothed, for honest retry delays."""

    per_second: float = 50.0
    _since: float | None = None
    _count: int = 0

    def answered(self, count: int, now_s: float) -> None:
        """Count answers; about every half second they become a new estimate."""
        if self._since is None:
            self._since = now_s
        self._count += count
        elapsed = now_s - self._since
        if elapsed >= _RATE_EVERY_S:
            if self._count:
                self.per_second = 0.5 * self.per_second + 0.5 * self._count / elapsed
            self._since, self._count = now_s, 0


class Gate:
    """Counts who is inside. `max_waiting` bounds them all; `admission` those who wait for text."""

    def __init__(self, admission: Admission, *, max_waiting: int, clock: Callable[[], float]) -> None:
        self._admission, self._max_waiting, self._clock = admission, max_waiting, clock
        self._waiting = self._asking = self._left = 0
        self._rate = _ServiceRate()

    def enter(self, request: Advance | Complete | Score) -> None:
        """One more. Raises Overloaded, with the time after which it is worth another try."""
        if self._waiting >= self._max_waiting:
            delay = self._waiting / max(self._rate.per_second, 1.0)
            raise Overloaded(f"{self._waiting} requests wait already; retry later", min(delay, _LONGEST_DELAY_S))
        if asks(request):
            if self._asking >= self._admission.most:
                delay = self._admission.seconds_for(self._asking)
                raise Overloaded(f"{self._asking} requests are under way; retry later", min(delay, _LONGEST_DELAY_S))
            self._asking += 1
        self._waiting += 1

    def stay(self) -> None:
        """Somebody who has left goes on unasked: a movement that nobody waits for any more."""
        self._waiting += 1

    def step_aside(self, request: Advance | Complete | Score) -> None:
        """Somebody inside waits until others are through: for admission as if it had not come yet."""
        self._asking -= asks(request)

    def step_in(self, request: Advance | Complete | Score) -> None:
        """Whoever has stepped aside goes on, or ends."""
        self._asking += asks(request)

    def leave(self, request: Advance | Complete | Score) -> None:
        """One less."""
        self._waiting -= 1
        self._asking -= asks(request)
        self._left += 1

    def turned(self) -> None:
        """A tick is over: what was answered in it counts for the rate."""
        if self._left:
            self._rate.answered(self._left, self._clock())
            self._left = 0


def asks(request: Advance | Complete | Score) -> bool:
    """Whether somebody waits for it. A mere movement is cheap, and whoever is refused it makes it later anyway."""
    return not isinstance(request, Advance) or request.suggest is not None
