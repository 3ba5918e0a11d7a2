"""Versions of a model beside each other: who is served by which, when they go over, and what is left of the old one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.engine import Engine, EngineConfig
from service.engine.fake_model import FakeModel
from service.engine.requests import (
    Advance,
    AdvanceResult,
    Complete,
    CompleteSpec,
    FinishReason,
    ModelIdentity,
    PathId,
    Score,
    SuggestSpec,
)
from service.engine.state_tree import TreeConfig
from service.errors import Unavailable
from service.versions import ModelVersions, Version, first_number

IDLE_S, WITHIN_S = 30.0, 600.0
WANTED = SuggestSpec(count=2, max_bytes=8)
SMALL = EngineConfig(TreeConfig(budget_bytes=1 << 20))


@dataclass
class Clock:
    """A clock that a test turns."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


def model_of(number: int) -> FakeModel:
    """Another model for every number: its texts begin with another token, and all that follows depends on that."""
    model = FakeModel()
    model.start_token = 0xFF - number
    return model


@dataclass
class Bench:
    """A model whose versions come and go; the loop turns their engines."""

    clock: Clock = field(default_factory=Clock)
    made: int = 0

    def __post_init__(self) -> None:
        self.versions = ModelVersions(self.version(0), idle_s=IDLE_S, within_s=WITHIN_S, clock=self.clock)

    def version(self, number: int) -> Version:
        engine = Engine(model_of(number), SMALL, clock=time.monotonic, first_number=first_number(self.made))
        self.made += 1
        identity = ModelIdentity("fake", f"{number:x}" * 64, f"numerics {number}")
        return Version(engine, identity, asyncio.get_running_loop())

    async def fresh(self, number: int, text: bytes) -> AdvanceResult:
        """What a session that begins with this version is suggested."""
        version = self.version(number)
        return await version.advance(Advance(version.open_movable("fresh"), text, suggest=WANTED))


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def move(bench: Bench, path: PathId, text: bytes, kept: int = 0) -> AdvanceResult:
    return await bench.versions.advance(Advance(path, text, kept, WANTED))


async def test_what_is_new_goes_to_the_newest_and_who_types_stays(bench: Bench) -> None:
    typing = bench.versions.open_path("tenant")
    await move(bench, typing, b"import o")
    bench.versions.succeed(bench.version(1))
    begun = bench.versions.open_path("tenant")
    assert (await move(bench, begun, b"import os")).continuations == (await bench.fresh(1, b"import os")).continuations
    stayed, fresh = await move(bench, typing, b"import os", kept=8), await bench.fresh(0, b"import os")
    assert stayed.continuations == fresh.continuations
    assert stayed.steps < fresh.steps, "its states were there"
    assert [bench.versions.serving(path).identity.digest[0] for path in (typing, begun)] == ["0", "1"]


async def test_who_was_idle_goes_over_with_the_next_request_whatever_it_says_of_kept(bench: Bench) -> None:
    path = bench.versions.open_path("tenant")
    await move(bench, path, b"import os")
    bench.versions.succeed(bench.version(1))
    bench.clock.now_s += IDLE_S - 1
    assert bench.versions.serving(path).identity.digest[0] == "0"
    bench.clock.now_s += IDLE_S
    found = await move(bench, path, b"import os.path", kept=9)
    assert found.continuations == (await bench.fresh(1, b"import os.path")).continuations
    assert bench.versions.serving(path).identity.digest[0] == "1"
    assert [version.identity.digest[0] for version in bench.versions.take_empty()] == ["0"]


async def test_who_types_on_is_moved_when_the_time_for_all_is_over(bench: Bench) -> None:
    path = bench.versions.open_path("tenant")
    await move(bench, path, b"a")
    bench.versions.succeed(bench.version(1))
    for _ in range(int(WITHIN_S / 10) - 1):
        bench.clock.now_s += 10
        assert bench.versions.serving(path).identity.digest[0] == "0"
    bench.clock.now_s += 10
    assert (await move(bench, path, b"ab", kept=1)).continuations == (await bench.fresh(1, b"ab")).continuations


async def test_a_sweep_moves_those_who_are_idle_and_not_working_some_at_a_time(bench: Bench) -> None:
    idle = [bench.versions.open_path("tenant") for _ in range(300)]
    working = bench.versions.open_path("tenant")
    answer = bench.versions.advance(Advance(working, b"abc", suggest=WANTED))
    bench.versions.succeed(bench.version(1))
    assert not bench.versions.sweep()
    bench.clock.now_s += IDLE_S
    assert bench.versions.sweep(), "there are more than go at once"
    assert not bench.versions.sweep()
    assert {bench.versions.serving(path).identity.digest[0] for path in idle} == {"1"}
    assert bench.versions.take_empty() == []
    assert (await answer).continuations == (await bench.fresh(0, b"abc")).continuations
    assert not bench.versions.sweep()
    assert [version.identity.digest[0] for version in bench.versions.take_empty()] == ["0"]


