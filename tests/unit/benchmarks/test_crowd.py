"""A crowd's turn, what two servers suggested, and the sessions that go on: what is counted, and what is refused."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.crowd import Turn, Typist
from benchmarks.efficiency.command import Efficiency, Served
from benchmarks.efficiency.completions import prompt
from benchmarks.processor_time import ProcessorTime, cpu_seconds
from benchmarks.profiling import profiled
from benchmarks.replay.crowds import Crowds, CrowdTurn, count_same, texts_of
from benchmarks.report import BenchmarkError
from benchmarks.texts import held_out_text
from benchmarks.triton.server import TritonModel, interpreter, own_triton
from benchmarks.workers import Worker, WorkerError


class Recording(Typist):
    """A typist whose keys go nowhere."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.pressed: list[str] = []

    def press(self, character: str) -> None:
        self.pressed.append(character)


def test_a_typist_presses_the_next_key_when_the_suggestion_has_come_and_begins_again_at_the_end() -> None:
    typist = Recording("ab")
    typist.begin(Turn(1, 0.0, 60.0))
    for suggestion in (b"one", b"two", b"\xff"):
        typist.answered(suggestion)
    assert typist.pressed == ["a", "b", "a", "b"]
    assert typist.suggested == ["one", "two", "\xff"]


def test_a_turn_counts_what_is_answered_before_its_end_and_times_what_was_pressed_in_it() -> None:
    turn = Turn(2, 0.0, 60.0)
    began_s = time.perf_counter()
    assert turn.answered(began_s - 1.0, began_s)  # pressed while warming up
    assert turn.answered(began_s, began_s + 0.5)
    assert not turn.answered(began_s, began_s + 90.0)
    before = turn.over
    assert not turn.answered(began_s, began_s + 91.0)
    assert (before, turn.over) == (False, True)
    assert turn.keystrokes == 2
    assert turn.latencies_s == [pytest.approx(0.5), pytest.approx(90.0), pytest.approx(91.0)]


def test_the_same_suggestions_are_counted_up_to_the_separator_and_half_characters_are_not_compared() -> None:
    assert count_same([["walk(", "x", "é"]], [["walk(", "x\xffnonsense", "\xc3\xa9"]]) == 2


def test_another_suggestion_by_the_same_graph_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="typist 1, key 0: Carousel suggests 'walk'"):
        count_same([["a"], ["walk"]], [["a"], ["talk"]])
    with pytest.raises(BenchmarkError, match="nothing that can be compared"):
        count_same([[]], [[]])


def test_every_typist_has_a_text_of_his_own() -> None:
    texts = texts_of(64)
    assert len(set(texts)) == 64
    assert "".join(texts) == held_out_text(sum(map(len, texts)))


@given(st.integers(0, 49 * 20 - 1), st.integers(0, 49 * 20 - 1))
def test_no_two_completions_have_the_same_prompt(one: int, other: int) -> None:
    text = "".join(map(chr, range(0x100, 0x100 + 1_000)))  # every part occurs once
    assert (prompt(text, one, 20) == prompt(text, other, 20)) == (one == other)
    assert len(prompt(text, one, 20)) == 20


def test_crowds_are_compared_turn_by_turn() -> None:
    ours = [CrowdTurn(500.0, [1.0, 2.0], 0.1, 1.0), CrowdTurn(300.0, [1.0, 1.0], 0.1, 1.0)]
    others = [CrowdTurn(100.0, [4.0, 4.0], 0.1, 1.0), CrowdTurn(100.0, [4.0, 4.0], 0.1, 1.0)]
    crowds = Crowds(ours, others)
    assert crowds.rate_ratio.value == 4.0
    assert crowds.p99_ratio.value == 0.375


def test_efficiency_is_held_against_the_bare_loop_just_before_and_just_after() -> None:
    served = [Served(90.0, 1.0, 0.1, 1.0, 1.0), Served(150.0, 1.0, 0.1, 1.0, 1.0)]
    found = Efficiency(served, bare=[80.0, 120.0, 180.0])
    assert (found.ratio.lowest, found.ratio.highest) == (0.9, 1.0)


def test_cpu_time_is_that_of_the_process_and_its_share_is_of_one_core() -> None:
    counted = ProcessorTime(os.getpid())
    until_s = time.process_time() + 0.1
    while time.process_time() < until_s:
        pass
    assert 0 < counted.share < 64
    assert cpu_seconds(os.getpid()) >= time.process_time() - 0.05
    with pytest.raises(BenchmarkError, match="no process"):
        cpu_seconds(2**22 + 1)  # above the largest that Linux gives


def test_a_worker_that_ends_instead_of_answering_is_an_error(tmp_path: Path) -> None:
    with (
        Worker("benchmarks.efficiency.bare_loop", str(tmp_path), "int8", "1", "1") as worker,
        pytest.raises(WorkerError, match="bare_loop ended before it answered"),
    ):
        worker.ask(seconds=0.1)


def test_without_triton_or_py_spy_the_way_to_have_them_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = TritonModel(tmp_path, "int8", 64, 16, 0)
    assert interpreter(tmp_path) is None
    with pytest.raises(BenchmarkError, match="make triton-env"), own_triton(model, tmp_path):
        pass
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchmarkError, match="pip install py-spy"), profiled(os.getpid(), tmp_path / "p.svg", 1.0):
        pass
