"""The engine, its loop turned by hand: every answer is what a lone request on an empty engine would get."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.engine.engine import Engine, EngineConfig
from service.engine.fake_model import FakeModel
from service.engine.launching import Ran, RunBeside, Runner
from service.engine.observer import EngineObserver, Unobserved
from service.engine.ports import States, StepResult
from service.engine.requests import Advance, AdvanceResult, FinishReason, PathId, Stop, SuggestSpec
from service.engine.retention import Retention
from service.engine.scheduler import BatchLimits
from service.engine.state_tree import StateTree, TreeConfig
from service.errors import CarouselError, Overloaded, Unavailable

SPEC = SuggestSpec(count=3, max_bytes=6, stop=Stop.NONE)


@dataclass
class Bench:
    """An engine whose ticks are turned by hand, and everything it has answered."""

    model: FakeModel
    config: EngineConfig = field(default_factory=EngineConfig)
    now_s: float = 0.0
    answers: dict[int, AdvanceResult | CarouselError] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    observer: EngineObserver = field(default_factory=Unobserved)
    runner: Runner | None = None

    def __post_init__(self) -> None:
        self.engine = Engine(
            self.model,
            self.config,
            clock=lambda: self.now_s,
            observer=self.observer,
            runner=self.runner,
        )
        self.numbers = 0

    def ask(self, request: Advance) -> int:
        """Submit; returns the number under which the answer will be found."""
        self.numbers += 1
        number = self.numbers
        self.tickets = self.engine.submit(request, self.answering(number))
        return number

    def answering(self, number: int) -> Callable[[AdvanceResult | CarouselError], None]:
        def answer(result: AdvanceResult | CarouselError) -> None:
            assert number not in self.answers, "every request ends in exactly one way"
            self.answers[number] = result
            self.order.append(number)

        return answer

    def run(self, ticks: int = 2000) -> None:
        """Turn the loop until everything is answered; waits for batches that run beside."""
        batch_ran = threading.Event()
        self.engine.on_run = batch_ran.set
        for _ in range(ticks):
            self.engine.tick()
            if len(self.answers) == self.numbers:
                return
            if isinstance(self.runner, LateRunner):
                self.runner.run()
            elif not self.engine.wants_tick:
                assert batch_ran.wait(10), "whoever waits, waits for a batch"
            batch_ran.clear()
        raise AssertionError(f"{self.numbers - len(self.answers)} requests were never answered")

    def result(self, number: int) -> AdvanceResult:
        answer = self.answers[number]
        assert isinstance(answer, AdvanceResult), answer
        return answer


class LateRunner:
    """Runs a batch when it is told to, as late as a thread could, and says that it took a second."""

    def __init__(self) -> None:
        self.started: list[tuple[Callable[[], Ran], Future[Ran]]] = []

    def start(self, work: Callable[[], Ran]) -> Future[Ran]:
        self.started.append((work, Future()))
        return self.started[-1][1]

    def run(self) -> None:
        started, self.started = self.started, []
        for work, future in started:
            future.set_result(work()._replace(seconds=1.0))

    def close(self) -> None:
        pass


def budget(rows: int) -> TreeConfig:
    model = FakeModel()
    return TreeConfig(rows * StateTree(model.shapes, model.top_k, TreeConfig()).row_bytes, Retention(4, 16, 4))


def alone(text: bytes, spec: SuggestSpec) -> AdvanceResult:
    """What a request gets on an engine that has never seen another."""
    bench = Bench(FakeModel())
    number = bench.ask(Advance(bench.engine.open_path("alone"), text, suggest=spec))
    bench.run()
    return bench.result(number)


texts = st.binary(max_size=12).map(lambda b: bytes(97 + x % 3 for x in b))
specs = st.builds(SuggestSpec, count=st.integers(1, 4), max_bytes=st.integers(1, 8), stop=st.sampled_from(list(Stop)))


@given(
    moves=st.lists(st.tuples(st.integers(0, 3), texts, specs), min_size=1, max_size=12),
    rows=st.sampled_from([64, 100_000]),
    limits=st.builds(
        BatchLimits, st.integers(1, 5), st.integers(1, 7), st.integers(1, 3), st.integers(1, 9), st.integers(1, 40)
    ),
    beside=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_suggestions_depend_on_the_text_alone(
    moves: list[tuple[int, bytes, SuggestSpec]], rows: int, limits: BatchLimits, beside: bool
) -> None:
    """Whatever came before, whoever shares the batch, however small the budget and the batch, wherever it runs."""
    runner = LateRunner() if beside else None
    bench = Bench(FakeModel(), EngineConfig(budget(rows), limits), runner=runner)
    paths = [bench.engine.open_path(scope) for scope in ("a", "a", "b", "b")]
    before = [b""] * 4
    asked = []
    for which, text, spec in moves:
        kept = next((i for i, (x, y) in enumerate(zip(before[which], text, strict=False)) if x != y), None)
        shared = min(len(before[which]), len(text)) if kept is None else kept
        asked.append((bench.ask(Advance(paths[which], text, shared, spec)), text, spec))
        before[which] = text
        bench.engine.tick()
    bench.run()
    for number, text, spec in asked:
        result = bench.result(number)
        if result.finish is not FinishReason.SUPERSEDED:
            assert result.continuations == alone(text, spec).continuations
    assert bench.result(asked[-1][0]).finish is not FinishReason.SUPERSEDED


@given(texts, specs)
@settings(max_examples=60, deadline=None)
def test_suggestions_are_distinct_valid_and_have_the_probability_of_their_text(text: bytes, spec: SuggestSpec) -> None:
    continuations = alone(text, spec).continuations
    assert len(continuations) <= spec.count
    assert list(continuations) == sorted(continuations, key=lambda c: -c.log_probability)
    for one in continuations:
        one.text.decode("utf-8")
        assert 1 <= len(one.text) <= spec.max_bytes
        assert math.isclose(one.log_probability, log_probability_of(text, one.text), abs_tol=1e-4)
        for other in continuations:
            assert one is other or not one.text.startswith(other.text)


def log_probability_of(text: bytes, continuation: bytes) -> float:
    model = FakeModel()
    states: States = [np.full((1, s.width), s.initial, s.dtype) for s in model.shapes]
    total, probabilities = 0.0, np.zeros((1, 256), np.float32)
    for index, token in enumerate([model.start_token, *text, *continuation]):
        if index > len(text):
            total += float(probabilities[0, token])
        result = model.step(np.array([[token]]), states, all_probabilities=True)
        assert result.log_probabilities is not None
        states, probabilities = result.states, result.log_probabilities
    return total


def test_greedy_takes_the_likeliest_byte_every_time() -> None:
    (one,) = alone(b"abc", SuggestSpec(1, 5, Stop.NONE)).continuations
    model = FakeModel()
    states: States = [np.full((1, s.width), s.initial, s.dtype) for s in model.shapes]
    text = b""
    for token in [model.start_token, *b"abc"]:
        result = model.step(np.array([[token]]), states)
        states = result.states
    for _ in range(len(one.text)):
        token = next(t for t in result.top_tokens[0].tolist() if t < 0x80 or text)
        text += bytes((token,))
        result = model.step(np.array([[token]]), result.states)
    assert one.text == text[: len(one.text)]


def test_typing_what_was_suggested_costs_no_step() -> None:
    bench = Bench(FakeModel())
    path = bench.engine.open_path("a")
    first = bench.ask(Advance(path, b"ab", suggest=SuggestSpec(1, 6, Stop.NONE)))
    bench.run()
    suggestion = bench.result(first).continuations[0].text
    before = bench.model.steps
    for end in range(1, len(suggestion)):
        bench.ask(Advance(path, b"ab" + suggestion[:end], kept=2 + end - 1))
        bench.run()
    assert bench.model.steps == before


def test_going_back_costs_no_step_while_the_states_are_held() -> None:
    bench = Bench(FakeModel())
    path = bench.engine.open_path("a")
    text = b"abcabcabcabc"
    for end in range(1, len(text) + 1):
        bench.ask(Advance(path, text[:end], kept=end - 1))
        bench.run()
    before = bench.model.steps
    for end in (11, 10, 3, 7, 12):
        bench.ask(Advance(path, text[:end], kept=min(end, 3)))
        bench.run()
    assert bench.model.steps == before


def test_sessions_of_a_tenant_share_a_prefix_and_those_of_another_tenant_do_not() -> None:
    bench = Bench(FakeModel())
    bench.ask(Advance(bench.engine.open_path("a"), b"abcdefgh"))
    bench.run()
    before = bench.model.steps
    bench.ask(Advance(bench.engine.open_path("a"), b"abcdefgh"))
    bench.run()
    assert bench.model.steps == before
    bench.ask(Advance(bench.engine.open_path("b"), b"abcdefgh"))
    bench.run()
    assert bench.model.steps == before + 8


def test_a_newer_edit_stops_the_older_suggestions_within_a_tick() -> None:
    bench = Bench(FakeModel())
    path = bench.engine.open_path("a")
    old = bench.ask(Advance(path, b"ab", suggest=SuggestSpec(1, 500, Stop.NONE)))
    bench.engine.tick()
    bench.engine.tick()
    bench.ask(Advance(path, b"abc", kept=2))
    before = bench.model.steps
    bench.engine.tick()
    assert bench.result(old).finish is FinishReason.SUPERSEDED
    assert bench.model.steps <= before + 1  # only the newer edit's own byte
    bench.engine.tick()
    assert bench.model.steps <= before + 1


def test_a_passed_deadline_and_a_cancel_stop_the_work_and_the_path_still_arrives() -> None:
    bench = Bench(FakeModel(), EngineConfig(batch=BatchLimits(64, 2, 4)))
    path = bench.engine.open_path("a")
    late = bench.ask(Advance(path, b"abcabc", suggest=SPEC, deadline_s=1.0))
    bench.engine.tick()
    bench.now_s = 2.0
    bench.engine.tick()
    assert bench.result(late).finish is FinishReason.DEADLINE
    for _ in range(5):
        bench.engine.tick()
    before = bench.model.steps
    bench.ask(Advance(path, b"abcabc", kept=6))
    bench.run()
    assert bench.model.steps == before

    bench.ask(Advance(path, b"abcabcz", kept=6, suggest=SuggestSpec(1, 500, Stop.NONE)))
    bench.engine.tick()
    bench.engine.tick()
    bench.engine.cancel(bench.tickets)
    bench.engine.tick()
    before = bench.model.steps
    bench.engine.tick()
    assert bench.model.steps == before


def test_a_closed_path_ends_its_work_and_a_later_request_for_it_is_answered() -> None:
    bench = Bench(FakeModel())
    path = bench.engine.open_path("a")
    bench.ask(Advance(path, b"ab", suggest=SuggestSpec(1, 500, Stop.NONE)))
    bench.engine.tick()
    bench.engine.close_path(path)
    bench.run()
    late = bench.ask(Advance(path, b"abc"))
    bench.run()
    assert bench.result(late).finish is FinishReason.SUPERSEDED


def test_a_paste_delays_a_neighbours_keystroke_by_at_most_one_chunk() -> None:
    bench = Bench(FakeModel(), EngineConfig(batch=BatchLimits(64, 32, 4)))
    paste, typed = bench.engine.open_path("a"), bench.engine.open_path("b")
    bench.ask(Advance(paste, b"x" * 65536))
    bench.engine.tick()
    number = bench.ask(Advance(typed, b"a"))
    calls = len(bench.model.calls)
    bench.engine.tick()
    assert number in bench.answers
    assert sum(time * rows for time, rows in bench.model.calls[calls:]) <= 32 + 1
    assert max(time for time, _ in bench.model.calls) == 32


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_no_tenant_starves_behind_a_greedy_one(others: Sequence[int], rows: int) -> None:
    """A greedy tenant's many long requests; every other tenant's single byte is served within a few ticks."""
    bench = Bench(FakeModel(), EngineConfig(batch=BatchLimits(rows, 4, 1)))
    for _ in range(40):
        bench.ask(Advance(bench.engine.open_path("greedy"), b"a", suggest=SuggestSpec(4, 200, Stop.NONE)))
    for _ in range(10):
        bench.engine.tick()
    for tenant in others:
        number = bench.ask(Advance(bench.engine.open_path(f"t{tenant}"), b"b", suggest=SuggestSpec(1, 1, Stop.NONE)))
        for _ in range(6):
            bench.engine.tick()
        assert number in bench.answers


def test_a_full_engine_refuses_with_a_retry_delay_and_loses_nothing() -> None:
    bench = Bench(FakeModel(), EngineConfig(max_waiting=2))
    path = [bench.engine.open_path("a") for _ in range(3)]
    bench.ask(Advance(path[0], b"a"))
    bench.ask(Advance(path[1], b"b"))
    with pytest.raises(Overloaded) as refusal:
        bench.engine.submit(Advance(path[2], b"c"), lambda result: None)
    assert refusal.value.retry_after_s > 0
    bench.run()
    bench.ask(Advance(path[2], b"c"))
    bench.run()


def test_suggestions_that_would_come_too_late_are_refused_before_any_movement_is() -> None:
    clock = Stopwatch()
    engine = Engine(TimedModel(clock, seconds_per_row=0.01), EngineConfig(), clock=clock)
    paths = [engine.open_path(f"tenant {number}") for number in range(200)]
    ask = SuggestSpec(1, 8, Stop.NONE)
    for crowd in (paths[:1], paths[1:4], paths[4:20]):  # it learns what a request costs: about 0.08 s
        for path in crowd:
            engine.submit(Advance(path, b"a", suggest=ask), lambda result: None)
        for _ in range(20):
            engine.tick()
    began_s = clock.now_s
    taken_s: list[float] = []
    delays_s: list[float] = []
    for path in paths[20:]:
        try:
            engine.submit(Advance(path, b"b", suggest=ask), lambda result: taken_s.append(clock.now_s - began_s))
        except Overloaded as refusal:
            delays_s.append(refusal.retry_after_s)
            engine.submit(Advance(path, b"b"), lambda result: None)  # what was typed is still taken
    for _ in range(40):
        engine.tick()
    assert 4 <= len(taken_s) == len(paths) - 20 - len(delays_s) < 20
    assert max(taken_s) < 0.5 + 0.01 * len(paths)  # the movements of all the others go first
    assert all(0.2 < delay < 1.0 for delay in delays_s)


class Moves(Unobserved):
    """How far texts moved over held states, and over states that they waited for."""

    def __init__(self) -> None:
        self.held = self.computed = 0

    def moved(self, *, held: int, computed: int) -> None:
        self.held += held
        self.computed += computed


def test_bytes_that_were_suggested_move_over_held_states_and_others_are_waited_for() -> None:
    moves = Moves()
    bench = Bench(FakeModel(), observer=moves)
    path = bench.engine.open_path("a")
    first = bench.ask(Advance(path, b"abcdefgh", suggest=SuggestSpec(1, 4, Stop.NONE)))
    bench.run()
    assert (moves.held, moves.computed) == (0, 8)
    suggested = bench.result(first).continuations[0].text
    bench.ask(Advance(path, b"abcdefgh" + suggested + b"zz", kept=8))
    bench.run()
    assert (moves.held, moves.computed) == (len(suggested), 8 + 2)


@dataclass
class Stopwatch:
    """A clock that somebody else moves."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


