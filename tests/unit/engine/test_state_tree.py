"""The state tree against a model with no tree at all: a dictionary from text to what the model says after it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from service.engine.fake_model import FakeModel
from service.engine.ports import LIKELIEST, StepResult
from service.engine.retention import FAR_AWAY, Retention
from service.engine.state_tree import BudgetTooSmall, Node, StateTree, TreeConfig, TreeFull

ROWS = 24
LETTERS = st.sampled_from(b"ab")


def small_tree(model: FakeModel, rows: int = ROWS, retention: Retention | None = None) -> StateTree:
    """A tree that holds exactly `rows` states."""
    row_bytes = StateTree(model.shapes, model.top_k, TreeConfig()).row_bytes
    return StateTree(model.shapes, model.top_k, TreeConfig(rows * row_bytes, retention or Retention(4, 16, 4)))


def start(model: FakeModel) -> StepResult:
    """The model's result for the start token."""
    states = [np.full((1, s.width), s.initial, s.dtype) for s in model.shapes]
    return model.step(np.array([[model.start_token]]), states)


def after(model: FakeModel, text: bytes) -> StepResult:
    """What the model says after `text`, with no tree."""
    result = start(model)
    for token in text:
        result = model.step(np.array([[token]]), result.states)
    return result


class TreeMachine(RuleBasedStateMachine):
    """Random growth, movement, pinning and dropping; every held node must hold what its text alone would give."""

    paths = Bundle("paths")

    def __init__(self) -> None:
        super().__init__()
        self.model = FakeModel()
        self.tree = small_tree(self.model)
        self.root = self.tree.root("scope", start(self.model))
        self.standing: dict[int, tuple[Node, bytes]] = {}
        self.texts: dict[Node, bytes] = {self.root: b""}
        self.pinned: list[Node] = []
        self.numbers = 0

    def make_room(self, rows: int = 1) -> None:
        self.tree.reserve(rows)
        moved = dict(self.tree.displaced)
        self.tree.displaced = []
        for path, (node, text) in list(self.standing.items()):
            while node in moved:
                node = moved[node]
            self.standing[path] = node, text[: self.tree.depth(node)]

    def expand(self, node: Node, text: bytes, tokens: bytes) -> Node:
        self.tree.pin(node)
        try:
            self.make_room()
        finally:
            self.tree.unpin([node])
        self.tree.tick()
        chunk = np.frombuffer(tokens, np.uint8).astype(np.int64)[:, None]
        result = self.model.step(chunk, self.tree.gather(np.array([node], np.int32)))
        if len(tokens) == 1:
            parents, near = np.array([node], np.int32), np.frombuffer(tokens, np.uint8)
            made = Node(int(self.tree.add_near(parents, near, result, np.arange(1))[0]))
        else:
            made = self.tree.add_far(node, tokens, result, 0)
        self.texts[made] = text + tokens
        return made

    @rule(target=paths)
    def open(self) -> int:
        self.numbers += 1
        self.tree.occupy(self.root)
        self.standing[self.numbers] = self.root, b""
        return self.numbers

    @rule(path=paths, tokens=st.binary(min_size=1, max_size=5).map(lambda b: bytes(97 + x % 2 for x in b)))
    def move_down(self, path: int, tokens: bytes) -> None:
        node, text = self.standing[path]
        held = self.tree.descend(node, tokens)
        rest = tokens[self.tree.depth(held) - self.tree.depth(node) :]
        target = held if not rest else self.expand(held, text + tokens[: len(tokens) - len(rest)], rest)
        node = self.standing[path][0]  # making room may have put the path onto a node above
        self.tree.occupy(target)
        self.tree.vacate(node)
        self.standing[path] = target, text + tokens
        self.tree.touch(target, levels=4)

    @rule(path=paths, first=LETTERS, ahead=st.integers(0, 4), end_only=st.booleans())
    def follow(self, path: int, first: int, ahead: int, end_only: bool) -> None:
        """Make what the model would write below a path, the whole way or its end."""
        node, _ = self.standing[path]
        if self.tree.child(node, first) is not None:
            return
        self.tree.pin(node)
        try:
            self.make_room(ahead + 1)
        finally:
            self.tree.unpin([node])
        text = self.standing[path][1]
        if self.standing[path][0] != node:
            return  # making room has put the path onto a node above
        parents = np.array([node], np.int32)
        tokens = np.full((ahead + 1, 1), LIKELIEST)
        tokens[0] = first
        result = self.model.follow(tokens, self.tree.gather(parents))
        fed = np.array([[first], *result.top_tokens[:-1, :, 0]], np.uint8)
        if end_only and ahead:
            self.texts[self.tree.add_ends(parents, fed, result)[0]] = text + fed.tobytes()
            return
        length = 1 + ahead // 2
        (way,) = self.tree.add_ways(parents, fed, np.array([length]), result)
        assert len(way) == length
        for count, made in enumerate(way, 1):
            self.texts[made] = text + fed[:count].tobytes()
        likely = self.tree.likely_way(way[0], 10)
        assert likely.nodes[: length - 1] == way[1:]

    @rule(target=paths, text=st.text("ab", min_size=2, max_size=9).map(str.encode))
    def open_where_a_state_of_before_is(self, text: bytes) -> int:
        self.tree.pin(self.root)  # for this scope only as long as nobody is in it
        try:
            self.make_room()
        finally:
            self.tree.unpin([self.root])
        known = after(self.model, text)
        head = known.top_tokens[0].astype(np.uint8), known.top_log_probabilities[0]
        node = self.tree.add_restored(self.root, text, [state[0] for state in known.states], head)
        assert self.tree.add_restored(self.root, text, [state[0] for state in known.states], head) == node
        self.texts[node] = text
        self.numbers += 1
        self.tree.occupy(node)
        self.standing[self.numbers] = node, text
        return self.numbers

    @rule(path=paths, depth=st.integers(0, 30))
    def move_up(self, path: int, depth: int) -> None:
        node, text = self.standing[path]
        above = self.tree.ancestor(node, depth)
        assert self.tree.depth(above) <= depth
        self.tree.occupy(above)
        self.tree.vacate(node)
        self.standing[path] = above, text[: self.tree.depth(above)]

    @rule(path=paths)
    def pin(self, path: int) -> None:
        if len(self.pinned) < ROWS // 2:
            self.tree.pin(self.standing[path][0])
            self.pinned.append(self.standing[path][0])

    @rule()
    def unpin(self) -> None:
        if self.pinned:
            self.tree.unpin([self.pinned.pop()])

    @rule(path=consumes(paths))
    def close(self, path: int) -> None:
        self.tree.vacate(self.standing.pop(path)[0])

    @invariant()
    def the_budget_holds(self) -> None:
        assert 1 <= self.tree.held <= self.tree.capacity

    @invariant()
    def every_path_stands_on_the_state_of_its_text(self) -> None:
        for node, text in self.standing.values():
            assert self.tree.depth(node) == len(text)
            expected = after(self.model, text)
            for mine, alone in zip(self.tree.gather(np.array([node], np.int32)), expected.states, strict=True):
                np.testing.assert_array_equal(mine, alone)
            assert self.tree.head(node)[0] == expected.top_tokens[0].tolist()

    @invariant()
    def pinned_nodes_are_never_dropped(self) -> None:
        for node in self.pinned:
            expected = after(self.model, self.texts[node])
            np.testing.assert_array_equal(self.tree.gather(np.array([node], np.int32))[0], expected.states[0])

    @rule()
    def every_node_is_the_state_of_its_text(self) -> None:
        for path, (node, text) in self.standing.items():
            likely = self.tree.likely_way(node, 10)
            fed = text + likely.tokens
            if likely.nodes:
                (states, _) = self.tree.gather(np.array(likely.nodes[-1:], np.int32))
                np.testing.assert_array_equal(states, after(self.model, fed).states[0], str(path))

    @invariant()
    def links_and_counts_agree(self) -> None:
        self.tree.check()


