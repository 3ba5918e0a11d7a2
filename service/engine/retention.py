"""Which states are worth their memory: the checkpoint rule.

Near a live leaf (a node on which a path stands) every state is kept for 64 tokens, every 16th to 1,024, and beyond that
about one for each doubling of the distance. A jump back is then a replay of at most a few tokens nearby, and of at most
half its own length far away, while a path of n tokens asks for O(log n) states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FAR_AWAY = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class Retention:
    """The rule's constants, in tokens; `max_levels` bounds the work of one look at the tree."""

    dense: int = 64
    sparse: int = 1024
    stride: int = 16
    max_levels: int = 4096

    def distances(
        self, parent: NDArray[np.int32], depth: NDArray[np.int32], leaves: NDArray[np.intp]
    ) -> NDArray[np.int32]:
        """For every node the tokens down to the nearest live leaf below it, FAR_AWAY where there is none; int32 [rows].

        All paths are walked up together, one level a round.
        """
        distance = np.full(len(depth), FAR_AWAY, np.int32)
        here: NDArray[np.integer] = leaves
        leaf_depth = depth[leaves]
        for _ in range(self.max_levels):
            if not len(here):
                break
            gap = leaf_depth - depth[here]
            nearer = gap < distance[here]
            here, leaf_depth, gap = here[nearer], leaf_depth[nearer], gap[nearer]
            np.minimum.at(distance, here, gap)
            above = parent[here]
            has_parent = above >= 0
            here, leaf_depth = above[has_parent], leaf_depth[has_parent]
        return distance

    def keeps(self, depth: NDArray[np.int32], distance: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Whether the rule asks for each node; bool [rows]."""
        octave = np.left_shift(1, np.floor(np.log2(np.maximum(distance, 1))).astype(np.int32))
        spacing = np.where(distance < self.dense, 1, np.where(distance < self.sparse, self.stride, octave))
        keeps: NDArray[np.bool_] = (distance < FAR_AWAY) & (depth % spacing == 0)
        return keeps
