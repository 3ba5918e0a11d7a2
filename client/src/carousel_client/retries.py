"""When a call is sent again: only where that is safe, a bounded number of times, and within the call's one deadline."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from carousel_client.errors import CarouselError, DeadlineExceeded, Fenced, Overloaded, Unavailable


def is_passing(error: CarouselError) -> bool:
    """Whether the same call may succeed a little later: nobody answered, another replica has the session now, or the
    server is full and said when it expects not to be. A quota is the caller's own to keep, so it is not waited out.
    """
    return isinstance(error, Unavailable | Fenced) or (
        isinstance(error, Overloaded) and error.retry_after_s is not None
    )


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays double from `first_delay_s` up to `max_delay_s`, less a random part up to half, so that clients that lost
    one server together do not come back together. A longer delay that the server asks for is kept.
    """

    attempts: int = 5
    first_delay_s: float = 0.05
    max_delay_s: float = 1.0

    def delay_s(self, failures: int, error: CarouselError, jitter: float) -> float:
        """How long to wait after the `failures`th failure; `jitter` in [0, 1)."""
        doublings = min(failures - 1, 60)
        delay_s = min(self.first_delay_s * 2.0**doublings, self.max_delay_s) * (1 - jitter / 2)
        asked_s = error.retry_after_s if isinstance(error, Unavailable | Overloaded) else None
        return max(delay_s, asked_s or 0.0)


class Attempts:
    """The attempts of one call. Every call of this client may be repeated: creating names its session, editing its
    edit, and the others change nothing or end in the same state.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        timeout_s: float,
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._policy, self._clock, self._jitter = policy, clock, jitter
        self._deadline_s = clock() + timeout_s
        self._failures = 0

    def timeout_s(self) -> float:
        """What is left for the next attempt. Raises DeadlineExceeded if nothing is."""
        left_s = self._deadline_s - self._clock()
        if left_s <= 0:
            raise DeadlineExceeded("the call's time was up before it could be sent")
        return left_s

    def delay_after(self, error: CarouselError) -> float:
        """How long to wait before the next attempt. Raises `error` if there is to be none."""
        self._failures += 1
        if not is_passing(error) or self._failures >= self._policy.attempts:
            raise error
        delay_s = self._policy.delay_s(self._failures, error, self._jitter())
        if self._clock() + delay_s >= self._deadline_s:
            raise error
        return delay_s
