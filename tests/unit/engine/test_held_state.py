"""A state that was taken out of one engine and put into another: who goes on from it gets what a replay gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.engine import Engine, EngineConfig
from service.engine.fake_model import FakeModel
from service.engine.held_state import HeldState
from service.engine.requests import (
    Advance,
    AdvanceResult,
    Complete,
    CompleteSpec,
    PathId,
    Piece,
    SamplingSpec,
    Score,
    Scored,
    SuggestSpec,
)
from service.engine.scheduler import BatchLimits
from service.engine.state_tree import StateTree, TreeConfig
from service.errors import CarouselError

TEXT = b"def main():\n    return range(10, 20)\n" * 4
FEWER = settings(
    max_examples=max(settings.default.max_examples // 5, 10) if settings.default else 20
)  # each is two engines
SPEC = SuggestSpec(count=3, max_bytes=8)
SAMPLED = CompleteSpec(max_bytes=12, sampling=SamplingSpec(temperature=0.9, seed=5))


class Bench:
    """An engine that is turned by hand."""

    def __init__(self, rows: int | None = None, model: FakeModel | None = None) -> None:
        self.model = model or FakeModel()
        row_bytes = StateTree(self.model.shapes, self.model.top_k, TreeConfig()).row_bytes
        tree = TreeConfig() if rows is None else TreeConfig(rows * row_bytes)
        config = EngineConfig(tree=tree, batch=BatchLimits(max_chunk=8))
        self.engine = Engine(self.model, config, clock=lambda: 0.0)

    def ask(self, request: Advance | Complete | Score) -> list[AdvanceResult | Piece | Scored | CarouselError]:
        answers: list[AdvanceResult | Piece | Scored | CarouselError] = []
        self.engine.submit(request, answers.append)  # type: ignore[misc]  # of whatever kind it is
        for _ in range(2000):
            if self.engine.idle:
                return answers
            self.engine.tick()
        raise AssertionError("it has no end")

    def suggested(self, path: PathId, text: bytes, kept: int = 0) -> AdvanceResult:
        (answer,) = self.ask(Advance(path, text, kept, SPEC))
        assert isinstance(answer, AdvanceResult)
        return answer._replace(steps=0)  # how many there were is all that may differ

    def standing_at(self, text: bytes) -> PathId:
        path = self.engine.open_path("scope")
        self.ask(Advance(path, text))
        return path


def taken(text: bytes, least: int = 2, most: int | None = None) -> HeldState | None:
    bench = Bench()
    return bench.engine.read_state(bench.standing_at(text), text, least=least, most=len(text) if most is None else most)


@FEWER
@given(
    st.binary(min_size=2, max_size=120),
    st.integers(0, 120),
    st.binary(max_size=12),
    st.integers(0, 40),
    st.sampled_from([None, 24]),
)
def test_who_goes_on_from_a_restored_state_gets_what_a_replay_gives(
    before: bytes, most: int, typed: bytes, deleted: int, rows: int | None
) -> None:
    state = taken(before, most=min(most, len(before)))
    if state is None:
        return
    bench, fresh = Bench(rows), Bench()
    path = bench.engine.open_path("scope")
    assert bench.engine.restore(path, before[: state.depth], state)
    text = before + typed
    assert bench.suggested(path, text, state.depth) == fresh.suggested(fresh.standing_at(b""), text)
    shorter = text[: max(len(text) - deleted, 0)]
    assert bench.suggested(path, shorter, len(shorter)) == fresh.suggested(fresh.standing_at(b""), shorter)


@pytest.mark.parametrize("most", [len(TEXT), len(TEXT) - 1, 40])
def test_a_sampled_completion_and_a_score_after_it_are_those_of_a_replay(most: int) -> None:
    state = taken(TEXT, most=most)
    assert state is not None
    bench, fresh = Bench(), Bench()
    path, other = bench.engine.open_path("scope"), fresh.engine.open_path("scope")
    assert bench.engine.restore(path, TEXT[: state.depth], state)
    said, expected = (
        b"".join(piece.text for piece in one.ask(Complete(at, TEXT, kept, SAMPLED)) if isinstance(piece, Piece))
        for one, at, kept in ((bench, path, state.depth), (fresh, other, 0))
    )
    assert said == expected
    (score,), (alone,) = bench.ask(Score(path, TEXT, state.depth, 30)), fresh.ask(Score(other, TEXT, 0, 30))
    assert isinstance(score, Scored) and isinstance(alone, Scored)
    np.testing.assert_array_equal(score.log_probabilities, alone.log_probabilities)
    np.testing.assert_array_equal(score.distribution, alone.distribution)


def test_the_steps_of_what_it_is_of_are_spared() -> None:
    state = taken(TEXT, most=len(TEXT) - 10)
    assert state is not None
    bench = Bench()
    path = bench.engine.open_path("scope")
    bench.engine.restore(path, TEXT[: state.depth], state)
    before = bench.model.steps
    bench.ask(Advance(path, TEXT, state.depth))
    assert bench.model.steps - before == len(TEXT) - state.depth < 20


def test_two_paths_restored_at_one_text_share_its_state_and_other_scopes_do_not() -> None:
    state = taken(TEXT)
    assert state is not None
    bench = Bench()
    held = []
    for scope in ("one", "one", "two"):
        assert bench.engine.restore(bench.engine.open_path(scope), TEXT[: state.depth], state)
        held.append(bench.engine._tree.held)
    assert held == [2, 2, 4]  # a root and a state for each scope


@FEWER
@given(st.text(st.sampled_from("aé€😀"), min_size=1, max_size=30), st.integers(0, 60))
def test_what_is_taken_is_of_whole_characters_and_within_its_bounds(text: str, most: int) -> None:
    written = text.encode()
    state = taken(written, most=min(most, len(written)))
    if state is not None:
        assert 2 <= state.depth <= most
        written[: state.depth].decode()


def test_nothing_is_taken_where_nothing_is_held_that_is_long_enough() -> None:
    assert taken(b"ab" * 20, least=41) is None
    assert taken(b"ab" * 20, most=1) is None
    bench = Bench()
    assert bench.engine.read_state(bench.engine.open_path("scope"), b"abc", least=2, most=3) is None
    closed = bench.standing_at(b"abc")
    bench.engine.close_path(closed)
    assert bench.engine.read_state(closed, b"abc", least=2, most=3) is None


def spoiled(state: HeldState, how: str) -> HeldState:
    hashes, counts = state.states
    nan = np.full_like(counts, np.nan)
    match how:
        case "depth":
            return replace(state, depth=state.depth + 1)
        case "fewer":
            return replace(state, states=(hashes,))
        case "width":
            return replace(state, states=(hashes[:-1], counts))
        case "type":
            return replace(state, states=(hashes, counts.astype(np.float64)))
        case "not finite":
            return replace(state, states=(hashes, nan))
        case "head":
            return replace(state, top_tokens=state.top_tokens[:-1])
        case "type of the head":
            return replace(state, top_log_probabilities=state.top_log_probabilities.astype(np.float64))
        case _:
            return replace(state, top_log_probabilities=np.full_like(state.top_log_probabilities, np.nan))


@pytest.mark.parametrize(
    "how", ["depth", "fewer", "width", "type", "not finite", "head", "type of the head", "no probability"]
)
def test_what_can_be_no_state_of_the_model_is_refused_and_the_path_is_replayed_as_ever(how: str) -> None:
    state = taken(TEXT)
    assert state is not None
    bench, fresh = Bench(), Bench()
    path = bench.engine.open_path("scope")
    assert not bench.engine.restore(path, TEXT[: state.depth], spoiled(state, how))
    assert bench.suggested(path, TEXT) == fresh.suggested(fresh.standing_at(b""), TEXT)


def test_a_full_tree_restores_nothing_and_goes_on() -> None:
    state = taken(TEXT)
    assert state is not None
    bench = Bench(rows=16)
    tree = bench.engine._tree
    node = tree.root("other", bench.engine._tasks._start)
    tree.pin(node)
    for letter in b"abcdefghijklmno":
        tree.reserve(1)
        result = bench.model.step(np.array([[letter]]), tree.gather(np.array([node], np.int32)))
        (node,) = tree.add_near(np.array([node], np.int32), np.array([letter], np.uint8), result, np.arange(1)).tolist()
        tree.pin(node)
    assert not bench.engine.restore(bench.engine.open_path("scope"), TEXT[: state.depth], state)
