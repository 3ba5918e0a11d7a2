"""The rows of a state tree: slabs of recurrent state and heads, which rows are taken, and when each was used last.

A row holds what a node is: the state after its tokens and the head of its next-token distribution. Rows are taken from
a shared byte budget by the block and given back with their memory. No Python object per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NewType

import numpy as np
from numpy.typing import NDArray

from service.engine.budget import Share
from service.engine.ports import States, StateShape, StepResult
from service.engine.row_blocks import RowBlocks

Node = NewType("Node", int)
Nodes = NDArray[np.int32]

_LEAST_ROWS = 16
_OWN_BYTES = 4 + 4 + 8 + 4  # of a row: pins, paths, last use, its place on the free list


class BudgetTooSmall(Exception):
    """The budget holds too few states to work with; the message says how much is needed."""


class StateRows:
    """Rows under a byte budget. Columns are open to the tree that they are of, and to nobody else.

    top_tokens, top_log_probabilities: [rows, top_k], the heads.  used_at: int64 [rows], the tick of the last use, 0 for
    a free row.  pins, occupied: int32 [rows], how much work and how many paths stand there.
    """

    def __init__(self, shapes: Sequence[StateShape], top_k: int, share: Share, link_bytes: int) -> None:
        """link_bytes: what the tree keeps of a row beside this. Raises BudgetTooSmall."""
        head_bytes = top_k * 5
        self.row_bytes = sum(shape.row_bytes for shape in shapes) + head_bytes + _OWN_BYTES + link_bytes
        self.capacity = rows = share.total_bytes // self.row_bytes
        least = min(rows, share.guaranteed_bytes // self.row_bytes)
        if least < _LEAST_ROWS:
            enough = -(-share.total_bytes * _LEAST_ROWS * self.row_bytes // share.guaranteed_bytes)
            raise BudgetTooSmall(
                f"a state budget of {share.total_bytes} bytes gives a model {least} states of {self.row_bytes}; "
                f"at least {_LEAST_ROWS} are needed: give at least {enough}"
            )
        self.blocks = RowBlocks(rows, self.row_bytes, share)
        # np.empty touches no page: memory is taken as rows are used, lowest first.
        self._states = [np.empty((rows, shape.width), shape.dtype) for shape in shapes]
        self.top_tokens = np.empty((rows, top_k), np.uint8)
        self.top_log_probabilities = np.empty((rows, top_k), np.float32)
        self.pins = np.zeros(rows, np.int32)
        self.occupied = np.zeros(rows, np.int32)
        self.used_at = np.zeros(rows, np.int64)
        self.used_of = self.used_at.data  # single elements: a third of the cost of a NumPy scalar
        self._free = np.empty(rows, np.int32)  # of the rows that the budget granted
        self.free_count = 0
        self.now = 1
        self.grow(1)

    @property
    def held(self) -> int:
        """How many rows are taken."""
        return self.blocks.owned_rows - self.free_count

    def gather(self, nodes: Nodes) -> list[NDArray[np.generic]]:
        """The states of many nodes as fresh arrays [rows, width], one per recurrent tensor."""
        return [slab.take(nodes, axis=0) for slab in self._states]

    def take_one(self) -> Node:
        """A free row, used now; there must be one."""
        assert self.free_count, "a row was reserved before"
        self.free_count -= 1
        node = Node(int(self._free[self.free_count]))
        self.used_of[node] = self.now
        return node

    def take(self, count: int) -> Nodes:
        """So many free rows, used now; there must be as many."""
        assert count <= self.free_count, "rows were reserved before"
        nodes: Nodes = self._free[self.free_count - count : self.free_count][::-1].copy()
        self.free_count -= count
        self.used_at[nodes] = self.now
        return nodes

    def put_back(self, nodes: Nodes) -> None:
        """They are free again."""
        self.occupied[nodes] = self.used_at[nodes] = 0
        self._free[self.free_count : self.free_count + len(nodes)] = nodes
        self.free_count += len(nodes)

    def keep(
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

    def keep_one(self, node: Node, result: StepResult, row: int) -> None:
        """Keep one row of a result as the node's state and head."""
        states = [state[row] for state in result.states]
        self.put(node, states, result.top_tokens[row], result.top_log_probabilities[row])

    def put(
        self,
        node: Node,
        states: Sequence[NDArray[np.generic]],
        top_tokens: NDArray[np.integer],
        top_log_probabilities: NDArray[np.float32],
    ) -> None:
        """Keep the state ([width] per recurrent tensor) and the head ([top_k]) of a node."""
        for slab, state in zip(self._states, states, strict=True):
            slab[node] = state
        self.top_tokens[node], self.top_log_probabilities[node] = top_tokens, top_log_probabilities

    def grow(self, rows: int) -> None:
        """Take so many more from the budget, or as many as it has."""
        new = self.blocks.grow(rows)[::-1]  # so that the lowest are used first
        self._free[self.free_count : self.free_count + len(new)] = new
        self.free_count += len(new)

    def in_blocks(self, blocks: Sequence[int]) -> NDArray[np.bool_]:
        """Which rows lie in these blocks."""
        return np.isin(np.arange(len(self.used_at)) // self.blocks.block_rows, blocks)

    def shrink(self, blocks: Sequence[int]) -> None:
        """Give blocks back to the budget, all of whose rows are free."""
        free = self._free[: self.free_count]
        staying = free[~self.in_blocks(blocks)[free]]
        self.free_count = len(staying)
        self._free[: self.free_count] = staying
        self.blocks.shrink(blocks, [*self._states, self.top_tokens, self.top_log_probabilities])

    def check(self) -> None:
        """Raise AssertionError if the counts and the free list disagree; for tests."""
        held = np.flatnonzero(self.used_at > 0)
        if len(held) != self.held:
            raise AssertionError(f"{len(held)} rows are in use, {self.held} are counted")
        if set(self._free[: self.free_count].tolist()) & set(held.tolist()):
            raise AssertionError("a row in use is on the free list")
