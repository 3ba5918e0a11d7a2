"""Which rows of its slabs a tree may use: blocks of them, taken from a shared budget and given back with their memory.

A slab is as large as the whole budget, in addresses; memory is taken by the page as rows are first used. A block is
given back as a whole, so that its pages can go back to the system: else every model would keep what it once used.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.engine.budget import Share

_MOST_ROWS = 64  # of a block; a sixteenth of a small slab, so that it, too, can be shared finely
_BLOCKS = 16
_DONT_NEED = 4  # madvise(2), Linux


class RowBlocks:
    """The blocks that one tree owns. Owned by its engine."""

    def __init__(self, rows: int, row_bytes: int, share: Share) -> None:
        self._rows, self._row_bytes, self._share = rows, row_bytes, share
        self.block_rows = max(min(_MOST_ROWS, rows // _BLOCKS), 1)
        self._owned = np.zeros(-(-rows // self.block_rows), np.bool_)
        self._next = 0  # no block below it can be taken
        self.owned_rows = 0

    @property
    def owes_rows(self) -> int:
        """How many rows others have a claim to."""
        return -(-self._share.owes_bytes // self._row_bytes)

    def grow(self, wanted: int) -> NDArray[np.int32]:
        """Take blocks until there are so many more rows, lowest first; the new rows, fewer if the budget is used up."""
        taken: list[NDArray[np.int32]] = []
        while wanted > 0 and self._next < len(self._owned):
            rows = self._rows_of(self._next)
            if not self._share.take(len(rows) * self._row_bytes):
                break
            self._owned[self._next] = True
            while self._next < len(self._owned) and self._owned[self._next]:
                self._next += 1
            taken.append(rows)
            wanted -= len(rows)
        new = np.concatenate(taken) if taken else np.empty(0, np.int32)
        self.owned_rows += len(new)
        return new

    def shrink(self, blocks: Sequence[int], slabs: Sequence[NDArray[np.generic]]) -> None:
        """Give blocks back whose rows are all free, with the memory that they have in `slabs`."""
        for block in blocks:
            rows = self._rows_of(block)
            for slab in slabs:
                release(slab, int(rows[0]), int(rows[-1]) + 1)
            self._owned[block] = False
            self._next = min(self._next, block)
            self.owned_rows -= len(rows)
            self._share.give(len(rows) * self._row_bytes)

    def release(self) -> None:
        """Share the budget no longer. Called once, last."""
        self._share.leave()

    def coldest(self, used_at: NDArray[np.int64], immovable: NDArray[np.bool_], rows: int) -> list[int]:
        """Owned blocks of at least so many rows together, those first that were not used for longest.

        used_at: int64 [rows], 0 for a free row.  immovable: bool [rows]; a block with such a row is not among them.
        """
        starts = np.arange(0, self._rows, self.block_rows)
        last_used = np.maximum.reduceat(used_at, starts)
        able = np.flatnonzero(self._owned & ~np.logical_or.reduceat(immovable, starts))
        chosen, found = [], 0
        for block in able[np.argsort(last_used[able], kind="stable")].tolist():
            if found >= rows:
                break
            chosen.append(block)
            found += len(self._rows_of(block))
        return chosen

    def _rows_of(self, block: int) -> NDArray[np.int32]:
        return np.arange(block * self.block_rows, min((block + 1) * self.block_rows, self._rows), dtype=np.int32)


def release(slab: NDArray[np.generic], first: int, last: int) -> None:
    """Give the pages that lie wholly inside of these rows back to the system; what was in them is gone."""
    if sys.platform != "linux":
        return  # other systems take pages back when they need them
    row_bytes = slab.strides[0]
    page = mmap.PAGESIZE
    begin = -(-(slab.ctypes.data + first * row_bytes) // page) * page
    end = (slab.ctypes.data + last * row_bytes) // page * page
    if begin < end:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _DONT_NEED)
