"""Scoring: what a naive loop over one row finds, whoever shares the batch, whatever is held; and all its ends."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.engine import Engine, EngineConfig
from service.engine.fake_model import FakeModel
from service.engine.launching import RunBeside, Runner
from service.engine.ports import States
from service.engine.requests import (
    Advance,
    Complete,
    CompleteSpec,
    PathId,
    Piece,
    SamplingSpec,
    Score,
    Scored,
    Stop,
    SuggestSpec,
)
from service.engine.retention import Retention
from service.engine.scheduler import BatchLimits
from service.engine.state_tree import StateTree, TreeConfig
from service.errors import CarouselError, DeadlineExceeded, Unavailable

LONG = bytes(97 + index % 5 for index in range(2000))


@dataclass
class Bench:
    """An engine whose ticks are turned by hand, and what it has answered."""

    model: FakeModel = field(default_factory=FakeModel)
    config: EngineConfig = field(default_factory=EngineConfig)
    runner: Runner | None = None
    now_s: float = 0.0
    answers: dict[int, list[object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.engine = Engine(self.model, self.config, clock=lambda: self.now_s, runner=self.runner)

    def path(self, scope: str = "a") -> PathId:
        return self.engine.open_path(scope)

    def ask(self, request: Advance | Complete | Score) -> int:
        answers: list[object] = []
        ticket = self.engine.submit(request, answers.append)  # type: ignore[misc]  # whichever it is
        self.answers[ticket] = answers
        return ticket

    def run(self) -> None:
        batch_ran = threading.Event()
        self.engine.on_run = batch_ran.set
        for _ in range(2_000):
            if all(answers and not _goes_on(answers[-1]) for answers in self.answers.values()):
                return
            self.engine.tick()
            if not self.engine.wants_tick and not self.engine.idle:
                assert batch_ran.wait(10), "whoever waits, waits for a batch"
            batch_ran.clear()
        raise AssertionError("a request never ended")

    def scored(self, ticket: int) -> Scored:
        (answer,) = self.answers[ticket]
        assert isinstance(answer, Scored), answer
        return answer


def _goes_on(answer: object) -> bool:
    return isinstance(answer, Piece) and answer.finish is None


def naive(text: bytes, start: int, top: int, top_k: int = 16) -> Scored:
    """One token at a time, one row, no tree: what a score has to be."""
    model = FakeModel(top_k=top_k)
    states: States = [np.full((1, s.width), s.initial, s.dtype) for s in model.shapes]
    lines, tops, top_log_probabilities = [], [], []
    for token in [model.start_token, *text]:
        result = model.step(np.array([[token]]), states, all_probabilities=True)
        assert result.log_probabilities is not None
        states = result.states
        lines.append(result.log_probabilities[0])
        tops.append(result.top_tokens[0, :top])
        top_log_probabilities.append(result.top_log_probabilities[0, :top])
    scored = range(start, len(text))
    top = min(top, top_k)
    return Scored(
        np.array([lines[at][text[at]] for at in scored], np.float32),
        np.array([tops[at] for at in scored], np.int64).reshape(len(scored), top),
        np.array([top_log_probabilities[at] for at in scored], np.float32).reshape(len(scored), top),
        lines[-1],
    )


def assert_same_bits(found: Scored, expected: Scored) -> None:
    for name in ("log_probabilities", "top_tokens", "top_log_probabilities", "distribution"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes(), name


def budget(rows: int) -> TreeConfig:
    model = FakeModel()
    return TreeConfig(rows * StateTree(model.shapes, model.top_k, TreeConfig()).row_bytes, Retention(4, 16, 4))


texts = st.binary(max_size=70).map(lambda b: bytes(x if x < 8 else 97 + x % 2 for x in b))  # some that no head holds
starts = st.integers(0, 70)


@given(
    asked=st.lists(
        st.tuples(st.sampled_from("ab"), texts, starts, st.integers(0, 16), st.booleans()), min_size=1, max_size=5
    ),
    typed=st.lists(texts, max_size=3),
    rows=st.sampled_from([64, 100_000]),
    limits=st.builds(BatchLimits, st.integers(1, 5), st.integers(2, 40), st.integers(1, 3)),
    top_k=st.sampled_from([1, 16]),
    apart=st.integers(0, 3),
)
@settings(max_examples=60)
def test_a_score_is_what_a_naive_loop_finds_whoever_shares_the_batch(
    asked: list[tuple[str, bytes, int, int, bool]],
    typed: list[bytes],
    rows: int,
    limits: BatchLimits,
    top_k: int,
    apart: int,
) -> None:
    """However small the budget, the batch and the head; whatever others type, suggest, complete and score beside it."""
    bench = Bench(FakeModel(top_k=top_k), EngineConfig(budget(rows), limits))
    for text in typed:
        bench.ask(Advance(bench.path(), text, suggest=SuggestSpec(1, 12, Stop.NONE)))
        bench.ask(Complete(bench.path(), text, spec=CompleteSpec(9, sampling=SamplingSpec(temperature=1.0))))
    tickets = []
    for scope, text, start, top, moved in asked:
        path = bench.path(scope)
        if moved:
            bench.ask(Advance(path, text))
        tickets.append(bench.ask(Score(path, text, len(text) if moved else 0, min(start, len(text)), top)))
        for _ in range(apart):
            bench.engine.tick()
    bench.run()
    for ticket, (_, text, start, top, _) in zip(tickets, asked, strict=True):
        assert_same_bits(bench.scored(ticket), naive(text, min(start, len(text)), top, top_k))


def test_a_score_beside_the_engine_is_the_same() -> None:
    bench = Bench(runner=RunBeside())
    tickets = [bench.ask(Score(bench.path(), LONG[: 500 + 40 * index], top=2)) for index in range(4)]
    bench.run()
    for index, ticket in enumerate(tickets):
        assert_same_bits(bench.scored(ticket), naive(LONG[: 500 + 40 * index], 0, 2))


def test_a_text_is_read_a_chunk_a_call_and_each_byte_once() -> None:
    bench = Bench()
    before = bench.model.steps
    ticket = bench.ask(Score(bench.path(), LONG))
    bench.run()
    assert bench.model.steps - before == len(LONG) == bench.scored(ticket).steps


def test_what_was_typed_is_scored_for_one_step_and_a_byte_that_nobody_expected_for_one_more() -> None:
    bench = Bench()
    text = b"abc\x01abc"
    path = bench.path()
    for length in range(len(text)):
        bench.ask(Advance(path, text[: length + 1], length))
        bench.run()
    before = bench.model.steps
    ticket = bench.ask(Score(path, text, len(text)))
    bench.run()
    assert bench.model.steps - before == 2
    assert_same_bits(bench.scored(ticket), naive(text, 0, 0))


def test_a_prompt_that_grows_by_a_likely_byte_costs_one_step() -> None:
    bench = Bench()
    likely = 0
    for length in range(100, 130):
        before = bench.model.steps
        path = bench.path()
        ticket = bench.ask(Score(path, LONG[:length], start=length - 1, top=16))
        bench.run()
        bench.engine.close_path(path)
        scored = bench.scored(ticket)
        assert_same_bits(scored, naive(LONG[:length], length - 1, 16))
        if length > 100:
            in_head = LONG[length - 1] in scored.top_tokens[0]
            likely += in_head
            assert bench.model.steps - before <= (1 if in_head else 3)
    assert likely > 20


def test_candidates_behind_one_context_share_it() -> None:
    bench = Bench()
    for candidate in (b"abc", b"bca", b"cab"):
        before = bench.model.steps
        bench.ask(Score(bench.path(), LONG[:500] + candidate, start=500))
        bench.run()
    assert bench.model.steps - before == 4


def test_only_the_first_chunk_stands_before_a_keystroke() -> None:
    bench = Bench(config=EngineConfig(batch=BatchLimits(max_chunk=32, max_chunk_rows=2)))
    for index in range(6):
        bench.ask(Score(bench.path(), LONG[index:], top=1))
        bench.ask(Advance(bench.path("c"), LONG[index:]))
    bench.engine.tick()
    bench.model.calls.clear()
    typed = bench.ask(Advance(bench.path("b"), b"z"))
    bench.engine.tick()
    assert bench.answers[typed]
    assert bench.model.steps
    assert sum(time * rows for time, rows in bench.model.calls) <= 1 + 32 * 2


def long_score(bench: Bench, deadline_s: float | None = None) -> tuple[PathId, int]:
    path = bench.path()
    ticket = bench.ask(Score(path, LONG, deadline_s=deadline_s))
    for _ in range(10):
        bench.engine.tick()
    assert not bench.answers[ticket]
    return path, ticket


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        (DeadlineExceeded, lambda bench, path, ticket: setattr(bench, "now_s", 2.0)),
        (Unavailable, lambda bench, path, ticket: bench.engine.cancel(ticket)),
        (Unavailable, lambda bench, path, ticket: bench.engine.close_path(path)),
    ],
    ids=["deadline", "cancel", "closed path"],
)
def test_no_step_is_made_after_the_end(kind: type[CarouselError], end: object) -> None:
    bench = Bench()
    path, ticket = long_score(bench, deadline_s=1.0)
    before = bench.model.steps
    end(bench, path, ticket)  # type: ignore[operator]  # a lambda of the table
    bench.engine.tick()
    (answer,) = bench.answers[ticket]
    assert isinstance(answer, kind)
    assert bench.model.steps == before


def test_a_score_outlives_the_edits_of_its_session() -> None:
    bench = Bench()
    path = bench.path()
    bench.ask(Advance(path, LONG[:50]))
    bench.engine.tick()
    ticket = bench.ask(Score(path, LONG[:50], 50))
    bench.ask(Advance(path, b"other"))
    bench.ask(Advance(path, b"other again", 5))
    bench.run()
    assert_same_bits(bench.scored(ticket), naive(LONG[:50], 0, 0))


def test_a_score_of_a_closed_path_is_refused() -> None:
    bench = Bench()
    path = bench.path()
    bench.engine.close_path(path)
    ticket = bench.ask(Score(path, b"ab"))
    bench.run()
    assert isinstance(bench.answers[ticket][0], Unavailable)


def test_a_path_that_moves_along_stands_at_the_end() -> None:
    bench = Bench()
    path = bench.path()
    bench.ask(Score(path, LONG[:300], moves=True))
    bench.run()
    before = bench.model.steps
    bench.ask(Advance(path, LONG[:300], 300))
    bench.ask(Complete(path, LONG[:200], 200, CompleteSpec(1)))
    bench.run()
    assert bench.model.steps - before <= 200 % 32


def test_a_long_text_that_is_held_is_found_in_several_ticks_and_read_no_more() -> None:
    bench = Bench()
    bench.ask(Score(bench.path(), LONG * 5))
    bench.run()
    before = bench.model.steps
    again = bench.ask(Score(bench.path(), LONG * 5, start=5 * len(LONG) - 1))
    typed = bench.ask(Advance(bench.path(), LONG * 5))
    for _ in range(4):
        bench.engine.tick()
    assert not bench.answers[again]
    assert not bench.answers[typed]
    bench.run()
    assert bench.model.steps - before <= 32
    assert_same_bits(bench.scored(again), naive(LONG * 5, 5 * len(LONG) - 1, 0))


def test_a_paste_does_not_keep_a_short_text_waiting_until_it_ends() -> None:
    bench = Bench()
    for index in range(3):
        bench.ask(Advance(bench.path("b"), LONG[index:]))
    bench.engine.tick()
    tickets = [bench.ask(Score(bench.path("c"), LONG[: 70 + index], top=2)) for index in range(2)]
    for _ in range(20):
        bench.engine.tick()
    for index, ticket in enumerate(tickets):
        assert_same_bits(bench.scored(ticket), naive(LONG[: 70 + index], 0, 2))
    assert not all(bench.answers.values())  # the pastes


def test_a_forked_path_stands_where_the_other_stood_and_costs_no_step_and_no_search() -> None:
    bench = Bench()
    path = bench.path()
    early = bench.engine.fork_path(path)  # of a path that has not moved yet
    bench.ask(Advance(path, LONG))
    bench.run()
    forked = bench.engine.fork_path(path)
    bench.engine.close_path(path)
    before = bench.model.steps
    bench.ask(Advance(forked, LONG + b"a", len(LONG)))
    bench.run()
    assert bench.model.steps - before == 1
    bench.ask(Advance(early, LONG[:9]))
    bench.run()
    assert bench.model.steps - before <= 10
