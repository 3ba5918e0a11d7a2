"""Long texts are read a few at a time: the others wait their turn, and whoever types meanwhile is answered as ever."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.admission import Admission
from service.engine.engine import Engine, EngineConfig
from service.engine.fake_model import FakeModel
from service.engine.gate import Gate
from service.engine.requests import Advance, AdvanceResult, FinishReason, PathId, SuggestSpec
from service.engine.scheduler import BatchLimits
from service.engine.tasks import PATIENCE_S, Ticket
from service.errors import CarouselError, Overloaded

SPEC = SuggestSpec(count=2, max_bytes=4)
MOST = 3
LONG = 1100


def long_text(number: int) -> bytes:
    return bytes((97 + number % 26, 97 + number // 26)) * (LONG // 2)


class Bench:
    """An engine that is turned by hand, its paths and their texts."""

    def __init__(self, most: int = MOST) -> None:
        config = EngineConfig(batch=BatchLimits(max_chunk=128), max_replays=most)
        self.now_s = 0.0
        self.engine = Engine(FakeModel(), config, clock=lambda: self.now_s)
        self.texts: dict[PathId, bytes] = {}
        self.answers: dict[int, AdvanceResult | CarouselError] = {}
        self.order: list[int] = []
        self.asked = 0
        self.most_reading = 0

    def open(self, scope: str = "scope") -> PathId:
        path = self.engine.open_path(scope)
        self.texts[path] = b""
        return path

    def move(self, path: PathId, text: bytes, deadline_s: float | None = None) -> int:
        number = self.asked = self.asked + 1

        def answer(outcome: AdvanceResult | CarouselError) -> None:
            assert number not in self.answers, "every request ends in exactly one way"
            self.answers[number] = outcome
            self.order.append(number)

        kept = next((at for at, (a, b) in enumerate(zip(text, self.texts[path], strict=False)) if a != b), None)
        shorter = min(len(text), len(self.texts[path]))
        self.engine.submit(Advance(path, text, shorter if kept is None else kept, SPEC, deadline_s), answer)
        self.texts[path] = text
        return number

    def close(self, path: PathId) -> None:
        del self.texts[path]
        self.engine.close_path(path)

    def depth(self, path: PathId) -> int:
        found = self.engine.find_path(path)
        return 0 if found is None or found.at is None else self.engine._tree.depth(found.at)

    def tick(self) -> None:
        self.engine.tick()
        reading = [path for path, text in self.texts.items() if len(text) >= LONG and 0 < self.depth(path) < len(text)]
        self.most_reading = max(self.most_reading, len(reading))

    def run(self) -> None:
        for _ in range(5000):
            if self.engine.idle:
                return
            self.tick()
        raise AssertionError("it has no end")


@cache
def alone(text: bytes) -> AdvanceResult | CarouselError:
    bench = Bench()
    number = bench.move(bench.open(), text)
    bench.run()
    return _plain(bench.answers[number])


def _plain(outcome: AdvanceResult | CarouselError) -> AdvanceResult | CarouselError:
    return outcome._replace(steps=0) if isinstance(outcome, AdvanceResult) else outcome


@pytest.mark.parametrize("most", [1, MOST, 1000])
def test_no_more_than_so_many_long_texts_are_read_at_a_time_and_all_get_what_they_would_alone(most: int) -> None:
    bench, count = Bench(most), 8
    numbers = [bench.move(bench.open(), long_text(index)) for index in range(count)]
    bench.run()
    assert bench.most_reading == min(most, count)
    for index, number in enumerate(numbers):
        assert _plain(bench.answers[number]) == alone(long_text(index))


def test_they_come_to_their_end_in_the_order_in_which_they_came() -> None:
    bench = Bench(most=1)
    numbers = [bench.move(bench.open(), long_text(index)) for index in range(6)]
    bench.run()
    assert bench.order == numbers


def test_who_has_little_to_read_does_not_wait() -> None:
    bench = Bench(most=1)
    warm = bench.open()
    bench.move(warm, b"def f(")
    bench.run()
    for index in range(30):
        bench.move(bench.open(), long_text(index))
    for typed in (b"def f(a", b"def f(ab", b"def f(ab)"):
        number = bench.move(warm, typed)
        for _ in range(6):
            bench.tick()
        assert _plain(bench.answers[number]) == alone(typed)


def test_tenants_take_turns() -> None:
    bench = Bench(most=1)
    many = [bench.move(bench.open("many"), long_text(index)) for index in range(5)]
    few = bench.move(bench.open("few"), long_text(9))
    bench.run()
    assert bench.order == [many[0], many[1], few, *many[2:]]


def test_who_types_on_keeps_the_place_whether_waiting_or_under_way() -> None:
    bench = Bench(most=1)
    paths = [bench.open() for _ in range(4)]
    for index, path in enumerate(paths):
        bench.move(path, long_text(index))
    for _ in range(3):
        bench.tick()
    before = bench.depth(paths[0])
    assert 0 < before < LONG
    last = [bench.move(path, long_text(index) + b"more") for index, path in enumerate(paths)]
    bench.tick()
    assert bench.depth(paths[0]) >= before
    bench.run()
    assert [number for number in bench.order if number in last] == last
    assert bench.most_reading == 1
    superseded = [outcome for number, outcome in bench.answers.items() if number not in last]
    assert {outcome.finish for outcome in superseded if isinstance(outcome, AdvanceResult)} == {FinishReason.SUPERSEDED}


def test_who_has_waited_and_has_little_left_to_read_begins_at_once() -> None:
    bench = Bench(most=1)
    first, second = bench.open(), bench.open()
    bench.move(first, long_text(0))
    bench.move(second, long_text(1))
    short = bench.move(second, long_text(1)[:10])
    for _ in range(6):
        bench.tick()
    assert _plain(bench.answers[short]) == alone(long_text(1)[:10])


def test_a_path_that_is_closed_while_it_waits_or_reads_holds_nobody_up() -> None:
    bench = Bench(most=1)
    paths = [bench.open() for _ in range(4)]
    numbers = [bench.move(path, long_text(index)) for index, path in enumerate(paths)]
    bench.tick()
    bench.close(paths[0])
    bench.close(paths[1])
    bench.run()
    assert bench.order[-2:] == numbers[2:]


def test_whoever_waits_no_longer_than_it_may_is_told_so_and_its_path_goes_on() -> None:
    bench = Bench(most=1)
    first, second = bench.open(), bench.open()
    bench.move(first, long_text(0))
    late = bench.move(second, long_text(1), deadline_s=1.0)
    bench.tick()
    bench.now_s = 2.0
    bench.tick()
    told = bench.answers[late]
    assert isinstance(told, AdvanceResult) and told.finish is FinishReason.DEADLINE
    bench.run()
    assert bench.depth(second) == LONG


def test_whoever_has_waited_for_long_is_told_that_there_are_no_suggestions_and_its_path_keeps_its_place() -> None:
    bench = Bench(most=1)
    paths = [bench.open() for _ in range(3)]
    numbers = [bench.move(path, long_text(index)) for index, path in enumerate(paths)]
    bench.tick()
    bench.now_s = PATIENCE_S + 0.1
    bench.tick()
    assert set(bench.answers) == set(numbers[1:])
    outcomes = [bench.answers[number] for number in numbers[1:]]
    assert [outcome.finish for outcome in outcomes if isinstance(outcome, AdvanceResult)] == [FinishReason.SHED] * 2
    depths = []
    while not bench.engine.idle:
        bench.tick()
        depths.append(tuple(map(bench.depth, paths)))
    assert depths == sorted(depths)
    assert depths[-1] == (LONG, LONG, LONG)
    assert _plain(bench.answers[suggested_again(bench, paths[2])]) == alone(long_text(2))


def suggested_again(bench: Bench, path: PathId) -> int:
    number = bench.move(path, bench.texts[path])
    bench.run()
    return number


def test_who_waits_for_a_turn_does_not_keep_others_out() -> None:
    admission = Admission(max_rows=1, max_wait_s=0.1, max_waiting=100)
    admission.most = 1
    gate = Gate(admission, max_waiting=100, clock=lambda: 0.0)
    cold, warm = Advance(PathId(1), b"", suggest=SPEC), Advance(PathId(2), b"", suggest=SPEC)
    gate.enter(cold)
    with pytest.raises(Overloaded):
        gate.enter(warm)
    gate.step_aside(cold)
    gate.enter(warm)
    gate.leave(warm)
    gate.step_in(cold)
    with pytest.raises(Overloaded):
        gate.enter(warm)
    gate.leave(cold)
    gate.enter(warm)


@settings(max_examples=max(settings.default.max_examples // 5, 10) if settings.default else 20)
@given(st.lists(st.tuples(st.sampled_from(["long", "short", "more", "close", "tick", "cancel"]), st.integers(0, 5))))
def test_whatever_is_asked_meanwhile_everybody_is_answered_once_and_the_bound_holds(
    asked: list[tuple[str, int]],
) -> None:
    bench = Bench(most=2)
    paths: dict[int, PathId] = {}
    for what, who in asked:
        path = paths.setdefault(who, bench.open(f"tenant {who % 2}")) if who not in paths else paths[who]
        match what:
            case "long":
                bench.move(path, long_text(who))
            case "short":
                bench.move(path, b"short")
            case "more":
                bench.move(path, bench.texts[path] + b"x")
            case "close":
                bench.close(paths.pop(who))
            case "cancel":
                bench.engine.cancel(Ticket(who))
            case _:
                bench.tick()
    bench.run()
    assert len(bench.answers) == bench.asked
    assert bench.most_reading <= 2
    for path in paths.values():
        assert bench.depth(path) == len(bench.texts[path])
