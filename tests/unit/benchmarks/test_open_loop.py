"""Load that does not wait for answers."""

from __future__ import annotations

import asyncio

from benchmarks.open_loop import Outcome, keep_asking, offer


async def test_an_open_loop_goes_on_asking_while_nobody_answers() -> None:
    asked, enough = 0, asyncio.Event()

    async def ask() -> Outcome:
        nonlocal asked
        asked += 1
        if asked >= 20:
            enough.set()
        await enough.wait()
        return Outcome.ADMITTED

    load = await offer(ask, rate_per_s=2_000, seconds=0.1)
    assert load.offered == asked == len(load.latencies_s)
    assert asked >= 20, "the first answer came only after the twentieth question"


async def test_a_closed_loop_never_has_more_under_way_than_it_may() -> None:
    under_way = most = 0

    async def ask() -> Outcome:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return Outcome.SHED if most % 2 else Outcome.ADMITTED

    load = await keep_asking(ask, at_once=5, seconds=0.02)
    assert most <= 5
    assert sum(load.outcomes.values()) == load.offered
    assert len(load.latencies_s) == load.outcomes[Outcome.ADMITTED]
