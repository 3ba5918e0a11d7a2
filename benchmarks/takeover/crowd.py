"""Many sessions that arrive at a server at once, none of which it has seen, beside one typist who is at work there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.report import BenchmarkError
from carousel_client import AsyncClient, AsyncSession, FinishReason, Insert, SuggestOptions

ASK = SuggestOptions(1, 16)
_TIMEOUT_S = 300.0
_SHED_AGAIN_S = 0.05  # after which somebody asks again whose suggestions were shed
_KEY_EVERY_S = 0.1


@dataclass(slots=True)
class Arrivals:
    """Seconds from the arrival to the first suggestion of each session, and of the typist's keystrokes meanwhile."""

    first_s: list[float] = field(default_factory=list)
    keystroke_s: list[float] = field(default_factory=list)
    shed: int = 0  # keystrokes of the typist that got no suggestions for want of room


async def arrive(target: str, sessions: Sequence[str], typed: str) -> Arrivals:
    """Attach to all of them at once and type a letter in each. Raises BenchmarkError and CarouselErrors."""
    found = Arrivals()
    async with (
        AsyncClient(target, timeout_s=_TIMEOUT_S) as typist,
        AsyncClient(target, timeout_s=_TIMEOUT_S) as crowd,
        typist.session(typed) as at_work,
    ):
        await first_suggestion(at_work)
        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            arriving = [tasks.create_task(_arrive(crowd, name)) for name in sessions]
            typing = tasks.create_task(_type(at_work, found))
            await asyncio.wait(arriving)
            typing.cancel()
        found.first_s = [task.result() - began_s for task in arriving]
    if not found.keystroke_s:
        raise BenchmarkError("the crowd was through before a key was pressed: give --crowd or --crowd-bytes more")
    return found


async def first_suggestion(session: AsyncSession) -> int:
    """Type a letter, and ask until suggestions are not shed; how often they were."""
    answer = await session.edit([Insert("x")], suggest=ASK)
    shed = 0
    while answer.finish_reason is FinishReason.SHED:
        shed += 1
        await asyncio.sleep(_SHED_AGAIN_S)
        answer = await session.edit([], suggest=ASK)
    return shed


async def _arrive(crowd: AsyncClient, name: str) -> float:
    await first_suggestion(await crowd.attach(name))
    return time.perf_counter()


async def _type(session: AsyncSession, found: Arrivals) -> None:
    while True:
        began_s = time.perf_counter()
        answer = await session.edit([Insert("y")], suggest=ASK)
        found.keystroke_s.append(time.perf_counter() - began_s)
        found.shed += answer.finish_reason is FinishReason.SHED
        await asyncio.sleep(_KEY_EVERY_S)
