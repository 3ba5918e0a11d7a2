"""The bridge: the loop turns the engine once for all that arrived; each answer ends in its own future."""

from __future__ import annotations

import asyncio
import time

import pytest

from service.bridge import EngineSuggester
from service.engine.engine import Engine, EngineConfig
from service.engine.fake_model import FakeModel
from service.engine.launching import RunBeside, Runner
from service.engine.requests import (
    Advance,
    Complete,
    CompleteSpec,
    FinishReason,
    ModelIdentity,
    SamplingSpec,
    Stop,
    SuggestSpec,
)
from service.errors import Overloaded, Unavailable


class Bench:
    """An engine behind a bridge: the loop turns it."""

    def __init__(self, config: EngineConfig | None = None, runner: Runner | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.model = FakeModel()
        self.engine = Engine(self.model, config or EngineConfig(), clock=time.monotonic, runner=runner)
        self.suggester = EngineSuggester(self.engine, ModelIdentity("fake", "0" * 64, "n"), loop)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_all_that_arrives_in_a_turn_of_the_loop_is_one_batch(bench: Bench) -> None:
    paths = [bench.suggester.open_path("scope") for _ in range(20)]
    answers = [bench.suggester.advance(Advance(path, bytes((97 + row,)))) for row, path in enumerate(paths)]
    assert bench.suggester.waiting == 20
    assert all(result.finish is None for result in await asyncio.gather(*answers))
    assert bench.suggester.waiting == 0
    assert [rows for _, rows in bench.model.calls][1:] == [20]  # the first is the start token's


async def test_cancelling_an_answer_cancels_its_suggestions_and_not_the_movement(bench: Bench) -> None:
    path = bench.suggester.open_path("scope")
    abandoned = bench.suggester.advance(Advance(path, b"abc", suggest=SuggestSpec()))
    abandoned.cancel()
    await asyncio.sleep(0)  # callbacks of a future run in the loop's next turn
    moved = bench.suggester.advance(Advance(path, b"abcd", kept=3, suggest=SuggestSpec(count=1)))
    fresh = bench.suggester.advance(Advance(bench.suggester.open_path("other"), b"abcd", suggest=SuggestSpec(count=1)))
    assert (await moved).continuations == (await fresh).continuations


async def test_an_overtaken_answer_says_so(bench: Bench) -> None:
    path = bench.suggester.open_path("scope")
    older = bench.suggester.advance(Advance(path, b"a", suggest=SuggestSpec()))
    bench.suggester.advance(Advance(path, b"ab", kept=1))
    assert (await older).finish is FinishReason.SUPERSEDED


async def test_a_closed_engine_refuses_and_is_idle_once_everybody_is_answered(bench: Bench) -> None:
    path = bench.suggester.open_path("scope")
    answer = bench.suggester.advance(Advance(path, b"abc"))
    bench.engine.close()
    with pytest.raises(Unavailable):
        bench.suggester.advance(Advance(path, b"abcd", kept=3))
    await asyncio.wait_for(bench.suggester.idle(), 10)
    assert answer.done()
    await asyncio.wait_for(bench.suggester.idle(), 10)  # it stays so


async def test_batches_that_run_beside_the_loop_wake_it_when_they_are_through() -> None:
    runner = RunBeside()
    bench = Bench(runner=runner)
    spec = SuggestSpec(1, 12, Stop.NONE)
    paths = [bench.suggester.open_path(f"{row}") for row in range(64)]
    answers = [
        bench.suggester.advance(Advance(path, bytes((32 + row,)), suggest=spec)) for row, path in enumerate(paths)
    ]
    results = await asyncio.wait_for(asyncio.gather(*answers), 10)
    runner.close()
    assert all(result.continuations or result.finish is FinishReason.END for result in results)


LONG = CompleteSpec(4096, sampling=SamplingSpec(logit_bias=((0xFF, -100.0),)))  # never ends by itself


async def test_pieces_of_several_completions_come_as_they_are_said_and_iterating_ends_with_the_last(
    bench: Bench,
) -> None:
    path = bench.suggester.open_path("scope")
    stream = bench.suggester.complete([Complete(path, b"ab", spec=CompleteSpec(20)) for _ in range(3)])
    assert bench.suggester.waiting == 3
    pieces = [piece async for piece in stream]
    texts = [b"".join(piece.text for index, piece in pieces if index == which) for which in range(3)]
    assert texts[0] and texts == [texts[0]] * 3
    assert [index for index, piece in pieces if piece.finish] == [0, 1, 2]
    assert bench.suggester.waiting == 0


async def test_a_cancelled_stream_stops_the_work_and_says_nothing_more(bench: Bench) -> None:
    path = bench.suggester.open_path("scope")
    stream = bench.suggester.complete([Complete(path, b"ab", spec=LONG)])
    assert await anext(stream)
    stream.cancel()
    calls = len(bench.model.calls)
    await asyncio.wait_for(bench.suggester.idle(), 10)
    assert len(bench.model.calls) == calls
    assert bench.suggester.waiting == 0


async def test_an_engine_without_room_for_all_completions_runs_none_of_them() -> None:
    bench = Bench(EngineConfig(max_waiting=2))
    path = bench.suggester.open_path("scope")
    with pytest.raises(Overloaded):
        bench.suggester.complete([Complete(path, b"ab", spec=LONG)] * 3)
    await asyncio.wait_for(bench.suggester.idle(), 10)
    assert len(bench.model.calls) == 1  # the start token's
    assert bench.suggester.waiting == 0


def _broken() -> None:
    raise KeyError("a bug")


async def test_a_bug_in_a_turn_ends_the_requests_under_way_and_neither_the_loop_nor_the_engine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = bench.suggester.open_path("scope")
    failing = bench.suggester.advance(Advance(path, b"abc", suggest=SuggestSpec()))
    with monkeypatch.context() as broken:
        broken.setattr(bench.engine, "tick", _broken)
        with pytest.raises(Unavailable):
            await asyncio.wait_for(failing, 10)
    assert "the engine failed" in caplog.text
    assert (await asyncio.wait_for(bench.suggester.advance(Advance(path, b"abcd", kept=3)), 10)).finish is None
