"""The bridge: many answers, one wake-up of the event loop per tick; each ends in its own future."""

from __future__ import annotations

import asyncio
import time

import pytest

from service.bridge import EngineSuggester, LoopDelivery
from service.engine.engine import Delivery, Engine, EngineConfig
from service.engine.fake_model import FakeModel
from service.engine.requests import (
    Advance,
    Complete,
    CompleteSpec,
    FinishReason,
    ModelIdentity,
    SamplingSpec,
    SuggestSpec,
)
from service.errors import Overloaded, Unavailable


class CountingDelivery(LoopDelivery):
    """Counts how often the loop was woken, and for how many answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.wake_ups: list[int] = []

    def __call__(self, delivery: Delivery) -> None:
        self.wake_ups.append(len(delivery))
        super().__call__(delivery)


class Bench:
    """An engine that the test ticks by hand, behind a bridge."""

    def __init__(self, config: EngineConfig | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.delivery = CountingDelivery(loop)
        self.model = FakeModel()
        self.engine = Engine(self.model, config or EngineConfig(), deliver=self.delivery, clock=time.monotonic)
        self.suggester = EngineSuggester(self.engine, ModelIdentity("fake", "0" * 64, "n"), loop)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_the_answers_of_one_tick_cross_together(bench: Bench) -> None:
    paths = [bench.suggester.open_path("scope") for _ in range(20)]
    answers = [bench.suggester.advance(Advance(path, b"x")) for path in paths]
    assert bench.suggester.waiting == 20
    while not bench.delivery.wake_ups:
        bench.engine.tick()
    assert bench.delivery.wake_ups == [20]
    assert all(result.finish is None for result in await asyncio.gather(*answers))
    assert bench.suggester.waiting == 0


async def test_cancelling_an_answer_cancels_its_suggestions_and_not_the_movement(bench: Bench) -> None:
    path = bench.suggester.open_path("scope")
    abandoned = bench.suggester.advance(Advance(path, b"abc", suggest=SuggestSpec()))
    abandoned.cancel()
    await asyncio.sleep(0)  # callbacks of a future run in the loop's next turn
    moved = bench.suggester.advance(Advance(path, b"abcd", kept=3, suggest=SuggestSpec(count=1)))
    while len(bench.delivery.wake_ups) < 2:
        bench.engine.tick()
    fresh = bench.suggester.advance(Advance(bench.suggester.open_path("other"), b"abcd", suggest=SuggestSpec(count=1)))
    while len(bench.delivery.wake_ups) < 3:
        bench.engine.tick()
    assert (await moved).continuations == (await fresh).continuations


async def test_an_overtaken_answer_says_so(bench: Bench) -> None:
    path = bench.suggester.open_path("scope")
    older = bench.suggester.advance(Advance(path, b"a", suggest=SuggestSpec()))
    newer = bench.suggester.advance(Advance(path, b"ab", kept=1))
    while not (older.done() and newer.done()):
        bench.engine.tick()
        await asyncio.sleep(0)
    assert (await older).finish is FinishReason.SUPERSEDED


async def test_an_engine_that_stops_refuses_and_loses_no_answer() -> None:
    bench = Bench()
    bench.engine.start()
    path = bench.suggester.open_path("scope")
    answer = bench.suggester.advance(Advance(path, b"abc"))
    await asyncio.to_thread(bench.engine.stop)
    await answer
    with pytest.raises(Unavailable):
        bench.suggester.advance(Advance(path, b"abcd", kept=3))


LONG = CompleteSpec(4096, sampling=SamplingSpec(logit_bias=((0xFF, -100.0),)))  # never ends by itself


async def test_pieces_of_several_completions_come_as_they_are_said_and_iterating_ends_with_the_last(
    bench: Bench,
) -> None:
    path = bench.suggester.open_path("scope")
    stream = bench.suggester.complete([Complete(path, b"ab", spec=CompleteSpec(20)) for _ in range(3)])
    assert bench.suggester.waiting == 3
    for _ in range(40):
        bench.engine.tick()
    pieces = [piece async for piece in stream]
    texts = [b"".join(piece.text for index, piece in pieces if index == which) for which in range(3)]
    assert texts[0] and texts == [texts[0]] * 3
    assert [index for index, piece in pieces if piece.finish] == [0, 1, 2]
    assert bench.suggester.waiting == 0


async def test_a_cancelled_stream_stops_the_work_and_says_nothing_more(bench: Bench) -> None:
    path = bench.suggester.open_path("scope")
    stream = bench.suggester.complete([Complete(path, b"ab", spec=LONG)])
    for _ in range(10):
        bench.engine.tick()
    assert await anext(stream)
    stream.cancel()
    calls = len(bench.model.calls)
    bench.engine.tick()
    await asyncio.sleep(0)
    assert len(bench.model.calls) == calls
    assert bench.suggester.waiting == 0


async def test_an_engine_without_room_for_all_completions_runs_none_of_them() -> None:
    bench = Bench(EngineConfig(max_waiting=2))
    path = bench.suggester.open_path("scope")
    with pytest.raises(Overloaded):
        bench.suggester.complete([Complete(path, b"ab", spec=LONG)] * 3)
    bench.engine.tick()
    await asyncio.sleep(0)
    assert len(bench.model.calls) == 1  # the start token's
    assert bench.suggester.waiting == 0
