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

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NewType

import numpy as np
from numpy.typing import NDArray

from service.engine import prefix_key
from service.engine.budget import Share, StateBudget
from service.engine.far_index import FarIndex
from service.engine.ports import FollowResult, States, StateShape, StepResult
from service.engine.retention import Retention
from service.engine.row_blocks import RowBlocks

Node = NewType("Node", int)
Nodes = NDArray[np.int32]
Logs = NDArray[np.float32]

NO_NODE = Node(-1)  # in the link columns only; no public method takes or returns it
_LOOKS, _DROPS = 16, 64  # a look at all rows finds a sixteenth of them to drop; a 64th are dropped at a time
_LEAST_ROWS = 16
_LINK_COLUMNS = ("parent", "first_near", "first_far", "next_sibling", "previous_sibling", "likely_child")


@dataclass(frozen=True, slots=True)
class Way:
    """Nodes below each other, the tokens that led to them, and each token's natural-log probability."""

    nodes: list[Node]
    tokens: bytes
    log_probabilities: list[float]


class BudgetTooSmall(Exception):
    """The budget holds too few states to work with; the message says how much is needed."""


class TreeFull(Exception):
    """Every row is in use by running work; nothing can be dropped."""


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
        share = StateBudget(config.budget_bytes).join() if share is None else share
        head_bytes = top_k * 5
        columns_bytes = 4 * len(_LINK_COLUMNS) + 4 + 1 + 4 + 4 + 8 + 16 + 4
        self.row_bytes = sum(shape.row_bytes for shape in shapes) + head_bytes + columns_bytes
        self.capacity = rows = share.total_bytes // self.row_bytes
        least = min(rows, share.guaranteed_bytes // self.row_bytes)
        if least < _LEAST_ROWS:
            enough = -(-share.total_bytes * _LEAST_ROWS * self.row_bytes // share.guaranteed_bytes)
            raise BudgetTooSmall(
                f"a state budget of {share.total_bytes} bytes gives a model {least} states of {self.row_bytes}; "
                f"at least {_LEAST_ROWS} are needed: give at least {enough}"
            )
        self._blocks = RowBlocks(rows, self.row_bytes, share)
        self._top_k = top_k
        self._retention = config.retention
        # np.empty touches no page: memory is taken as rows are used, lowest first.
        self._states = [np.empty((rows, shape.width), shape.dtype) for shape in shapes]
        self.top_tokens = np.empty((rows, top_k), np.uint8)
        self.top_log_probabilities = np.empty((rows, top_k), np.float32)
        self._depth = np.zeros(rows, np.int32)
        self._token = np.zeros(rows, np.uint8)
        self._pins = np.zeros(rows, np.int32)
        self._occupied = np.zeros(rows, np.int32)
        self._used_at = np.zeros(rows, np.int64)  # 0: the row is free
        self._keys = np.zeros((rows, 2), np.uint64)
        links = {name: np.full(rows, NO_NODE, np.int32) for name in _LINK_COLUMNS}
        self._parent, self._first_near, self._first_far = links["parent"], links["first_near"], links["first_far"]
        self._next, self._previous = links["next_sibling"], links["previous_sibling"]
        self._likely = links["likely_child"]  # the near child by the likeliest token
        # Single elements are read and written through memoryviews: a third of the cost of a NumPy scalar.
        self._parent_of = self._parent.data
        self._near_of = self._first_near.data
        self._far_of = self._first_far.data
        self._likely_of = self._likely.data
        self._next_of = self._next.data
        self._previous_of = self._previous.data
        self._depth_of = self._depth.data
        self._token_of = self._token.data
        self._pins_of = self._pins.data
        self._occupied_of = self._occupied.data
        self._used_of = self._used_at.data
        self._top_token_of = self.top_tokens.data
        self._top_log_probability_of = self.top_log_probabilities.data
        self._free = np.empty(rows, np.int32)  # of the rows that the budget granted
        self._free_count = 0
        self._far = FarIndex(self._keys)
        self._roots: dict[str, Node] = {}
        self._scope_of_root: dict[Node, str] = {}
        self._now = 1
        self.visits = 0
        self.displaced: list[tuple[Node, Node]] = []
        # What the last look at all rows found worth dropping, best first, and when each was used last then.
        self._to_drop: Nodes = np.empty(0, np.int32)
        self._used_then: NDArray[np.int64] = np.empty(0, np.int64)
        self._leaving = np.zeros(rows, np.bool_)
        self._grow(1)

    # -- reading ------------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """How many nodes there are."""
        return self._blocks.owned_rows - self._free_count

    @property
    def free_rows(self) -> int:
        """How many nodes can be added without dropping any."""
        return self._free_count

    @property
    def held_bytes(self) -> int:
        """Bytes of the budget that are in use."""
        return self.held * self.row_bytes

    def depth(self, node: Node) -> int:
        """How many tokens lie between the root and the node."""
        return self._depth_of[node]

    def child(self, node: Node, token: int) -> Node | None:
        """The near child by that token, if it is held."""
        child = self._near_of[node]
        while child >= 0:
            if self._token_of[child] == token:
                return Node(child)
            child = self._next_of[child]
        return None

    def visit(self, node: Node, token: int) -> Node | None:
        """As `child`, and the child counts as used now."""
        child = self.child(node, token)
        if child is not None:
            self._used_of[child] = self._now
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
        return [slab.take(nodes, axis=0) for slab in self._states]

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
        likely_of, token_of, used_of = self._likely_of, self._token_of, self._used_of
        log_probability_of, second, now = self._top_log_probability_of, min(1, self._top_k - 1), self._now
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
        row = self._allocate()
        self._store_one(row, start, 0)
        self._depth[row], self._token[row] = 0, 0
        self._parent_of[row] = NO_NODE
        self._keys[row] = prefix_key.root_key(scope)
        self._roots[scope], self._scope_of_root[row] = row, scope
        return row

    def add_near(self, parents: Nodes, tokens: NDArray[np.uint8], result: StepResult, rows: NDArray[np.intp]) -> Nodes:
        """Make the children of `parents` by `tokens` from rows `rows` of a step's result; reserve the space before.

        No such child may be held yet, and no (parent, token) may occur twice.
        """
        nodes = self._take_rows(len(parents))
        self._store(nodes, result.states, result.top_tokens, result.top_log_probabilities, rows)
        self._depth[nodes] = self._depth[parents] + 1
        self._token[nodes] = tokens
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
        nodes = self._take_rows(len(picked))
        heads = (result.top_tokens.reshape(steps * rows, -1), result.top_log_probabilities.reshape(steps * rows, -1))
        self._store(nodes, [state.reshape(steps * rows, -1) for state in result.states], *heads, picked)
        grid = np.full((steps + 1, rows), NO_NODE, np.int32)
        grid[0] = parents
        grid[1:].reshape(-1)[picked] = nodes
        self._keys[nodes] = prefix_key.extend_ways(self._keys[parents], tokens).reshape(-1, 2)[picked]
        self._depth[nodes] = (self._depth[parents] + np.arange(1, steps + 1)[:, None]).reshape(-1)[picked]
        self._token[nodes] = tokens.reshape(-1)[picked]
        # Below the first step every parent is new and has one child, so whole columns are linked at once.
        first, above, below = grid[1], grid[1:-1][wanted[1:]], grid[2:][wanted[1:]]
        self._first_near[above] = self._likely[above] = below
        self._parent[below] = above
        self._next[below] = self._previous[below] = NO_NODE
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
        nodes = self._take_rows(len(new))
        last = [state[-1] for state in result.states]
        self._store(nodes, last, result.top_tokens[-1], result.top_log_probabilities[-1], new)
        self._keys[nodes] = keys[new]
        self._depth[nodes] = self._depth[parents[new]] + len(tokens)
        self._token[nodes] = tokens[-1, new]
        for node, parent in zip(nodes.tolist(), parents[new].tolist(), strict=True):
            self._link(node, parent, self._far_of)
            self._far.add(node)
        fresh = iter(nodes.tolist())
        return [Node(next(fresh) if node is None else node) for node in known]

    def add_far(self, parent: Node, tokens: bytes, result: StepResult, row: int) -> Node:
        """Make the node `tokens` (two or more) below `parent` from a chunk's result, or return it if it is held."""
        key = prefix_key.extend(self._key(parent), tokens)
        known = self._far.find(key)
        if known is not None:
            return Node(known)
        node = self._allocate()
        self._store_one(node, result, row)
        self._depth_of[node] = self._depth_of[parent] + len(tokens)
        self._token_of[node] = tokens[-1]
        self._keys[node] = key
        self._link(node, parent, self._far_of)
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
        node = self._allocate()
        for slab, state in zip(self._states, states, strict=True):
            slab[node] = state
        self.top_tokens[node], self.top_log_probabilities[node] = head
        self._depth_of[node], self._token_of[node] = len(text), text[-1]
        self._keys[node] = key
        self._link(node, root, self._far_of)
        self._far.add(node)
        return node

    def reserve(self, rows: int) -> None:
        """Make sure that `rows` nodes can be added, dropping others if need be. Raises TreeFull."""
        if self._free_count < rows:
            self._grow(rows - self._free_count)
        while self._free_count < rows:
            if not len(self._to_drop):
                self._look_for_victims(rows - self._free_count)
            some = max(rows - self._free_count, self._blocks.owned_rows // _DROPS)
            nodes, used_then = self._to_drop[:some], self._used_then[:some]
            self._to_drop, self._used_then = self._to_drop[some:], self._used_then[some:]
            # Whatever was used since the look is not among the oldest any more.
            self._drop(nodes[(self._used_at[nodes] == used_then) & self._droppable(nodes)])

    @property
    def owes(self) -> bool:
        """Whether other models have a claim to rows of this one. May be read from any thread."""
        return self._blocks.owes_rows > 0

    def give_back(self) -> bool:
        """Drop what was not used for longest, by the block, and let others have its memory; whether there was any.

        What work stands on stays, and so do the roots of scopes that have paths.
        """
        used = self._used_at > 0
        immovable = np.zeros(len(used), np.bool_)
        held = np.flatnonzero(used).astype(np.int32)
        immovable[held] = ~self._droppable(held)
        blocks = self._blocks.coldest(self._used_at, immovable, self._blocks.owes_rows)
        leaving = np.isin(np.arange(len(used)) // self._blocks.block_rows, blocks)
        self._drop(np.flatnonzero(leaving & used).astype(np.int32))
        free = self._free[: self._free_count]
        staying = free[~leaving[free]]
        self._free_count = len(staying)
        self._free[: self._free_count] = staying
        self._blocks.shrink(blocks, [*self._states, self.top_tokens, self.top_log_probabilities])
        return bool(blocks)

    def release(self) -> None:
        """Give all rows back, with their memory and the share of the budget. Called once, last."""
        self._blocks.release()
        vars(self).clear()  # every slab, column and view

    def _grow(self, rows: int) -> None:
        new = self._blocks.grow(rows)[::-1]  # so that the lowest are used first
        self._free[self._free_count : self._free_count + len(new)] = new
        self._free_count += len(new)

    # -- holding ------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Advance the clock of last use."""
        self._now += 1

    def touch(self, node: Node, levels: int = 1) -> None:
        """Mark the node and some above it as used now."""
        now = self._now
        for _ in range(levels):
            self._used_of[node] = now
            parent = self._parent_of[node]
            if parent < 0:
                return
            node = Node(parent)

    def pin(self, node: Node) -> None:
        """Running work stands on the node."""
        self._pins_of[node] += 1
        self._used_of[node] = self._now

    def unpin(self, nodes: Iterable[Node]) -> None:
        """Running work lets the nodes go."""
        for node in nodes:
            self._pins_of[node] -= 1

    def occupy(self, node: Node) -> None:
        """A path stands on the node."""
        self._occupied_of[node] += 1
        self._used_of[node] = self._now

    def vacate(self, node: Node) -> None:
        """A path leaves the node."""
        self._occupied_of[node] -= 1

    # -- inside -------------------------------------------------------------------------------------------------

    def _key(self, node: Node) -> prefix_key.Key:
        low, high = self._keys[node].tolist()
        return low, high

    def _allocate(self) -> Node:
        assert self._free_count, "a row was reserved before"
        self._free_count -= 1
        node = Node(int(self._free[self._free_count]))
        self._used_of[node] = self._now
        return node

    def _take_rows(self, count: int) -> Nodes:
        assert count <= self._free_count, "rows were reserved before"
        nodes: Nodes = self._free[self._free_count - count : self._free_count][::-1].copy()
        self._free_count -= count
        self._used_at[nodes] = self._now
        return nodes

    def _store(
        self,
        nodes: Nodes,
        states: States,
        top_tokens: NDArray[np.int64],
        top_log_probabilities: NDArray[np.float32],
        rows: NDArray[np.intp],
    ) -> None:
        """Keep rows `rows` of a result, in rising order, as these nodes' states and heads."""
        everything: slice | NDArray[np.intp] = slice(None) if len(rows) == len(top_tokens) else rows
        for slab, state in zip(self._states, states, strict=True):
            slab[nodes] = state[everything]  # a view if it is all of them: copying states is what this costs
        self.top_tokens[nodes] = top_tokens[everything]
        self.top_log_probabilities[nodes] = top_log_probabilities[everything]

    def _store_one(self, node: Node, result: StepResult, row: int) -> None:
        for slab, state in zip(self._states, result.states, strict=True):
            slab[node] = state[row]
        self.top_tokens[node] = result.top_tokens[row]
        self.top_log_probabilities[node] = result.top_log_probabilities[row]

    def _link_near(self, node: int, parent: int) -> None:
        self._link(node, parent, self._near_of)
        if self._token_of[node] == self._top_token_of[parent, 0]:
            self._likely_of[parent] = node

    def _link(self, node: int, parent: int, first_of: memoryview) -> None:
        head = first_of[parent]
        self._parent_of[node] = parent
        self._next_of[node] = head
        self._previous_of[node] = NO_NODE
        if head >= 0:
            self._previous_of[head] = node
        first_of[parent] = node

    def _unlink(self, node: int) -> None:
        parent, following, previous = self._parent_of[node], self._next_of[node], self._previous_of[node]
        if following >= 0:
            self._previous_of[following] = previous
        if previous >= 0:
            self._next_of[previous] = following
        elif self._is_far(node):
            self._far_of[parent] = following
        else:
            self._near_of[parent] = following
        if self._likely_of[parent] == node:
            self._likely_of[parent] = NO_NODE

    def _is_far(self, node: int) -> bool:
        return bool(self._depth_of[node] != self._depth_of[self._parent_of[node]] + 1)

    def _children(self, node: int) -> Iterator[int]:
        for first_of in (self._near_of, self._far_of):
            child = first_of[node]
            while child >= 0:
                following = self._next_of[child]
                yield child
                child = following

    def _drop(self, nodes: Nodes) -> None:
        """Drop droppable nodes, all at once; who loses its parent becomes a far child of the next one above."""
        leaving, parents = self._leaving, self._parent[nodes]
        leaving[nodes] = True
        above_root = parents < 0
        for root in nodes[above_root].tolist():
            del self._roots[self._scope_of_root.pop(root)]
        heirs = np.flatnonzero((self._parent >= 0) & leaving[self._parent] & ~leaving)
        were_far = self._depth[heirs] != self._depth[self._parent[heirs]] + 1
        inherited = self._stay_above(self._parent[heirs])
        for node in nodes[~above_root & (self._depth[nodes] != self._depth[parents] + 1)].tolist():
            self._far.remove(node)
        for node in nodes[~above_root & ~leaving[parents]].tolist():
            self._unlink(node)
        for node, parent, was_far in zip(heirs.tolist(), inherited.tolist(), were_far.tolist(), strict=True):
            self._link(node, parent, self._far_of)
            if not was_far:
                self._far.add(node)
        self._displace(nodes[self._occupied[nodes] > 0])
        for column in (self._first_near, self._first_far, self._parent, self._likely):
            column[nodes] = NO_NODE
        self._occupied[nodes] = self._used_at[nodes] = 0
        leaving[nodes] = False
        self._free[self._free_count : self._free_count + len(nodes)] = nodes
        self._free_count += len(nodes)

    def _stay_above(self, nodes: Nodes) -> Nodes:
        """For each node itself, if it does not leave, or else the first above it that does not."""
        while (gone := self._leaving[nodes]).any():
            nodes = np.where(gone, self._parent[nodes], nodes)
        return nodes

    def _displace(self, nodes: Nodes) -> None:
        for node, stays in zip(nodes.tolist(), self._stay_above(nodes).tolist(), strict=True):
            self._occupied_of[stays] += self._occupied_of[node]
            self.displaced.append((Node(node), Node(stays)))

    def _droppable(self, nodes: Nodes) -> NDArray[np.bool_]:
        """Whether no work uses a node; a root, whether also nothing hangs below it and no path stands in its scope."""
        busy_root = (self._parent[nodes] < 0) & (
            (self._first_near[nodes] >= 0) | (self._first_far[nodes] >= 0) | (self._occupied[nodes] > 0)
        )
        free = (self._used_at[nodes] > 0) & (self._pins[nodes] == 0)
        droppable: NDArray[np.bool_] = free & ~busy_root
        return droppable

    def _look_for_victims(self, wanted: int) -> None:
        """Find what to drop next: first what retention does not ask for; least recently used first. Raises TreeFull."""
        distance = self._retention.distances(self._parent, self._depth, np.flatnonzero(self._occupied > 0))
        kept = self._retention.keeps(self._depth, distance)
        nodes = np.flatnonzero(self._used_at > 0).astype(np.int32)
        nodes = nodes[self._droppable(nodes)]
        if len(nodes) < wanted:
            raise TreeFull(f"{self.held} states are in use and {wanted} more are wanted")
        order = np.lexsort((self._used_at[nodes], self._occupied[nodes] > 0, kept[nodes]))
        # Of what retention does not ask for a longer list is worth keeping: it only gets older.
        unasked = min(int(np.count_nonzero(~kept[nodes])), self._blocks.owned_rows // 4)
        self._to_drop = nodes[order[: max(wanted, self._blocks.owned_rows // _LOOKS, unasked)]]
        self._used_then = self._used_at[self._to_drop]

    def check(self) -> None:
        """Raise AssertionError if links, counts, the free list or the index disagree; slow, for tests."""
        held = np.flatnonzero(self._used_at > 0)
        if len(held) != self.held:
            raise AssertionError(f"{len(held)} rows are in use, {self.held} are counted")
        if set(self._free[: self._free_count].tolist()) & set(held.tolist()):
            raise AssertionError("a row in use is on the free list")
        reachable, far = set(self._roots.values()), 0
        stack = list(reachable)
        while stack:
            node = stack.pop()
            for child in self._children(node):
                if (
                    self._parent_of[child] != node
                    or child in reachable
                    or self._depth_of[child] <= self._depth_of[node]
                ):
                    raise AssertionError(f"node {child} is not a proper child of {node}")
                far += self._is_far(child)
                likely = not self._is_far(child) and self._token[child] == self.top_tokens[node, 0]
                if likely != (self._likely[node] == child):
                    raise AssertionError(f"node {node} does not know its likely child {child}")
                reachable.add(Node(child))
                stack.append(Node(child))
        if reachable != set(held.tolist()):
            raise AssertionError("a node in use cannot be reached from a root")
        if far != len(self._far):
            raise AssertionError(f"{far} far edges, {len(self._far)} in the index")
