"""Observers that are told before there are metrics."""

from __future__ import annotations

import threading
from functools import partial

from service.engine.observer import Unobserved
from service.telemetry.late import MOST_KEPT, Late, LateEngineObserver


class Counting(Unobserved):
    """Lists the bytes by which texts moved."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def moved(self, *, held: int, computed: int) -> None:
        self.held.append(held)


def test_what_was_told_first_is_counted_first() -> None:
    late, counting = LateEngineObserver(), Counting()
    late.moved(held=1, computed=0)
    late.moved(held=2, computed=0)
    late.open(counting)
    late.moved(held=3, computed=0)
    assert counting.held == [1, 2, 3]


def test_nothing_is_lost_or_counted_twice_while_it_opens() -> None:
    late, counting, told = LateEngineObserver(), Counting(), threading.Event()

    def tell() -> None:
        for number in range(20_000):
            late.moved(held=number, computed=0)
            if number == 100:
                told.set()

    telling = threading.Thread(target=tell)
    telling.start()
    assert told.wait(10)
    late.open(counting)
    telling.join()
    assert counting.held == list(range(20_000))


def test_no_more_than_a_bound_is_kept() -> None:
    late: Late[list[int]] = Late()
    told: list[int] = []
    for number in range(MOST_KEPT + 5):
        late.tell(partial(_append, number))
    late.open(told)
    assert told == list(range(MOST_KEPT))


def _append(number: int, to: list[int]) -> None:
    to.append(number)
