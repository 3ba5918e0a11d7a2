"""What the benchmarks make of what they measured: ratios, slices, shares."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.free import Counted, middle_of
from benchmarks.machine import circumstances
from benchmarks.memory import Held, report_of, texts
from benchmarks.naive import Compared, Turn
from benchmarks.open_loop import Load, Outcome
from benchmarks.overload import Phases
from benchmarks.ratios import ratio_of
from benchmarks.report import BenchmarkError
from benchmarks.texts import held_out_text, unforeseen_letter
from benchmarks.undo import Taken


def test_a_ratio_is_the_median_of_the_repetitions_and_says_how_far_they_lie_apart() -> None:
    ratio = ratio_of([2.0, 9.0, 6.0], [1.0, 3.0, 1.0])
    assert (ratio.value, ratio.lowest, ratio.highest, ratio.repetitions) == (3.0, 2.0, 6.0, 3)
    assert ratio.spread == "2.00 to 6.00 in 3 repetitions"


def test_a_ratio_wants_as_many_of_one_as_of_the_other() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio_of([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="no repetitions"):
        ratio_of([], [])


@given(st.text(max_size=50), st.integers(1, 20), st.integers(0, 20))
def test_the_middle_of_a_text_is_typed_after_what_comes_before_it(text: str, limit: int, context: int) -> None:
    part = middle_of(text, limit, context)
    assert part.before + part.typed in text
    assert len(part.typed) == min(limit, len(text))
    assert len(part.before) <= context
    assert part.before or context == 0 or text.startswith(part.typed)


def test_free_is_a_share_of_what_was_typed() -> None:
    counted = Counted(typed_bytes=200, held=150, computed=50, steps=1_000, seconds=2.0)
    assert (counted.free, counted.steps_per_byte) == (0.75, 5.0)


def test_going_back_is_measured_in_typed_letters() -> None:
    taken = Taken(typed_s=[1.0, 2.0], backspace_s=[0.5, 1.0], jump_s=[10.0, 40.0])
    assert (taken.backspace_ratio, taken.jump_ratio) == (0.5, 15.0)


_HELD = Held(
    sessions=10,
    first=10,
    text_bytes=100,
    budget_bytes=11_000,
    resident_before=1_000,
    resident_after=2_500,
    state_bytes_before=10_230,
    state_bytes_after=10_000,
)


def test_memory_of_a_session_is_its_share_of_the_states_and_the_growth_less_its_text() -> None:
    report = report_of(_HELD, 500, 0.0, {}, circumstances([]))
    figures = {figure.key: figure.value for figure in report.figures}
    assert (figures["budget_share_bytes"], figures["beside_bytes"]) == (550, 50)
    assert figures["resident_over_state"] == 600 / 500


@pytest.mark.parametrize(("before", "after"), [(10_559, 10_600), (10_560, 9_999)])
def test_memory_is_not_measured_with_a_budget_that_was_not_filled_or_holds_too_few_states(
    before: int, after: int
) -> None:
    replace(_HELD, state_bytes_before=10_560, state_bytes_after=10_000).check(500)
    with pytest.raises(BenchmarkError):
        replace(_HELD, state_bytes_before=before, state_bytes_after=after).check(500)


def test_texts_of_sessions_are_all_different_and_of_one_length() -> None:
    made = texts(50, 200, 16)
    assert len(set(made)) == 50
    assert {len(text.encode()) for text in made} == {200}
    assert len({text[:-16] for text in made}) == 1


def test_naive_compares_turn_with_turn() -> None:
    compared = Compared(1, [Turn(100, 1.0, 0.1), Turn(400, 2.0, 0.1)], [Turn(1, 1.0, 0.1), Turn(1, 1.0, 0.1)])
    assert compared.ratio.value == 150


def test_overload_compares_the_admitted_alone() -> None:
    def load(admitted_s: float) -> Load:
        made = Load(offered=2, seconds=1.0)
        made.ended(Outcome.ADMITTED, admitted_s)
        made.ended(Outcome.SHED, 100.0)
        return made

    phases = Phases(200.0, [load(0.2), load(0.3)], [load(0.3), load(0.45)], [100.0, 103.0])
    assert phases.ratio.value == pytest.approx(1.5)
    assert phases.growth == 1.03


@given(st.text(max_size=3), st.integers())
def test_an_unforeseen_letter_is_not_what_was_suggested(suggestion: str, seed: int) -> None:
    assert not suggestion.startswith(unforeseen_letter(suggestion, random.Random(seed)))


def test_held_out_text_has_the_length_that_was_asked_for() -> None:
    assert len(held_out_text(100_000).encode()) == 100_000