async def test_what_never_ends_is_cut_off_in_the_end(bench: Bench) -> None:
    path = bench.versions.open_path("tenant")
    await move(bench, path, b"a")
    pieces = bench.versions.complete([Complete(path, b"a", 1, CompleteSpec(max_bytes=4096))])
    await anext(pieces)
    bench.versions.succeed(bench.version(1))
    bench.clock.now_s += WITHIN_S + 59
    bench.versions.sweep()
    assert bench.versions.take_empty() == []
    bench.clock.now_s += 1
    bench.versions.sweep()
    assert len(bench.versions.take_empty()) == 1
    finishes = [piece.finish async for _, piece in pieces]
    assert finishes[-1] in (FinishReason.SUPERSEDED, FinishReason.LENGTH, FinishReason.END)


async def test_a_rollback_serves_from_what_is_still_there(bench: Bench) -> None:
    old = bench.versions.newest
    path = bench.versions.open_path("tenant")
    await move(bench, path, b"import os")
    new = bench.version(1)
    bench.versions.succeed(new)
    begun = bench.versions.open_path("tenant")
    bench.versions.succeed(old)
    assert bench.versions.loaded == [old, new]
    assert (await move(bench, path, b"import os.", kept=9)).continuations == (
        await bench.fresh(0, b"import os.")
    ).continuations
    assert bench.versions.serving(begun) is new
    bench.versions.hasten()
    assert bench.versions.serving(begun) is old
    assert bench.versions.take_empty() == [new]


async def test_a_fork_stands_where_its_source_does_and_goes_over_by_itself(bench: Bench) -> None:
    source = bench.versions.open_path("tenant")
    await move(bench, source, b"abc")
    bench.versions.succeed(bench.version(1))
    fork = bench.versions.fork_path(source)
    assert fork != source
    bench.clock.now_s += IDLE_S
    assert (await move(bench, fork, b"abcd", kept=3)).continuations == (await bench.fresh(1, b"abcd")).continuations
    assert bench.versions.take_empty() == []
    bench.versions.close_path(source)
    bench.versions.close_path(fork)
    assert len(bench.versions.take_empty()) == 1


async def test_a_version_is_found_by_its_digest_and_keeps_whoever_wants_it(bench: Bench) -> None:
    old = bench.versions.newest
    bench.versions.succeed(bench.version(1))
    assert bench.versions.pinned("0" * 64) is old
    assert bench.versions.pinned("0" * 8) is old
    assert bench.versions.pinned("0" * 7) is None
    assert bench.versions.pinned("2" * 64) is None
    path = old.open_path("tenant")
    bench.versions.hasten()
    bench.versions.sweep()
    assert old.movable == []
    assert (await old.advance(Advance(path, b"abc", suggest=WANTED))).continuations == (
        await bench.fresh(0, b"abc")
    ).continuations
    assert bench.versions.take_empty() == [old], "it is not kept for those who asked for it by name"
    old.engine.close()
    old.release()
    old.close_path(path)
    with pytest.raises(Unavailable, match="was unloaded"):
        old.open_path("tenant")
    with pytest.raises(Unavailable):
        old.score(Score(path, b"abc"))


async def test_nobody_goes_over_while_something_that_was_asked_is_not_answered(bench: Bench) -> None:
    path = bench.versions.open_path("tenant")
    bench.versions.succeed(bench.version(1))
    completing = bench.versions.complete([Complete(path, b"a", 0, CompleteSpec(max_bytes=64))])
    bench.versions.hasten()
    assert bench.versions.serving(path).identity.digest[0] == "0"
    assert [piece async for _, piece in completing][-1].finish is not FinishReason.SUPERSEDED
    assert bench.versions.serving(path).identity.digest[0] == "1"


Steps = st.lists(
    st.one_of(
        st.tuples(st.just("type"), st.integers(0, 3), st.binary(min_size=0, max_size=3)),
        st.tuples(st.just("erase"), st.integers(0, 3), st.integers(0, 4)),
        st.tuples(st.just("version"), st.integers(0, 2), st.none()),
        st.tuples(st.just("pass"), st.sampled_from([1, 31, 700]), st.none()),
        st.tuples(st.just("sweep"), st.none(), st.none()),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(Steps)
def test_whatever_comes_each_answer_is_one_version_s_bit_for_bit(steps: list[tuple[str, int, object]]) -> None:
    asyncio.run(_check(steps))


async def _check(steps: list[tuple[str, int, object]]) -> None:
    bench = Bench()
    paths = [bench.versions.open_path("tenant") for _ in range(4)]
    texts = [b""] * 4
    for what, number, how in steps:
        match what:
            case "type" | "erase":
                before = texts[number]
                if isinstance(how, bytes):
                    text = before + bytes(byte & 0x7F for byte in how)
                else:
                    text = before[: max(len(before) - int(str(how)), 0)]
                serving = bench.versions.serving(paths[number])
                answer = await move(bench, paths[number], text, kept=min(len(before), len(text)))
                texts[number] = text
                expected = await bench.fresh(int(serving.identity.digest[0]), text)
                assert answer.continuations == expected.continuations
            case "version":
                wanted = bench.versions.pinned(f"{number:x}" * 64)
                if wanted is not bench.versions.newest:
                    bench.versions.succeed(wanted or bench.version(number))
            case "pass":
                bench.clock.now_s += number
            case _:
                bench.versions.sweep()
                for version in bench.versions.take_empty():
                    version.engine.close()
                    await version.idle()
                    version.release()
    assert sum(len(version.movable) for version in bench.versions.loaded) == 4
