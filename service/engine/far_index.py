"""A hash index from prefix keys to nodes, for the nodes that are more than one token below their parent.

Open addressing with linear probing and backward-shift deletion (Knuth, TAOCP vol. 3, 6.4, algorithm R) over a NumPy
column: no Python object per node.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EMPTY = -1


class FarIndex:
    """Maps a 128-bit key to the node that has it. `keys` is the tree's key column, uint64 [rows, 2], read only here.

    Keys are already mixed, so their low bits are the hash. Grows by doubling at half load.
    """

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._low = keys.data.cast("B").cast("Q")
        self._count = 0
        self._resize(64)

    def __len__(self) -> int:
        return self._count

    def find(self, key: tuple[int, int]) -> int | None:
        """The node with this key, or None."""
        slot = key[0] & self._mask
        while (node := self._slots[slot]) != EMPTY:
            if self._low[2 * node] == key[0] and self._low[2 * node + 1] == key[1]:
                return node
            slot = (slot + 1) & self._mask
        return None

    def add(self, node: int) -> None:
        """Index a node under its key, which must not be there yet."""
        if 2 * (self._count + 1) > len(self._slots):
            nodes = [n for n in self._slots if n != EMPTY]
            self._resize(2 * len(self._slots))
            for known in nodes:
                self._put(known)
        self._put(node)
        self._count += 1

    def remove(self, node: int) -> None:
        """Forget a node. Raises KeyError if it is not indexed."""
        slot = self._low[2 * node] & self._mask
        while self._slots[slot] != node:
            if self._slots[slot] == EMPTY:
                raise KeyError(node)
            slot = (slot + 1) & self._mask
        self._close_gap(slot)
        self._count -= 1

    def _put(self, node: int) -> None:
        slot = self._low[2 * node] & self._mask
        while self._slots[slot] != EMPTY:
            slot = (slot + 1) & self._mask
        self._slots[slot] = node

    def _close_gap(self, gap: int) -> None:
        slot = gap
        while True:
            slot = (slot + 1) & self._mask
            node = self._slots[slot]
            if node == EMPTY:
                break
            home = self._low[2 * node] & self._mask
            if ((slot - home) & self._mask) >= ((slot - gap) & self._mask):  # its probe passed the gap
                self._slots[gap] = node
                gap = slot
        self._slots[gap] = EMPTY

    def _resize(self, size: int) -> None:
        self._slots: memoryview[int] = np.full(size, EMPTY, np.int32).data.cast("B").cast("i")
        self._mask = size - 1
