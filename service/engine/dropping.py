"""Which nodes are dropped when rows are wanted: first what retention does not ask for, least recently used first.

A look at all rows finds many victims at once, because it costs as much for one; they are used up over many ticks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.engine.links import Links
from service.engine.retention import Retention
from service.engine.state_rows import Nodes, StateRows

_LOOKS, _DROPS = 16, 64  # a look at all rows finds a sixteenth of them to drop; a 64th are dropped at a time


class TreeFull(Exception):
    """Every row is in use by running work; nothing can be dropped."""


class Dropping:
    """The choice only: whoever asks drops them. Owned by one tree."""

    def __init__(self, rows: StateRows, links: Links, retention: Retention) -> None:
        self._rows, self._links, self._retention = rows, links, retention
        # What the last look found worth dropping, best first, and when each was used last then.
        self._found: Nodes = np.empty(0, np.int32)
        self._used_then: NDArray[np.int64] = np.empty(0, np.int64)

    def droppable(self, nodes: Nodes) -> NDArray[np.bool_]:
        """Whether no work uses a node; a root, whether also nothing hangs below it and no path stands in its scope."""
        rows, links = self._rows, self._links
        busy_root = (links.parent[nodes] < 0) & (
            (links.first_near[nodes] >= 0) | (links.first_far[nodes] >= 0) | (rows.occupied[nodes] > 0)
        )
        free = (rows.used_at[nodes] > 0) & (rows.pins[nodes] == 0)
        droppable: NDArray[np.bool_] = free & ~busy_root
        return droppable

    def some(self, wanted: int) -> Nodes:
        """Nodes to drop now, perhaps more than are wanted, perhaps fewer: then ask again. Raises TreeFull."""
        if not len(self._found):
            self._look(wanted)
        count = max(wanted, self._rows.blocks.owned_rows // _DROPS)
        nodes, used_then = self._found[:count], self._used_then[:count]
        self._found, self._used_then = self._found[count:], self._used_then[count:]
        # Whatever was used since the look is not among the oldest any more.
        some: Nodes = nodes[(self._rows.used_at[nodes] == used_then) & self.droppable(nodes)]
        return some

    def movable(self) -> NDArray[np.bool_]:
        """Bool [rows]: what may leave its row, free rows among them."""
        movable = np.ones(len(self._rows.used_at), np.bool_)
        held = np.flatnonzero(self._rows.used_at > 0).astype(np.int32)
        movable[held] = self.droppable(held)
        return movable

    def _look(self, wanted: int) -> None:
        rows, depth = self._rows, self._links.depth
        distance = self._retention.distances(self._links.parent, depth, np.flatnonzero(rows.occupied > 0))
        kept = self._retention.keeps(depth, distance)
        nodes = np.flatnonzero(rows.used_at > 0).astype(np.int32)
        nodes = nodes[self.droppable(nodes)]
        if len(nodes) < wanted:
            raise TreeFull(f"{rows.held} states are in use and {wanted} more are wanted")
        order = np.lexsort((rows.used_at[nodes], rows.occupied[nodes] > 0, kept[nodes]))
        # Of what retention does not ask for a longer list is worth keeping: it only gets older.
        owned = rows.blocks.owned_rows
        unasked = min(int(np.count_nonzero(~kept[nodes])), owned // 4)
        self._found = nodes[order[: max(wanted, owned // _LOOKS, unasked)]]
        self._used_then = rows.used_at[self._found]
