"""`carousel bench graph`: turns that cancel noise, and workloads that do what their names say."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.graph.rates import PREFILL, Times, Workload, measure, prefill, steps
from service.engine.ports import States, StepResult
from service.runtime.onnx_model import OnnxStepModel, load_model
from tests.unit.runtime.test_onnx_model import write_model

TEXT = bytes(range(32, 127)) * 7


class Watched:
    """A model that notes what it is fed."""

    def __init__(self, model: OnnxStepModel) -> None:
        self._model = model
        self.fed: list[NDArray[np.int64]] = []
        self.got: list[States] = []

    def initial_states(self, rows: int) -> list[NDArray[np.generic]]:
        return self._model.initial_states(rows)

    def step(self, tokens: NDArray[np.int64], states: States) -> StepResult:
        self.fed.append(tokens)
        self.got.append(states)
        return self._model.step(tokens, states)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(load_model(write_model(tmp_path / "m")))


def test_the_first_run_warms_up_and_every_workload_has_its_turn_forwards_and_backwards() -> None:
    ran: list[str] = []
    workloads = [Workload(name, partial(ran.append, name), 1) for name in "abc"]
    turns: list[int] = []
    times = measure(workloads, turns=2, advance=lambda: turns.append(len(ran)), block_s=1e-9)
    assert ran[:6] == ["a", "a", "b", "b", "c", "c"]  # once to warm up, once to find how many make a block
    assert ran[6:] == ["a", "b", "c", "c", "b", "a"]
    assert len(turns) == 2 and all(len(times.by_name[name]) == 2 for name in "abc")


def test_a_ratio_is_the_median_of_the_turns_own_ratios() -> None:
    """The machine is ten times slower in the second turn, for both."""
    times = Times({"slow": [3.0, 30.0, 3.3], "fast": [1.0, 10.0, 1.0]}, {"slow": 6, "fast": 1})
    assert times.ratio("slow", "fast") == 3.0
    assert times.tokens_per_s("slow") == pytest.approx(6 / 3.3)
    assert times.us("fast") == 1e6


def test_steps_feed_every_row_a_byte_of_its_own_and_the_states_of_the_step_before(watched: Watched) -> None:
    workload = steps("s", watched, 4, TEXT)
    workload.run()
    workload.run()
    assert [tokens.shape for tokens in watched.fed] == [(1, 4), (1, 4)]
    assert watched.fed[0][0, 0] == TEXT[0] and watched.fed[1][0, 0] == TEXT[1]
    assert len(set(watched.fed[0][0])) == 4
    assert any((a != b).any() for a, b in zip(watched.got[0], watched.got[1], strict=True))


@pytest.mark.parametrize("chunk", [1, 64, PREFILL])
def test_prefill_reads_512_bytes_whatever_the_chunks(watched: Watched, chunk: int) -> None:
    prefill("p", watched, TEXT, chunk).run()
    assert {tokens.shape for tokens in watched.fed} == {(chunk, 1)}
    assert np.concatenate(watched.fed)[:, 0].astype(np.uint8).tobytes() == TEXT[:PREFILL]