TestTree = TreeMachine.TestCase
TestTree.settings = settings(stateful_step_count=30, deadline=None)


def test_a_full_tree_of_pinned_nodes_refuses_instead_of_dropping_one() -> None:
    model = FakeModel()
    tree = small_tree(model, rows=16)
    node = tree.root("scope", start(model))
    for letter in b"abcdefghijklmno":
        tree.pin(node)
        tree.reserve(1)
        result = model.step(np.array([[letter]]), tree.gather(np.array([node], np.int32)))
        node = Node(
            int(tree.add_near(np.array([node], np.int32), np.array([letter], np.uint8), result, np.arange(1))[0])
        )
    tree.pin(node)
    with pytest.raises(TreeFull):
        tree.reserve(1)


def test_a_budget_that_is_too_small_says_how_much_is_needed() -> None:
    with pytest.raises(BudgetTooSmall, match="give at least"):
        StateTree(FakeModel().shapes, 16, TreeConfig(100))


def test_scopes_have_roots_of_their_own() -> None:
    model = FakeModel()
    tree = small_tree(model)
    tree.reserve(2)
    first, second = tree.root("a", start(model)), tree.root("b", start(model))
    assert first != second
    assert tree.root("a", start(model)) == first


def test_the_checkpoint_rule_keeps_near_states_densely_and_far_ones_sparsely() -> None:
    depth = np.arange(5001, dtype=np.int32)
    parent = depth - 1
    rule_ = Retention(max_levels=6000)
    distance = rule_.distances(parent, depth, np.array([5000]))
    kept = np.flatnonzero(rule_.keeps(depth, distance))
    assert set(range(5000 - 63, 5001)) <= set(kept.tolist())
    middle = [d for d in kept.tolist() if 5000 - 1023 <= d <= 5000 - 64]
    assert middle == [d for d in range(5000 - 1023, 5000 - 63) if d % 16 == 0]
    assert 2 <= len([d for d in kept.tolist() if d <= 5000 - 1024]) <= 6
    assert (rule_.distances(parent, depth, np.array([], np.intp)) == FAR_AWAY).all()
