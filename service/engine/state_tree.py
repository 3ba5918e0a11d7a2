"""The state tree: text is a path in a tree of states, and a node is a row.

A node is "the model after these tokens". It exists exactly as long as its state is held, so its number is the number
of its row: in the slabs of recurrent state, in the head of its next-token distribution, and in every column below.
What was dropped is not a node any more; it can be computed again from the text.

An edge is `near` (one token longer than its parent) or `far` (the nodes between were dropped, or a chunk never made
them). Near children are found by token in a short list, far ones by the 128-bit key of their whole prefix in one hash
index. Dropping a node hands its children to its parent, as far children.

Owned by one engine alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.engine import prefix_key
from service.engine.budget import Share, StateBudget
from service.engine.dropping import Dropping, TreeFull
from service.engine.far_index import FarIndex
from service.engine.links import LINK_BYTES, NO_NODE, Links
from service.engine.ports import FollowResult, StateShape, StepResult
from service.engine.retention import Retention
from service.engine.state_rows import BudgetTooSmall, Node, Nodes, StateRows

__all__ = ["BudgetTooSmall", "Node", "Nodes", "StateTree", "TreeConfig", "TreeFull", "Way"]

Logs = NDArray[np.float32]

_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Way:
    """Nodes below each other, the tokens that led to them, and each token's natural-log probability."""

    nodes: list[Node]
    tokens: bytes
    log_probabilities: list[float]


@dataclass(frozen=True, slots=True)
class TreeConfig:
    """`budget_bytes` bounds states, heads and columns together, if the tree shares no budget with others."""

    budget_bytes: int = 256 << 20
    retention: Retention = Retention()


