"""The links that make rows a tree: parent, children, siblings, and the near child by the likeliest token.

An edge is near (the child is one token longer) or far. Each node has two lists of children, linked both ways, so that
linking and unlinking take the same time however many siblings there are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from service.engine.state_rows import Nodes

NO_NODE = -1
_COLUMNS = ("parent", "first_near", "first_far", "next_sibling", "previous_sibling", "likely_child")
LINK_BYTES = 4 * len(_COLUMNS) + 4 + 1  # of a row: these, its depth, its token


class Links:
    """Columns [rows] of node numbers, NO_NODE where there is none; `depth` int32 and `token` uint8 of each node.

    Single elements are read and written through memoryviews (`..._of`): a third of the cost of a NumPy scalar.
    """

    def __init__(self, rows: int) -> None:
        columns = {name: np.full(rows, NO_NODE, np.int32) for name in _COLUMNS}
        self.parent, self.first_near, self.first_far = columns["parent"], columns["first_near"], columns["first_far"]
        self.next, self.previous = columns["next_sibling"], columns["previous_sibling"]
        self.likely = columns["likely_child"]
        self.depth = np.zeros(rows, np.int32)
        self.token = np.zeros(rows, np.uint8)
        self.parent_of = self.parent.data
        self.near_of = self.first_near.data
        self.far_of = self.first_far.data
        self.likely_of = self.likely.data
        self.depth_of = self.depth.data
        self.token_of = self.token.data
        self.next_of = self.next.data
        self._previous_of = self.previous.data

    def link_near(self, node: int, parent: int, likeliest: int) -> None:
        """Hang the node below, one token on; `likeliest` is the parent's likeliest token."""
        self._link(node, parent, self.near_of)
        if self.token_of[node] == likeliest:
            self.likely_of[parent] = node

    def link_far(self, node: int, parent: int) -> None:
        """Hang the node below, two tokens or more on."""
        self._link(node, parent, self.far_of)

    def _link(self, node: int, parent: int, first_of: memoryview) -> None:
        head = first_of[parent]
        self.parent_of[node] = parent
        self.next_of[node] = head
        self._previous_of[node] = NO_NODE
        if head >= 0:
            self._previous_of[head] = node
        first_of[parent] = node

    def chain(self, above: Nodes, below: Nodes) -> None:
        """Hang each of `below` under the one of `above`, as its only and likely near child."""
        self.first_near[above] = self.likely[above] = below
        self.parent[below] = above
        self.next[below] = self.previous[below] = NO_NODE

    def unlink(self, node: int) -> None:
        """Take the node from its parent's list."""
        parent, following, previous = self.parent_of[node], self.next_of[node], self._previous_of[node]
        if following >= 0:
            self._previous_of[following] = previous
        if previous >= 0:
            self.next_of[previous] = following
        elif self.is_far(node):
            self.far_of[parent] = following
        else:
            self.near_of[parent] = following
        if self.likely_of[parent] == node:
            self.likely_of[parent] = NO_NODE

    def clear(self, nodes: Nodes) -> None:
        """Nothing hangs on these rows any more."""
        for column in (self.first_near, self.first_far, self.parent, self.likely):
            column[nodes] = NO_NODE

    def is_far(self, node: int) -> bool:
        """Whether the node, which has a parent, is more than one token below it."""
        return bool(self.depth_of[node] != self.depth_of[self.parent_of[node]] + 1)

    def are_far(self, nodes: Nodes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """As `is_far`, of many."""
        far: np.ndarray[tuple[int], np.dtype[np.bool_]] = self.depth[nodes] != self.depth[self.parent[nodes]] + 1
        return far

    def near_child(self, node: int, token: int) -> int:
        """The near child by that token, or NO_NODE."""
        child: int = self.near_of[node]
        while child >= 0 and self.token_of[child] != token:
            child = self.next_of[child]
        return child

    def children(self, node: int) -> Iterator[int]:
        """Near ones first. The one that was yielded may be unlinked."""
        for first_of in (self.near_of, self.far_of):
            child = first_of[node]
            while child >= 0:
                following = self.next_of[child]
                yield child
                child = following
