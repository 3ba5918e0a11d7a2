"""Completions: the text that a naive loop would write, in pieces, whoever shares the batch; and all their ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.engine import sampling
from service.engine.engine import Engine, EngineConfig
from service.engine.fake_model import FakeModel
from service.engine.filters import allowed_tokens
from service.engine.launching import RunBeside, Runner
from service.engine.ports import States, StepResult
from service.engine.requests import (
    Advance,
    Complete,
    CompleteSpec,
    FinishReason,
    PathId,
    Piece,
    SamplingSpec,
    Stop,
    SuggestSpec,
)
from service.engine.retention import Retention
from service.engine.scheduler import BatchLimits
from service.engine.state_tree import StateTree, TreeConfig
from service.engine.transcript import LARGEST_WAIT_BYTES, Transcript
from service.errors import CarouselError, Unavailable
from service.model.utf8 import TRANSITIONS, Utf8

LONG = CompleteSpec(max_bytes=4096, sampling=SamplingSpec(logit_bias=((0xFF, -100.0),)))  # never ends by itself


@dataclass
class Bench:
    """An engine whose ticks are turned by hand, and the pieces that it has delivered."""

    model: FakeModel = field(default_factory=FakeModel)
    config: EngineConfig = field(default_factory=EngineConfig)
    now_s: float = 0.0
    pieces: dict[int, list[Piece]] = field(default_factory=dict)
    errors: dict[int, CarouselError] = field(default_factory=dict)
    most_per_tick: int = 0
    runner: Runner | None = None

    def __post_init__(self) -> None:
        self.engine = Engine(self.model, self.config, clock=lambda: self.now_s, runner=self.runner)

    def tick(self) -> None:
        """One turn; counts the pieces that one completion is told in it."""
        told = {ticket: len(pieces) for ticket, pieces in self.pieces.items()}
        self.engine.tick()
        self.most_per_tick = max([self.most_per_tick, *(len(self.pieces[ticket]) - told[ticket] for ticket in told)])

    def path(self, scope: str = "a") -> PathId:
        return self.engine.open_path(scope)

    def ask(self, request: Complete) -> int:
        """Submit; returns the ticket, under which the pieces will be found."""
        pieces: list[Piece] = []

        def answer(result: Piece | CarouselError) -> None:
            assert not (pieces and pieces[-1].finish) and ticket not in self.errors, "it ends in exactly one way"
            if isinstance(result, CarouselError):
                self.errors[ticket] = result
            else:
                pieces.append(result)

        ticket = self.engine.submit(request, answer)
        self.pieces[ticket] = pieces
        return ticket

    def run(self, ticks: int = 10_000) -> None:
        batch_ran = threading.Event()
        self.engine.on_run = batch_ran.set
        for _ in range(ticks):
            self.tick()
            if not self.engine.wants_tick and not self.engine.idle:
                assert batch_ran.wait(10), "whoever waits, waits for a batch"
            batch_ran.clear()
            if all(self.ended(ticket) for ticket in self.pieces):
                return
        raise AssertionError("a completion never ended")

    def ended(self, ticket: int) -> bool:
        pieces = self.pieces[ticket]
        return ticket in self.errors or bool(pieces and pieces[-1].finish)

    def text(self, ticket: int) -> bytes:
        return b"".join(piece.text for piece in self.pieces[ticket])

    def finish(self, ticket: int) -> FinishReason | None:
        return self.pieces[ticket][-1].finish

    def outcome(self, ticket: int) -> tuple[bytes, FinishReason | None]:
        return self.text(ticket), self.finish(ticket)


def naive(text: bytes, spec: CompleteSpec, model: FakeModel | None = None) -> tuple[bytes, FinishReason | None]:
    """One token at a time, one row, no tree: what a completion has to be."""
    model = model or FakeModel()
    states: States = [np.full((1, s.width), s.initial, s.dtype) for s in model.shapes]
    for token in [model.start_token, *text]:
        result = model.step(np.array([[token]]), states, all_probabilities=True)
        states = result.states
    said, utf8 = b"", Utf8.COMPLETE
    while True:
        assert result.log_probabilities is not None
        allowed = allowed_tokens(utf8, model.vocabulary_size, model.separator_token)
        recent = (text + said)[-sampling.PENALIZED_BYTES :]
        token = sampling.choose(result.log_probabilities[0], spec.sampling, allowed, recent, len(said), said)
        if token == model.separator_token:
            return said, FinishReason.END
        said += bytes([token])
        utf8 = TRANSITIONS[utf8][token]
        stops = [stop for stop in spec.stop if said.endswith(stop)]
        if stops:
            return said[: -max(map(len, stops))], FinishReason.STOP
        if len(said) >= spec.max_bytes:
            return said.decode(errors="ignore").encode(), FinishReason.LENGTH
        result = model.step(np.array([[token]]), result.states, all_probabilities=True)


def budget(rows: int) -> TreeConfig:
    model = FakeModel()
    return TreeConfig(rows * StateTree(model.shapes, model.top_k, TreeConfig()).row_bytes, Retention(4, 16, 4))


texts = st.binary(max_size=10).map(lambda b: bytes(97 + x % 3 for x in b))
samplings = st.just(SamplingSpec()) | st.builds(
    SamplingSpec,
    temperature=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 3]),
    top_p=st.sampled_from([1.0, 0.9, 0.3]),
    min_p=st.sampled_from([0.0, 0.2]),
    repetition_penalty=st.sampled_from([1.0, 1.5]),
    logit_bias=st.sampled_from([(), ((0xC3, 9.0),), ((0xFF, -100.0), (0xF0, 5.0))]),
    seed=st.integers(0, 2**64 - 1),
    presence_penalty=st.sampled_from([0.0, 0.0, 1.5]),
    frequency_penalty=st.sampled_from([0.0, 0.0, -0.5, 2.0]),
)
stops = st.lists(st.text("abcé(.", min_size=1, max_size=3).map(str.encode), max_size=3).map(tuple)
specs = st.builds(CompleteSpec, st.integers(1, 24), stops, samplings)


@given(
    asked=st.lists(st.tuples(st.integers(0, 2), texts, specs), min_size=1, max_size=6),
    rows=st.sampled_from([64, 100_000]),
    limits=st.builds(
        BatchLimits, st.integers(1, 5), st.integers(1, 7), st.integers(1, 3), st.integers(1, 9), st.integers(1, 40)
    ),
    top_k=st.sampled_from([1, 16]),
)
@settings(max_examples=60)
def test_a_completion_is_what_a_naive_loop_writes_whoever_shares_the_batch(
    asked: list[tuple[int, bytes, CompleteSpec]], rows: int, limits: BatchLimits, top_k: int
) -> None:
    """However small the budget and the batch, and however little of a distribution a node holds."""
    bench = Bench(FakeModel(top_k=top_k), EngineConfig(budget(rows), limits))
    tickets = []
    for scope, text, spec in asked:
        tickets.append(bench.ask(Complete(bench.path(f"tenant {scope}"), text, spec=spec)))
        bench.tick()
    bench.run()
    assert bench.most_per_tick == 1
    for ticket, (_, text, spec) in zip(tickets, asked, strict=True):
        assert bench.outcome(ticket) == naive(text, spec)
        assert all(piece.text.decode() for piece in bench.pieces[ticket][:-1])


@given(texts, specs, st.integers(0, 10))
@settings(max_examples=30)
def test_a_session_is_continued_from_where_it_stands_and_stays_there(
    text: bytes, spec: CompleteSpec, kept: int
) -> None:
    bench = Bench()
    path = bench.path()
    moved: list[object] = []
    bench.engine.submit(Advance(path, text), moved.append)
    bench.tick()
    ticket = bench.ask(Complete(path, text, min(kept, len(text)), spec))
    bench.run()
    assert bench.outcome(ticket) == naive(text, spec)
    before = bench.model.steps
    bench.engine.submit(Advance(path, text, kept=len(text)), moved.append)
    bench.tick()
    assert (len(moved), bench.model.steps) == (2, before)


@given(texts, specs, texts)
@settings(max_examples=30)
def test_a_path_that_moves_along_stands_at_the_end(text: bytes, spec: CompleteSpec, more: bytes) -> None:
    bench = Bench()
    path = bench.path()
    moving = [bench.ask(Complete(path, text, 0, spec, moves=True)) for _ in range(2)]
    bench.run()
    after = bench.ask(Complete(path, text + more, len(text), spec))
    before = bench.ask(Complete(path, text[:-1], max(len(text) - 1, 0), spec, moves=True))
    bench.run()
    assert [bench.outcome(one) for one in moving] == [naive(text, spec)] * 2
    assert bench.outcome(after) == naive(text + more, spec)
    assert bench.outcome(before) == naive(text[:-1], spec)


def test_greedy_after_a_held_text_costs_a_step_a_byte_and_none_after_the_last() -> None:
    bench = Bench()
    path = bench.path()
    bench.engine.submit(Advance(path, b"abc"), lambda result: None)
    bench.tick()
    before = bench.model.steps
    ticket = bench.ask(Complete(path, b"abc", 3, CompleteSpec(max_bytes=9)))
    bench.run()
    assert bench.model.steps - before == 8
    assert bench.pieces[ticket][-1].steps == bench.model.steps - before


def test_what_was_completed_once_is_completed_again_without_a_step() -> None:
    bench = Bench()
    for _ in range(2):
        before = bench.model.steps
        bench.ask(Complete(bench.path(), b"abc", spec=CompleteSpec(max_bytes=40)))
        bench.run()
    assert bench.model.steps == before


def test_typing_what_was_sampled_costs_no_step() -> None:
    bench = Bench()
    path = bench.path()
    ticket = bench.ask(Complete(path, b"ab", spec=CompleteSpec(30, sampling=SamplingSpec(temperature=1.0, seed=3))))
    bench.run()
    said = bench.text(ticket)
    assert len(said) > 3
    before = bench.model.steps
    bench.engine.submit(Advance(path, b"ab" + said[:-1]), lambda result: None)
    bench.tick()
    assert bench.model.steps == before


def test_samples_of_one_prompt_share_its_prefill() -> None:
    bench = Bench()
    path = bench.path()
    for index in range(4):
        spec = CompleteSpec(1, sampling=SamplingSpec(temperature=1.0, seed=sampling.seed_of_sample(9, index)))
        bench.ask(Complete(path, b"x" * 100, spec=spec))
    before = bench.model.steps
    bench.run()
    assert bench.model.steps - before == 100


def test_whole_distributions_cross_only_in_ticks_in_which_somebody_samples() -> None:
    class Watched(FakeModel):
        whole: list[bool] = []  # noqa: RUF012  of one test

        def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
            self.whole.append(all_probabilities)
            return super().step(tokens, states, all_probabilities=all_probabilities)

    model = Watched()
    bench = Bench(model)
    model.whole.clear()
    bench.ask(Complete(bench.path(), b"abc", spec=CompleteSpec(5)))
    bench.run()
    assert not any(model.whole)
    bench.ask(Complete(bench.path(), b"abc", spec=CompleteSpec(5, sampling=SamplingSpec(temperature=1.0))))
    bench.run()
    assert any(model.whole)


def long_completion(bench: Bench, deadline_s: float | None = None) -> tuple[PathId, int]:
    """One that has said something and could go on for a long time."""
    path = bench.path()
    ticket = bench.ask(Complete(path, b"ab", spec=LONG, deadline_s=deadline_s))
    for _ in range(40):
        bench.tick()
    assert bench.pieces[ticket] and not bench.ended(ticket)
    return path, ticket


def end_by_deadline(bench: Bench, path: PathId, ticket: int) -> None:
    bench.now_s = 2.0


def end_by_edit(bench: Bench, path: PathId, ticket: int) -> None:
    bench.engine.submit(Advance(path, b""), lambda result: None)


ENDS: list[tuple[FinishReason, Callable[[Bench, PathId, int], None]]] = [
    (FinishReason.DEADLINE, end_by_deadline),
    (FinishReason.SUPERSEDED, end_by_edit),
    (FinishReason.SUPERSEDED, lambda bench, path, ticket: bench.engine.cancel(ticket)),  # type: ignore[arg-type]  # a ticket is a number
    (FinishReason.SUPERSEDED, lambda bench, path, ticket: bench.engine.close_path(path)),
]


@pytest.mark.parametrize(("reason", "end"), ENDS, ids=["deadline", "newer edit", "cancel", "closed path"])
def test_no_step_is_made_after_the_end(reason: FinishReason, end: Callable[[Bench, PathId, int], None]) -> None:
    bench = Bench()
    path, ticket = long_completion(bench, deadline_s=1.0)
    before = bench.model.steps
    end(bench, path, ticket)
    bench.tick()
    assert (bench.finish(ticket), bench.model.steps) == (reason, before)
    bench.tick()
    assert bench.model.steps == before
    expected, _ = naive(b"ab", LONG)
    assert expected.startswith(bench.text(ticket))
    assert len(bench.text(ticket)) >= 30


def test_asking_for_suggestions_does_not_end_a_completion_of_the_same_text() -> None:
    bench = Bench()
    path = bench.path()
    bench.engine.submit(Advance(path, b"ab"), lambda result: None)
    ticket = bench.ask(Complete(path, b"ab", 2, CompleteSpec(30)))
    bench.tick()
    found: list[object] = []
    bench.engine.submit(Advance(path, b"ab", 2, SuggestSpec(1, 5, Stop.NONE)), found.append)
    bench.run()
    assert found
    assert bench.outcome(ticket) == naive(b"ab", CompleteSpec(30))


def test_a_completion_of_a_closed_path_is_superseded() -> None:
    bench = Bench()
    path = bench.path()
    bench.engine.close_path(path)
    ticket = bench.ask(Complete(path, b"ab"))
    bench.run()
    assert bench.outcome(ticket) == (b"", FinishReason.SUPERSEDED)


def test_a_keystroke_goes_before_completions() -> None:
    bench = Bench(config=EngineConfig(batch=BatchLimits(max_rows=1)))
    for _ in range(5):
        bench.ask(Complete(bench.path(), b"ab", spec=LONG))
    for _ in range(3):
        bench.tick()
    typed: list[object] = []
    bench.engine.submit(Advance(bench.path("b"), b"z"), typed.append)
    bench.tick()
    assert typed


def test_a_tenant_with_many_completions_gets_no_more_than_one_with_a_single_one() -> None:
    bench = Bench(config=EngineConfig(batch=BatchLimits(max_rows=2)))
    many = [bench.ask(Complete(bench.path("many"), bytes([97 + index]), spec=LONG)) for index in range(10)]
    one = bench.ask(Complete(bench.path("one"), b"z", spec=LONG))
    for _ in range(200):
        bench.tick()
    bench.now_s = 1.0
    of_many = sum(len(bench.text(ticket)) for ticket in many)
    assert len(bench.text(one)) >= 0.5 * of_many


def test_long_completions_are_not_turned_away_for_being_long() -> None:
    class Timed(FakeModel):
        def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
            bench.now_s += 0.001 * tokens.size
            return super().step(tokens, states, all_probabilities=all_probabilities)

    bench = Bench()
    bench = Bench(Timed())
    specs = [CompleteSpec(200 + 4 * row, sampling=LONG.sampling) for row in range(64)]  # the batch empties slowly
    for rows in (30, 64):
        tickets = [bench.ask(Complete(bench.path(f"{rows} {row}"), b"ab", spec=specs[row])) for row in range(rows)]
        bench.run()
        assert {bench.finish(ticket) for ticket in tickets} == {FinishReason.LENGTH}


def test_a_model_that_fails_ends_the_completion_with_an_error() -> None:
    class Failing(FakeModel):
        def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
            if len(self.calls) > 10:
                raise RuntimeError("the runtime refused the batch")
            return super().step(tokens, states, all_probabilities=all_probabilities)

    bench = Bench(Failing())
    ticket = bench.ask(Complete(bench.path(), b"ab", spec=LONG))
    bench.run()
    assert isinstance(bench.errors[ticket], Unavailable)
    assert bench.text(ticket)


@given(st.text(st.sampled_from("ab.é🎠"), max_size=60), stops, st.lists(st.booleans(), max_size=240))
def test_pieces_are_valid_hold_no_stop_and_make_the_text_before_the_first_one(
    text: str, stop: tuple[bytes, ...], takes: list[bool]
) -> None:
    said = Transcript(CompleteSpec(max_bytes=1000, stop=stop))
    data, pieces, end = text.encode(), [], len(text.encode())
    for position, token in enumerate(data):
        if said.add(token) is FinishReason.STOP:
            end = position + 1
            break
        if position < len(takes) and takes[position]:
            pieces.append(said.take())
    pieces.append(said.take_rest())
    for piece in pieces:
        piece.decode()
    first = min(
        (data[:length] for length in range(1, len(data) + 1) if data[:length].endswith(stop)), key=len, default=None
    )
    if first is None:
        assert b"".join(pieces) == data
    else:
        assert len(first) == end
        assert b"".join(pieces) == first[: -max(len(s) for s in stop if first.endswith(s))]


def test_pieces_grow_so_that_the_first_is_there_at_once_and_later_ones_are_worth_a_message() -> None:
    bench = Bench()
    _, ticket = long_completion(bench)
    bench.run()
    sizes = [len(piece.text) for piece in bench.pieces[ticket]][:-1]
    assert sizes[0] <= 4  # a whole character
    assert max(sizes) <= LARGEST_WAIT_BYTES + 4
    assert len(sizes) <= 4096 / LARGEST_WAIT_BYTES + 8


@pytest.mark.parametrize("runner", [None, RunBeside])
def test_a_crowd_of_greedy_completions_writes_what_each_would_alone(runner: type[RunBeside] | None) -> None:
    """So many that only the ends of their ways are kept, and batches overlap; some meet a byte that UTF-8 forbids."""
    beside = runner() if runner else None
    bench = Bench(runner=beside)
    texts = [bytes((97 + row,)) for row in range(26)] + [b"\xc3\xa9" * (1 + row) for row in range(14)]
    spec = CompleteSpec(90, (b"b c",))
    tickets = [bench.ask(Complete(bench.path(f"{row % 8}"), text, spec=spec)) for row, text in enumerate(texts)]
    bench.run()
    if beside is not None:
        beside.close()
    for ticket, text in zip(tickets, texts, strict=True):
        assert bench.outcome(ticket) == naive(text, spec)
    assert any(text.count("é".encode()) for text in map(bench.text, tickets))
