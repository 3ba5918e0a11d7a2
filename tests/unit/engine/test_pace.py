"""Whether batches take turns: decided by what a model and the engine were seen to take."""

from __future__ import annotations

import math

import pytest

from service.engine.pace import Pace

CROWD = 64


def crowded(pace: Pace, batches: int, *, fixed_s: float, row_s: float, bookkeeping_s: float) -> list[bool]:
    """Batches of a crowd on a model whose step takes `fixed_s` and `row_s` a row; whether each time they took turns."""
    turns = []
    for _ in range(batches):
        turns.append(pace.takes_turns(CROWD))
        rows = CROWD // 2 if turns[-1] else CROWD
        pace.ran(rows, 8, 8 * (fixed_s + row_s * rows))
        if not turns[-1]:
            pace.waited(rows, bookkeeping_s)
    return turns


@pytest.mark.parametrize(("fixed_s", "halves"), [(0.0, True), (0.002, False)])
def test_halves_are_made_where_they_cost_the_model_less_than_the_bookkeeping_takes(
    fixed_s: float, halves: bool
) -> None:
    turns = crowded(Pace(), 200, fixed_s=fixed_s, row_s=0.00002, bookkeeping_s=0.002)
    assert turns[0] and not turns[1], "both are tried"
    assert set(turns[2:]) == {halves}


def test_what_was_not_measured_for_long_is_tried_again() -> None:
    pace = Pace()
    assert crowded(pace, 300, fixed_s=0.002, row_s=0.00002, bookkeeping_s=0.002).count(True) == 2
    turns = crowded(pace, 1000, fixed_s=0.0, row_s=0.00002, bookkeeping_s=0.002)  # the model has become another one
    assert turns[-1]
    assert turns[-600:].count(False) <= 3


def test_nobody_knows_how_long_a_batch_takes_before_one_like_it_was_run() -> None:
    pace = Pace()
    assert pace.foreseen_s(1, 4) == math.inf
    pace.ran(1, 2, 0.0002)
    assert pace.foreseen_s(1, 4) == pytest.approx(0.0004)
    assert pace.foreseen_s(60, 4) == math.inf
