"""Trees that share a budget: what one gives back the other gets, and no state is ever wrong for it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from service.engine.budget import StateBudget
from service.engine.engine import Engine, EngineConfig
from service.engine.fake_model import FakeModel
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


def test_an_idle_engine_is_told_to_give_back_what_it_borrowed() -> None:
    budget = StateBudget(200 * row_bytes())
    shares = [budget.join(), budget.join()]
    first, second = (Engine(FakeModel(), EngineConfig(CONFIG), clock=lambda: 0.0, share=share) for share in shares)

    def fill(engine: Engine, letters: bytes) -> None:
        path, texts = engine.open_path("a"), (bytes([one]) * length for one in letters for length in range(1, 40))
        for text in texts:
            engine.submit(Advance(path, text), answered)
            engine.tick()

    def answered(result: AdvanceResult | CarouselError) -> None:
        assert isinstance(result, AdvanceResult)

    fill(first, b"abcdefgh")
    assert shares[0].used_bytes > budget.equal_bytes
    first.on_work = first.tick  # as its owner does, though not within the other's turn
    fill(second, b"abcd")
    assert shares[0].used_bytes + shares[1].used_bytes <= budget.total_bytes
    assert shares[0].used_bytes <= budget.equal_bytes
    assert shares[1].used_bytes > budget.guaranteed_bytes
