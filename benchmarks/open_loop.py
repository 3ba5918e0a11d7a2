"""Load that does not wait: requests leave at their appointed times, whatever became of those before.

A closed loop slows down with the server and so hides its overload; what comes from people does not. Latencies count
from the appointed time, so that a generator which falls behind makes the figures worse and never better.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from benchmarks.percentiles import percentile

_SEED = 7
_NAP_S = 0.002  # requests that are due by now leave together


class Outcome(StrEnum):
    """What became of a request."""

    ADMITTED = "admitted"  # answered with what was asked for
    SHED = "shed"  # the edit was committed, its suggestions were not computed
    REFUSED = "refused"  # OVERLOADED, with a retry delay


@dataclass(slots=True)
class Load:
    """What came of one stretch of load. `latencies_s`: from the appointed time to the answer, of the admitted."""

    offered: int = 0
    offered_for_s: float = 0.0
    seconds: float = 0.0  # until the last answer
    client_cpu_s: float = 0.0
    outcomes: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    latencies_s: list[float] = field(default_factory=list)
    turned_away_s: list[float] = field(default_factory=list)

    @property
    def admitted_per_s(self) -> float:
        """The rate at which requests were answered with what they asked for."""
        return self.outcomes[Outcome.ADMITTED] / self.seconds

    @property
    def p99_s(self) -> float:
        """Of the admitted."""
        return percentile(self.latencies_s, 99)

    def ended(self, outcome: Outcome, seconds: float) -> None:
        """A request got its answer."""
        self.outcomes[outcome] += 1
        (self.latencies_s if outcome is Outcome.ADMITTED else self.turned_away_s).append(seconds)


Ask = Callable[[], Awaitable[Outcome]]


async def offer(ask: Ask, rate_per_s: float, seconds: float, *, settle_s: float = 0.0) -> Load:
    """Ask at random moments (a Poisson process) for so long, then await what is still owed. Errors of `ask` end it.

    What is due in the first `settle_s` seconds, which come before, is asked and not counted: a queue that starts empty
    takes a while to become what it is at this rate.
    """
    load, uncounted = Load(), Load()
    chosen = random.Random(_SEED)
    due_s = chosen.expovariate(rate_per_s)
    cpu_began_s = time.process_time()
    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        while (now_s := time.perf_counter() - began_s) < settle_s + seconds:
            while due_s <= now_s:
                into = uncounted if due_s < settle_s else load
                into.offered += 1
                tasks.create_task(_one(ask, began_s + due_s, into))
                due_s += chosen.expovariate(rate_per_s)
            await asyncio.sleep(_NAP_S)
    took_s = time.perf_counter() - began_s
    load.offered_for_s = seconds
    load.seconds = took_s - settle_s
    load.client_cpu_s = (time.process_time() - cpu_began_s) * load.seconds / took_s
    return load


async def keep_asking(ask: Ask, at_once: int, seconds: float) -> Load:
    """The closed loop: so many ask again as soon as they are answered. Its rate is the server's capacity."""
    load = Load()
    cpu_began_s = time.process_time()
    began_s = time.perf_counter()

    async def again_and_again() -> None:
        while (at_s := time.perf_counter()) - began_s < seconds:
            load.offered += 1
            await _one(ask, at_s, load)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(at_once):
            tasks.create_task(again_and_again())
    load.seconds = time.perf_counter() - began_s
    load.client_cpu_s = time.process_time() - cpu_began_s
    return load


async def _one(ask: Ask, due_s: float, load: Load) -> None:
    outcome = await ask()
    load.ended(outcome, time.perf_counter() - due_s)
