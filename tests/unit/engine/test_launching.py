"""Batches on their way: what is kept is what single steps give, and parents stay until it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.fake_model import FakeModel
from service.engine.launching import FEW_ROWS, Ran, RunBeside, RunHere, drop, keep, launch, rows_wanted
from service.engine.ports import LIKELIEST
from service.engine.scheduler import Batch, Kind
from service.engine.state_tree import Node, StateTree, TreeConfig


def grown(scopes: int) -> tuple[FakeModel, StateTree, list[Node]]:
    """A tree with a root for each of so many scopes."""
    model = FakeModel()
    tree = StateTree(model.shapes, model.top_k, TreeConfig())
    states = [np.full((1, shape.width), shape.initial, shape.dtype) for shape in model.shapes]
    start = model.step(np.array([[model.start_token]]), states)
    tree.reserve(scopes)
    return model, tree, [tree.root(f"{number}", start) for number in range(scopes)]


def one_by_one(model: FakeModel, tree: StateTree, node: Node, tokens: bytes) -> np.ndarray:
    """The first state after these tokens, a step a token."""
    states = tree.gather(np.array([node], np.int32))
    for token in tokens:
        states = list(model.step(np.array([[token]]), states).states)
    return np.asarray(states[0][0])


@given(rows=st.integers(1, 2 * FEW_ROWS), steps=st.integers(1, 6), data=st.data())
def test_a_kept_way_is_what_single_steps_give(rows: int, steps: int, data: st.DataObject) -> None:
    model, tree, roots = grown(rows)
    kind = data.draw(st.sampled_from([Kind.WAY, Kind.WAY_END]))
    ahead = [data.draw(st.integers(0, 8)) for _ in roots]
    batch = Batch(kind, list(roots), [bytes((97 + row % 3,)) for row in range(rows)], ahead, [[]] * rows, steps=steps)
    before = tree.held
    running = launch(model, tree, batch, RunHere(), lambda: 0.0)
    wanted = rows_wanted(running)
    tree.reserve(wanted)
    kept = keep(tree, running, running.ran.result().result)
    assert tree.held - before == wanted
    tree.check()
    for row, (node, followed) in enumerate(zip(kept.nodes, kept.followed, strict=True)):
        state = tree.gather(np.array([node], np.int32))[0][0]
        np.testing.assert_array_equal(state, one_by_one(model, tree, roots[row], batch.tokens[row] + followed))
        if kind is Kind.WAY and steps > 1:
            assert len(tree.likely_way(node, 10).nodes) == min(ahead[row], steps - 1)


def test_what_was_made_meanwhile_is_taken_and_not_made_twice() -> None:
    model, tree, roots = grown(2)
    batches = [Batch(Kind.WAY, list(roots), [b"a", b"b"], [2, 2], [[], []], steps=3) for _ in range(2)]
    first, second = (launch(model, tree, batch, RunHere(), lambda: 0.0) for batch in batches)
    tree.reserve(12)
    nodes = keep(tree, first, first.ran.result().result).nodes
    held = tree.held
    assert keep(tree, second, second.ran.result().result).nodes == nodes
    assert tree.held == held
    tree.check()


def test_parents_of_a_running_batch_cannot_be_dropped_and_those_of_a_dropped_one_can() -> None:
    model, tree, roots = grown(1)
    batch = Batch(Kind.STEP, list(roots), [b"a"], [0], [[]])
    running = launch(model, tree, batch, RunHere(), lambda: 0.0)
    with pytest.raises(Exception, match="are in use"):
        tree.reserve(tree.capacity)
    drop(tree, running)
    tree.reserve(tree.capacity)
    assert tree.held == 0


def failing() -> Ran:
    raise ValueError("refused")


@pytest.mark.parametrize("make", [RunHere, RunBeside])
def test_a_runner_hands_errors_to_who_asks_for_the_result(make: Callable[[], RunHere | RunBeside]) -> None:
    runner = make()
    future = runner.start(failing)
    with pytest.raises(ValueError, match="refused"):
        future.result(timeout=10)
    if isinstance(runner, RunBeside):
        runner.close()


def test_following_to_the_end_only_is_following_and_leaving_the_rest() -> None:
    model = FakeModel()
    states = [np.full((3, shape.width), shape.initial, shape.dtype) for shape in model.shapes]
    tokens = np.full((5, 3), LIKELIEST)
    tokens[0] = [97, 98, 99]
    whole, end = (model.follow(tokens, states, ends_only=ends_only) for ends_only in (False, True))
    for all_states, last in zip(whole.states, end.states, strict=True):
        np.testing.assert_array_equal(all_states[-1:], last)
    np.testing.assert_array_equal(whole.top_tokens, end.top_tokens)