class TimedModel(FakeModel):
    """Takes time on a stopwatch for every row."""

    def __init__(self, clock: Stopwatch, *, seconds_per_row: float) -> None:
        super().__init__()
        self._clock, self._seconds_per_row = clock, seconds_per_row

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        self._clock.now_s += self._seconds_per_row * tokens.size
        return super().step(tokens, states, all_probabilities=all_probabilities)


class BrokenModel(FakeModel):
    """Refuses every batch that feeds the letter z."""

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        if (tokens == ord("z")).any():
            raise RuntimeError("the runtime refused the batch")
        return super().step(tokens, states, all_probabilities=all_probabilities)


def test_a_model_that_fails_ends_only_the_requests_of_its_batch() -> None:
    bench = Bench(BrokenModel())
    good, bad = bench.engine.open_path("a"), bench.engine.open_path("b")
    bench.ask(Advance(good, b"abc"))
    bench.run()
    broken = bench.ask(Advance(bad, b"z"))
    bench.run()
    assert isinstance(bench.answers[broken], Unavailable)
    fine = bench.ask(Advance(good, b"abcd", kept=3, suggest=SPEC))
    bench.run()
    assert bench.result(fine).continuations == alone(b"abcd", SPEC).continuations


def test_more_sessions_than_states_all_get_right_answers() -> None:
    bench = Bench(FakeModel(), EngineConfig(budget(32), BatchLimits(4, 8, 2)))
    paths = [bench.engine.open_path("a") for _ in range(100)]
    texts_ = [bytes((97 + i % 7, 97 + i // 7)) * 3 for i in range(100)]
    for _ in range(2):
        for path, text in zip(paths, texts_, strict=True):
            number = bench.ask(Advance(path, text, suggest=SPEC))
            bench.run()
            assert bench.result(number).continuations == alone(text, SPEC).continuations


def test_a_closed_engine_takes_nothing_more_and_finishes_what_it_has() -> None:
    bench = Bench(FakeModel())
    asked = bench.ask(Advance(bench.engine.open_path("a"), b"abc", suggest=SPEC))
    bench.engine.close()
    with pytest.raises(Unavailable):
        bench.engine.submit(Advance(PathId(1), b""), lambda result: None)
    bench.run()
    assert bench.result(asked).continuations == alone(b"abc", SPEC).continuations
    assert bench.engine.idle


def test_whoever_is_abandoned_is_told_so_and_a_batch_that_still_runs_harms_nobody() -> None:
    runner = LateRunner()
    bench = Bench(FakeModel(), EngineConfig(batch=BatchLimits(max_way=4)), runner=runner)
    texts = [bytes((32 + row,)) for row in range(64)]
    spec = SuggestSpec(1, 12, Stop.NONE)
    asked = [bench.ask(Advance(bench.engine.open_path(f"{row}"), text, suggest=spec)) for row, text in enumerate(texts)]
    bench.engine.tick()
    assert runner.started and not bench.engine.wants_tick
    bench.engine.abandon()
    assert all(isinstance(bench.answers[number], Unavailable) for number in asked)
    runner.run()
    bench.engine.tick()
    assert bench.engine.idle


def test_batches_that_run_beside_the_engine_give_the_same_and_one_is_kept_while_another_runs() -> None:
    """64 paths with ways long enough for batches of a thread of their own, by turns of the loop."""
    spec = SuggestSpec(1, 12, Stop.NONE)
    runner = RunBeside()
    bench = Bench(FakeModel(), runner=runner)
    texts = [bytes((32 + row,)) for row in range(64)]
    asked = [bench.ask(Advance(bench.engine.open_path(f"{row}"), text, suggest=spec)) for row, text in enumerate(texts)]
    bench.run()
    runner.close()
    assert [bench.result(number).continuations for number in asked] == [
        alone(text, spec).continuations for text in texts
    ]
    assert max(rows for _, rows in bench.model.calls) == 32, "two batches by turns, not one that nothing overlaps"


def test_a_cancelled_request_costs_no_step_after_the_batches_that_run() -> None:
    """A crowd, so that batches are sent off; everybody is cancelled while the first two run."""
    runner = LateRunner()
    bench = Bench(FakeModel(), EngineConfig(batch=BatchLimits(max_way=4)), runner=runner)
    spec = SuggestSpec(1, 48, Stop.NONE)
    paths = [bench.engine.open_path(f"{row}") for row in range(64)]
    for row, path in enumerate(paths):
        bench.ask(Advance(path, bytes((32 + row,))))
    bench.run()
    tickets, numbers = [], []
    for row, path in enumerate(paths):
        numbers.append(bench.ask(Advance(path, bytes((32 + row,)), 1, spec)))
        tickets.append(bench.tickets)
    for _ in range(3):
        bench.engine.tick()
        runner.run()
    bench.engine.tick()
    assert runner.started
    for ticket in tickets:
        bench.engine.cancel(ticket)
    bench.engine.tick()
    ends = [bench.result(number).finish for number in numbers]
    assert ends.count(FinishReason.SUPERSEDED) >= 32  # the model expects some texts to end where they are
    runner.run()
    before = bench.model.steps
    for _ in range(5):
        bench.engine.tick()
        runner.run()
    assert bench.model.steps == before


def keys_after(text: bytes) -> list[int]:
    """The keys that the model expects after a text, likeliest first."""
    model = FakeModel()
    states: States = [np.full((1, shape.width), shape.initial, shape.dtype) for shape in model.shapes]
    result = model.step(np.array([[model.start_token]]), states)
    for token in text:
        result = model.step(np.array([[token]]), result.states)
    return [token for token in result.top_tokens[0].tolist() if token < 0x80]


def test_what_was_looked_at_while_nobody_waited_costs_no_step_when_it_is_typed() -> None:
    spec = SuggestSpec(1, 4, Stop.NONE)
    bench = Bench(FakeModel(), EngineConfig(look_ahead=3))
    path = bench.engine.open_path("a")
    bench.ask(Advance(path, b"hello", suggest=spec))
    bench.run()
    bench.engine.tick()  # nobody waits
    typed = b"hello" + bytes(keys_after(b"hello")[3:4])  # after this one all that is likeliest is ASCII
    asked = bench.ask(Advance(path, typed, kept=5, suggest=spec))
    bench.run()
    assert bench.result(asked).steps == 0
    assert bench.result(asked).continuations == alone(typed, spec).continuations


@pytest.mark.parametrize(("rows", "looks"), [(16, False), (1000, True)])
def test_nothing_is_dropped_for_a_look_ahead(rows: int, looks: bool) -> None:
    bench = Bench(FakeModel(), EngineConfig(budget(rows), look_ahead=3))
    bench.ask(Advance(bench.engine.open_path("a"), b"abcdefgh", suggest=SuggestSpec(1, 4, Stop.NONE)))
    bench.run()
    before = bench.model.steps
    for _ in range(3):
        bench.engine.tick()
    assert (bench.model.steps > before) is looks