class StateTree:
    """Rows of states under a byte budget, with the links that make them a tree.

    A node is *pinned* while running work reads it or stands on it, and *occupied* while a path (a session's place)
    stands on it. Pinned nodes are never dropped. An occupied one may be, as the last resort: its path then stands on
    the parent and `displaced` says so.

    `visits` counts the nodes that were walked over because they were held; whoever reads it may set it back.
    """

    def __init__(
        self, shapes: Sequence[StateShape], top_k: int, config: TreeConfig, share: Share | None = None
    ) -> None:
        """Raises BudgetTooSmall."""
        share = StateBudget(config.budget_bytes).join() if share is None else share
        self._rows = rows = StateRows(shapes, top_k, share, LINK_BYTES + _KEY_BYTES)
        self.row_bytes, self.capacity = rows.row_bytes, rows.capacity
        self.top_tokens, self.top_log_probabilities = rows.top_tokens, rows.top_log_probabilities
        self._top_k = top_k
        self._links = Links(rows.capacity)
        self._keys = np.zeros((rows.capacity, 2), np.uint64)
        self._far = FarIndex(self._keys)
        self._dropping = Dropping(rows, self._links, config.retention)
        self._leaving = np.zeros(rows.capacity, np.bool_)
        # What every keystroke reads, a lookup nearer.
        self._used_of = rows.used_of
        self._depth_of, self._parent_of = self._links.depth_of, self._links.parent_of
        self._pins_of, self._occupied_of = rows.pins.data, rows.occupied.data
        self._top_token_of, self._top_log_probability_of = self.top_tokens.data, self.top_log_probabilities.data
        self._roots: dict[str, Node] = {}
        self._scope_of_root: dict[Node, str] = {}
        self.visits = 0
        self.displaced: list[tuple[Node, Node]] = []

    # -- reading ------------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """How many nodes there are."""
        return self._rows.held

    @property
    def free_rows(self) -> int:
        """How many nodes can be added without dropping any."""
        return self._rows.free_count

    @property
    def held_bytes(self) -> int:
        """Bytes of the budget that are in use."""
        return self.held * self.row_bytes

    def depth(self, node: Node) -> int:
        """How many tokens lie between the root and the node."""
        return self._depth_of[node]

    def child(self, node: Node, token: int) -> Node | None:
        """The near child by that token, if it is held."""
        child = self._links.near_child(node, token)
        return None if child < 0 else Node(child)

    def visit(self, node: Node, token: int) -> Node | None:
        """As `child`, and the child counts as used now."""
        child = self.child(node, token)
        if child is not None:
            self._used_of[child] = self._rows.now
            self.visits += 1
        return child

    def hop(self, node: Node, tokens: bytes) -> Node | None:
        """The far node exactly `tokens` below `node`, if it is held."""
        found = self._far.find(prefix_key.extend(self._key(node), tokens))
        return None if found is None else Node(found)

    def ancestor(self, node: Node, depth: int) -> Node:
        """The deepest held node at or above `node` whose depth is at most `depth`."""
        while self._depth_of[node] > depth:
            node = Node(self._parent_of[node])
        return node

    def descend(self, node: Node, text: bytes, *, limit: int = 2048) -> Node:
        """The deepest held node reached from `node` along `text`, which starts where `node` ends.

        Looks at most `limit` tokens past the last node that it found, so that a call is bounded; what is held beyond
        a longer gap is not found, which costs a replay and nothing else.
        """
        position = 0
        while position < len(text):
            near = self.child(node, text[position])
            if near is not None:
                node, position = near, position + 1
                continue
            far = self._descend_far(node, text, position, limit)
            if far is None:
                break
            node, position = far
        return node

    def _descend_far(self, node: Node, text: bytes, position: int, limit: int) -> tuple[Node, int] | None:
        if not len(self._far):
            return None
        key = self._key(node)
        for end in range(position, min(position + limit, len(text))):
            key = prefix_key.extend(key, text[end : end + 1])
            found = self._far.find(key)
            if found is not None:
                return Node(found), end + 1
        return None

    def gather(self, nodes: Nodes) -> list[NDArray[np.generic]]:
        """The states of many nodes as fresh arrays [rows, width], one per recurrent tensor."""
        return self._rows.gather(nodes)

    def head(self, node: Node) -> tuple[list[int], list[float]]:
        """The likeliest next tokens, best first, and their natural-log probabilities."""
        return self.top_tokens[node].tolist(), self.top_log_probabilities[node].tolist()

    def likeliest(self, node: Node) -> tuple[int, float]:
        """The first of the head: the likeliest next token and its natural-log probability."""
        return self._top_token_of[node, 0], self._top_log_probability_of[node, 0]

    def likely_way(self, node: Node, limit: int) -> Way:
        """The held nodes below `node` by the likeliest token each, at most `limit`; they count as used now.

        It ends before a token that another one is as likely as: then it takes a closer look to choose.
        """
        likely_of, token_of, used_of = self._links.likely_of, self._links.token_of, self._used_of
        log_probability_of, second, now = self._top_log_probability_of, min(1, self._top_k - 1), self._rows.now
        nodes: list[Node] = []
        tokens = bytearray()
        log_probabilities: list[float] = []
        for _ in range(limit):
            child = likely_of[node]
            if child < 0:
                break
            log_probability = log_probability_of[node, 0]
            if log_probability == log_probability_of[node, second]:
                break
            node = Node(child)
            used_of[node] = now
            nodes.append(node)
            tokens.append(token_of[node])
            log_probabilities.append(log_probability)
        self.visits += len(nodes)
        return Way(nodes, bytes(tokens), log_probabilities)

    # -- growing ------------------------------------------------------------------------------------------------

    def root(self, scope: str, start: StepResult) -> Node:
        """The scope's root, made from the model's result for the start token (row 0) if it is not held.

        Reserve a row before.
        """
        known = self._roots.get(scope)
        if known is not None:
            return known
        row = self._rows.take_one()
        self._rows.keep_one(row, start, 0)
        self._depth_of[row] = self._links.token_of[row] = 0
        self._parent_of[row] = NO_NODE
        self._keys[row] = prefix_key.root_key(scope)
        self._roots[scope], self._scope_of_root[row] = row, scope
        return row

    def add_near(self, parents: Nodes, tokens: NDArray[np.uint8], result: StepResult, rows: NDArray[np.intp]) -> Nodes:
        """Make the children of `parents` by `tokens` from rows `rows` of a step's result; reserve the space before.

        No such child may be held yet, and no (parent, token) may occur twice.
        """
        nodes = self._rows.take(len(parents))
        self._rows.keep(nodes, result.states, result.top_tokens, result.top_log_probabilities, rows)
        self._links.depth[nodes] = self._links.depth[parents] + 1
        self._links.token[nodes] = tokens
        self._keys[nodes] = prefix_key.extend_rows(self._keys[parents], tokens)
        for node, parent in zip(nodes.tolist(), parents.tolist(), strict=True):
            self._link_near(node, parent)
        return nodes

    def add_ways(
        self, parents: Nodes, tokens: NDArray[np.uint8], lengths: NDArray[np.intp], result: FollowResult
    ) -> list[list[Node]]:
        """Make the nodes on the way of each row: child, grandchild, ...; as many as its length; reserve them before.

        parents: [rows].  tokens: uint8 [steps, rows].  lengths: [rows], 1 to steps.  No (parent, first token) may be
        held yet or occur twice. Returns a list of nodes per row, from the top down.
        """
        steps, rows = tokens.shape
        wanted = np.arange(steps)[:, None] < lengths  # [steps, rows]
        picked = np.flatnonzero(wanted)
        nodes = self._rows.take(len(picked))
        heads = (result.top_tokens.reshape(steps * rows, -1), result.top_log_probabilities.reshape(steps * rows, -1))
        self._rows.keep(nodes, [state.reshape(steps * rows, -1) for state in result.states], *heads, picked)
        grid = np.full((steps + 1, rows), NO_NODE, np.int32)
        grid[0] = parents
        grid[1:].reshape(-1)[picked] = nodes
        self._keys[nodes] = prefix_key.extend_ways(self._keys[parents], tokens).reshape(-1, 2)[picked]
        self._links.depth[nodes] = (self._links.depth[parents] + np.arange(1, steps + 1)[:, None]).reshape(-1)[picked]
        self._links.token[nodes] = tokens.reshape(-1)[picked]
        # Below the first step every parent is new and has one child, so whole columns are linked at once.
        first, above, below = grid[1], grid[1:-1][wanted[1:]], grid[2:][wanted[1:]]
        self._links.chain(above, below)
        for node, parent in zip(first.tolist(), parents.tolist(), strict=True):
            self._link_near(node, parent)
        return [way[:length] for way, length in zip(grid[1:].T.tolist(), lengths.tolist(), strict=True)]

    def add_ends(self, parents: Nodes, tokens: NDArray[np.uint8], result: FollowResult) -> list[Node]:
        """Make the last node of each row's way only, a far node; what is held already is taken. Reserve them before.

        parents: [rows].  tokens: uint8 [steps, rows], two steps or more.
        """
        keys = prefix_key.extend_ways(self._keys[parents], tokens)[-1]
        known = [self._far.find((low, high)) for low, high in keys.tolist()]
        new = np.array([row for row, node in enumerate(known) if node is None], np.intp)
        nodes = self._rows.take(len(new))
        last = [state[-1] for state in result.states]
        self._rows.keep(nodes, last, result.top_tokens[-1], result.top_log_probabilities[-1], new)
        self._keys[nodes] = keys[new]
        self._links.depth[nodes] = self._links.depth[parents[new]] + len(tokens)
        self._links.token[nodes] = tokens[-1, new]
        for node, parent in zip(nodes.tolist(), parents[new].tolist(), strict=True):
            self._links.link_far(node, parent)
            self._far.add(node)
        fresh = iter(nodes.tolist())
        return [Node(next(fresh) if node is None else node) for node in known]

    def add_far(self, parent: Node, tokens: bytes, result: StepResult, row: int) -> Node:
        """Make the node `tokens` (two or more) below `parent` from a chunk's result, or return it if it is held."""
        key = prefix_key.extend(self._key(parent), tokens)
        known = self._far.find(key)
        if known is not None:
            return Node(known)
        node = self._rows.take_one()
        self._rows.keep_one(node, result, row)
        self._depth_of[node] = self._depth_of[parent] + len(tokens)
        self._links.token_of[node] = tokens[-1]
        self._keys[node] = key
        self._links.link_far(node, parent)
        self._far.add(node)
        return node

    def add_restored(
        self, root: Node, text: bytes, states: Sequence[NDArray[np.generic]], head: tuple[NDArray[np.uint8], Logs]
    ) -> Node:
        """Make the node of `text`, two tokens or more, from a state that was taken out before; reserve a row before.

        A node that was restored of the same text is taken. One that was fed is not found, nor the other way round.
        states: [width] per recurrent tensor.  head: the likeliest next tokens and their probabilities, [top_k] each.
        """
        key = prefix_key.of_text(self._scope_of_root[root], text)
        known = self._far.find(key)
        if known is not None:
            return Node(known)
        node = self._rows.take_one()
        self._rows.put(node, states, *head)
        self._depth_of[node], self._links.token_of[node] = len(text), text[-1]
        self._keys[node] = key
        self._links.link_far(node, root)
        self._far.add(node)
        return node

    def reserve(self, rows: int) -> None:
        """Make sure that `rows` nodes can be added, dropping others if need be. Raises TreeFull."""
        if self._rows.free_count < rows:
            self._rows.grow(rows - self._rows.free_count)
        while self._rows.free_count < rows:
            self._drop(self._dropping.some(rows - self._rows.free_count))

    @property
    def owes(self) -> bool:
        """Whether other models have a claim to rows of this one. May be read from any thread."""
        return self._rows.blocks.owes_rows > 0

    def give_back(self) -> bool:
        """Drop what was not used for longest, by the block, and let others have its memory; whether there was any.

        What work stands on stays, and so do the roots of scopes that have paths.
        """
        rows = self._rows
        blocks = rows.blocks.coldest(rows.used_at, ~self._dropping.movable(), rows.blocks.owes_rows)
        self._drop(np.flatnonzero(rows.in_blocks(blocks) & (rows.used_at > 0)).astype(np.int32))
        rows.shrink(blocks)
        return bool(blocks)

    def release(self) -> None:
        """Give all rows back, with their memory and the share of the budget. Called once, last."""
        self._rows.blocks.release()
        vars(self).clear()  # every slab, column and view

    # -- holding ------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Advance the clock of last use."""
        self._rows.now += 1

    def touch(self, node: Node, levels: int = 1) -> None:
        """Mark the node and some above it as used now."""
        now = self._rows.now
        for _ in range(levels):
            self._used_of[node] = now
            parent = self._parent_of[node]
            if parent < 0:
                return
            node = Node(parent)

    def pin(self, node: Node) -> None:
        """Running work stands on the node."""
        self._pins_of[node] += 1
        self._used_of[node] = self._rows.now

    def unpin(self, nodes: Iterable[Node]) -> None:
        """Running work lets the nodes go."""
        for node in nodes:
            self._pins_of[node] -= 1

    def occupy(self, node: Node) -> None:
        """A path stands on the node."""
        self._occupied_of[node] += 1
        self._used_of[node] = self._rows.now

    def vacate(self, node: Node) -> None:
        """A path leaves the node."""
        self._occupied_of[node] -= 1

    # -- inside -------------------------------------------------------------------------------------------------

    def _key(self, node: Node) -> prefix_key.Key:
        low, high = self._keys[node].tolist()
        return low, high

    def _link_near(self, node: int, parent: int) -> None:
        self._links.link_near(node, parent, self._top_token_of[parent, 0])

    def _drop(self, nodes: Nodes) -> None:
        """Drop droppable nodes, all at once; who loses its parent becomes a far child of the next one above."""
        leaving, links = self._leaving, self._links
        parents = links.parent[nodes]
        leaving[nodes] = True
        above_root = parents < 0
        for root in nodes[above_root].tolist():
            del self._roots[self._scope_of_root.pop(root)]
        heirs = np.flatnonzero((links.parent >= 0) & leaving[links.parent] & ~leaving).astype(np.int32)
        were_far = links.are_far(heirs)
        inherited = self._stay_above(links.parent[heirs])
        for node in nodes[~above_root & links.are_far(nodes)].tolist():
            self._far.remove(node)
        for node in nodes[~above_root & ~leaving[parents]].tolist():
            links.unlink(node)
        for node, parent, was_far in zip(heirs.tolist(), inherited.tolist(), were_far.tolist(), strict=True):
            links.link_far(node, parent)
            if not was_far:
                self._far.add(node)
        self._displace(nodes[self._rows.occupied[nodes] > 0])
        links.clear(nodes)
        leaving[nodes] = False
        self._rows.put_back(nodes)

    def _stay_above(self, nodes: Nodes) -> Nodes:
        """For each node itself, if it does not leave, or else the first above it that does not."""
        while (gone := self._leaving[nodes]).any():
            nodes = np.where(gone, self._links.parent[nodes], nodes)
        return nodes

    def _displace(self, nodes: Nodes) -> None:
        for node, stays in zip(nodes.tolist(), self._stay_above(nodes).tolist(), strict=True):
            self._occupied_of[stays] += self._occupied_of[node]
            self.displaced.append((Node(node), Node(stays)))

    def check(self) -> None:
        """Raise AssertionError if links, counts, the free list or the index disagree; slow, for tests."""
        self._rows.check()
        links = self._links
        reachable, far = set(self._roots.values()), 0
        stack = list(reachable)
        while stack:
            node = stack.pop()
            for child in links.children(node):
                if links.parent[child] != node or child in reachable or links.depth[child] <= links.depth[node]:
                    raise AssertionError(f"node {child} is not a proper child of {node}")
                far += links.is_far(child)
                likely = not links.is_far(child) and links.token[child] == self.top_tokens[node, 0]
                if likely != (links.likely[node] == child):
                    raise AssertionError(f"node {node} does not know its likely child {child}")
                reachable.add(Node(child))
                stack.append(Node(child))
        if reachable != set(np.flatnonzero(self._rows.used_at > 0).tolist()):
            raise AssertionError("a node in use cannot be reached from a root")
        if far != len(self._far):
            raise AssertionError(f"{far} far edges, {len(self._far)} in the index")
