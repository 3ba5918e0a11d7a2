"""How long a stream looks for a server that it lost, and when it gives up. Pure: the clock is passed in."""

from __future__ import annotations

import random
from collections.abc import Callable

from carousel_client.errors import CarouselError, DeadlineExceeded
from carousel_client.retries import RetryPolicy, is_passing

_STEADY_S = 2.0  # a connection that held so long was no failure to connect, though it was lost


class Resumption:
    """Plans the attempts of one stream. Delays are those of the retry policy; what bounds them is time, not a number.

    Not thread-safe: the one who reads the stream owns it.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        within_s: float,
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._policy, self._within_s, self._clock, self._jitter = policy, within_s, clock, jitter
        self._failures = 0
        self._lost_s = 0.0  # when the server was lost; of no meaning without failures
        self._found_s: float | None = None  # when it was found again, if nothing was lost since

    def lost(self, error: CarouselError) -> float:
        """How long to wait before looking for the server. Raises `error` if that is of no use, or was tried enough."""
        now_s = self._clock()
        if self._found_s is not None and now_s - self._found_s >= _STEADY_S:
            self._failures = 0
        self._found_s = None
        if self._failures == 0:
            self._lost_s = now_s
        self._failures += 1
        delay_s = self._policy.delay_s(self._failures, error, self._jitter())
        passing = is_passing(error) or isinstance(error, DeadlineExceeded)  # a server that hangs may come back, too
        if not passing or now_s + delay_s - self._lost_s > self._within_s:
            raise error
        return delay_s

    def found(self) -> None:
        """The server was found: it answers."""
        self._found_s = self._clock()

    def progressed(self) -> None:
        """Something that was owed has come: whatever is lost next is lost for the first time."""
        self._failures = 0
