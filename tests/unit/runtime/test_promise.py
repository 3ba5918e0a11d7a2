"""The check of the promise itself: it passes what keeps the promise and finds every way to break it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.engine.fake_model import FakeModel
from service.engine.ports import LIKELIEST, FollowResult, ModelError, ReadResult, States, StepResult
from service.model.manifest import Precision
from service.runtime.extremes import feed_extremes
from service.runtime.onnx_model import OnnxStepModel, load_model
from service.runtime.promise import (
    STEPS,
    Difference,
    check_promise,
    compare_in_batches,
    draw_texts,
    read_alone,
)
from tests.unit.runtime.test_onnx_model import write_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("threads", [1, 2])
def test_our_graphs_keep_it_through_hundreds_of_batches(folder: Path, precision: Precision, threads: int) -> None:
    model = load_model(folder, precision, threads)
    found = check_promise(model, rounds=20, names=model.state_names)
    assert found.difference is None
    assert found.batches > 200 and found.rows > 20 * 70


class Counting(FakeModel):
    """Counts following and reading as one call of so many tokens, as they are in a graph that can."""

    follows = 0

    def follow(self, tokens: NDArray[np.int64], states: States, *, ends_only: bool = False) -> FollowResult:
        before = len(self.calls)
        result = super().follow(tokens, states, ends_only=ends_only)
        self.calls[before:] = [tokens.shape]
        self.follows += 1
        return result

    def read(self, tokens: NDArray[np.int64], states: States) -> ReadResult:
        before = len(self.calls)
        result = super().read(tokens, states)
        self.calls[before:] = [tokens.shape]
        return result


def test_every_row_is_read_to_its_last_token_and_every_batch_is_counted() -> None:
    model = Counting()
    generator = np.random.default_rng(0)
    alone = read_alone(model, draw_texts(model, 9, generator))
    assert model.calls == [(1, 1)] * 9 * STEPS
    model.calls.clear()
    found = compare_in_batches(model, alone, generator, max_rows=4)
    assert found.batches == len(model.calls)
    assert found.rows == sum(rows for _, rows in model.calls)
    assert sum(time * rows for time, rows in model.calls) == 9 * STEPS
    assert max(rows for _, rows in model.calls) <= 4 and len({time for time, _ in model.calls}) > 2
    assert 0 < model.follows < len(model.calls)


class Leaking(FakeModel):
    """Its last state takes a little from all rows of the batch, from the length of the chunk, or from following."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        result = super().step(tokens, states, all_probabilities=all_probabilities)
        amount = len(states[1]) - 1 if self.kind == "batch" else len(tokens) - 1
        leaked = np.asarray(result.states[1], np.float32) + np.float32((self.kind != "follow") * amount * 1e-6)
        return dataclasses.replace(result, states=[result.states[0], leaked])

    def follow(self, tokens: NDArray[np.int64], states: States, *, ends_only: bool = False) -> FollowResult:
        result = super().follow(tokens, states, ends_only=ends_only)
        if self.kind != "follow":
            return result
        chosen = (tokens == LIKELIEST)[:, :, None]
        leaked = np.asarray(result.states[1], np.float32) + chosen * np.float32(1e-6)
        return dataclasses.replace(result, states=[result.states[0], leaked])


@pytest.mark.parametrize("kind", ["batch", "chunk", "follow"])
def test_what_leaks_a_little_is_found_and_its_way_is_named(kind: str) -> None:
    found = check_promise(Leaking(kind), rounds=3, names=["h", "c"]).difference
    assert found is not None
    assert found.output == "c"
    causes = {"batch": found.on_neighbours, "chunk": found.on_chunking, "follow": found.on_following}
    assert [cause for cause, depends in causes.items() if depends] == [kind]
    words = {"batch": "the batch", "chunk": "the chunking", "follow": "whose choice it is fed"}
    assert words[kind] in str(found)


def test_a_distribution_inside_of_a_chunk_that_is_a_little_off_is_found() -> None:
    class Inexact(FakeModel):
        def read(self, tokens: NDArray[np.int64], states: States) -> ReadResult:
            result = super().read(tokens, states)
            result.log_probabilities[:-1] += np.float32(1e-6)
            return result

    found = check_promise(Inexact(), rounds=1).difference
    assert found is not None
    assert found.output == "log-probabilities"
    assert (found.on_neighbours, found.on_chunking, found.on_following) == (False, True, False)


def test_a_difference_without_a_known_cause_still_says_where() -> None:
    assert "the batches that it went through" in str(Difference("c", 3, 2, 1, False, False, False, 0.5))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_states_as_large_as_floats_can_be_are_harmless_and_nan_never_comes_out(
    folder: Path, precision: Precision
) -> None:
    found = feed_extremes(load_model(folder, precision))
    assert {found[size] for size in ("1e30", "-1e30")} == {"harmless"}
    assert set(found.values()) <= {"harmless", "refused"}


def test_a_state_of_nan_is_refused(folder: Path) -> None:
    model = load_model(folder, "fp32")
    states = [np.full_like(state, np.nan) for state in model.initial_states(2)]
    with pytest.raises(ModelError, match="not finite"):
        model.step(np.array([[1, 2]]), states)


def test_the_same_bits_come_from_one_thread_and_from_two(folder: Path) -> None:
    def states(model: OnnxStepModel) -> bytes:
        return read_alone(model, draw_texts(model, 3, np.random.default_rng(4))).fingerprint_of_states()

    assert states(load_model(folder, "int8", 1)) == states(load_model(folder, "int8", 2))
