"""Trees that share a budget: what one gives back the other gets, and no state is ever wrong for it."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from service.engine.budget import StateBudget
from service.engine.engine import Delivery, Engine, EngineConfig
from service.engine.fake_model import FakeModel
from service.engine.observer import Unobserved
from service.engine.requests import Advance, AdvanceResult
from service.engine.retention import Retention
from service.engine.row_blocks import release
from service.engine.state_tree import BudgetTooSmall, StateTree, TreeConfig
from service.errors import CarouselError
from tests.unit.engine.test_state_tree import TreeMachine, start

ROWS = 72
CONFIG = TreeConfig(retention=Retention(4, 16, 4))


def row_bytes() -> int:
    model = FakeModel()
    return StateTree(model.shapes, model.top_k, TreeConfig()).row_bytes


class LendingTree(TreeMachine):
    """All that a tree does, while somebody else takes of the same budget and wants it back."""

    def __init__(self) -> None:
        super().__init__()
        budget = StateBudget(ROWS * row_bytes())
        mine, self.theirs = budget.join(), budget.join()
        self.tree = StateTree(self.model.shapes, self.model.top_k, CONFIG, mine)
        self.root = self.tree.root("scope", start(self.model))
        self.texts = {self.root: b""}
        self.total = budget.total_bytes
        self.mine = mine

    @rule(rows=st.integers(1, 30))
    def others_take(self, rows: int) -> None:
        for _ in range(rows):
            self.theirs.take(row_bytes())

    @rule(part=st.floats(0, 1))
    def others_give(self, part: float) -> None:
        self.theirs.give(int(self.theirs.used_bytes * part))

    @rule()
    def give_back(self) -> None:
        while self.tree.owes and self.tree.give_back():
            self.follow_displaced()
        if self.tree.owes:
            assert self.tree.held > 0, "only what is in use is not given back"

    def follow_displaced(self) -> None:
        moved = dict(self.tree.displaced)
        self.tree.displaced = []
        for path, (node, text) in list(self.standing.items()):
            while node in moved:
                node = moved[node]
            self.standing[path] = node, text[: self.tree.depth(node)]

    @invariant()
    def what_is_held_is_within_what_was_granted(self) -> None:
        assert self.tree.held_bytes <= self.mine.used_bytes
        assert self.mine.used_bytes + self.theirs.used_bytes <= self.total


TestLendingTree = LendingTree.TestCase
TestLendingTree.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_a_budget_that_leaves_a_model_too_little_says_how_much_is_enough() -> None:
    model = FakeModel()

    def tree_in(total: int) -> StateTree:
        budget = StateBudget(total)
        shares = [budget.join() for _ in range(3)]
        return StateTree(model.shapes, model.top_k, CONFIG, shares[0])

    with pytest.raises(BudgetTooSmall, match=r"give at least (\d+)") as refused:
        tree_in(50 * row_bytes())
    tree_in(int(str(refused.value).rpartition(" ")[2]) + 6)  # each share is rounded down


@pytest.mark.skipif(sys.platform != "linux", reason="pages are given back on Linux only")
def test_released_rows_lose_their_pages_and_the_others_keep_their_values() -> None:
    slab = np.ones((64, 1000), np.float32)
    release(slab, 10, 50)
    kept = np.r_[0:10, 50:64]
    assert (slab[kept] == 1).all()
    assert (slab[11:49] == 0).mean() > 0.9


class Listening(Unobserved):
    """Says when the states that are held grow fewer."""

    def __init__(self) -> None:
        self.most = 0
        self.fell = threading.Event()

    def state_bytes(self, held: int) -> None:
        if held < self.most:
            self.fell.set()
        self.most = max(self.most, held)


def test_an_idle_engine_is_woken_to_give_back_what_it_borrowed() -> None:
    budget, listening, answered = StateBudget(200 * row_bytes()), Listening(), threading.Event()
    shares = [budget.join(), budget.join()]

    def deliver(delivery: Delivery) -> None:
        for answer, result in delivery:
            answer(result)

    def done(result: AdvanceResult | CarouselError) -> None:
        assert isinstance(result, AdvanceResult)
        answered.set()

    first, second = (
        Engine(FakeModel(), EngineConfig(CONFIG), deliver=deliver, clock=lambda: 0.0, observer=observer, share=share)
        for observer, share in zip((listening, Unobserved()), shares, strict=True)
    )
    first.start()
    path = first.open_path("a")
    for text in (bytes([letter]) * length for letter in b"abcdefgh" for length in range(1, 40)):
        answered.clear()
        first.submit(Advance(path, text), done)
        assert answered.wait(10)
    assert shares[0].used_bytes > budget.equal_bytes
    path = second.open_path("b")
    for text in (bytes([letter]) * length for letter in b"abcd" for length in range(1, 40)):
        second.submit(Advance(path, text), done)
        second.tick()
    assert listening.fell.wait(10)
    first.stop()
    assert shares[0].used_bytes + shares[1].used_bytes <= budget.total_bytes
    assert shares[1].used_bytes > budget.guaranteed_bytes
