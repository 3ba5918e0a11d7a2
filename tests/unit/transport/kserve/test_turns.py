"""Requests of one sequence are done one after the other, those of two sequences beside each other."""

from __future__ import annotations

import asyncio

import pytest

from service.transport.kserve.turns import Turns


async def test_who_came_first_goes_first_and_nobody_else_s_sequence_waits() -> None:
    turns, done, free = Turns(), list[str](), asyncio.Event()

    async def work(sequence: str, name: str, until: asyncio.Event | None = None) -> None:
        async with turns.turn(sequence):
            if until is not None:
                await until.wait()
            done.append(name)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work("a", "a1", free))
        for number in range(2, 5):
            tasks.create_task(work("a", f"a{number}"))
        other = tasks.create_task(work("b", "b1"))
        await other
        assert done == ["b1"]
        free.set()
    assert done == ["b1", "a1", "a2", "a3", "a4"]
    assert len(turns) == 0


async def test_who_leaves_the_line_is_passed_over_and_nothing_is_kept_of_it() -> None:
    turns, free = Turns(), asyncio.Event()

    async def work(until: asyncio.Event) -> None:
        async with turns.turn("a"):
            await until.wait()

    first, second = asyncio.create_task(work(free)), asyncio.create_task(work(asyncio.Event()))
    third = asyncio.create_task(work(free))
    await asyncio.sleep(0)
    second.cancel()
    free.set()
    await asyncio.gather(first, third)
    with pytest.raises(asyncio.CancelledError):
        await second
    assert len(turns) == 0
