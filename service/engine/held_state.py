"""One state taken out of the tree and put into another one's: what a snapshot of a session is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import StateShape
from service.engine.state_tree import Node, StateTree

_LEAST_DEPTH: Final = 2  # a child of the root by one token is found by that token, and made by a step
_ROUNDING: Final = 1e-3  # by which a log-probability may come out above zero
_CONTINUES: Final = 0b10000000  # the first two bits of a byte that goes on with a character of UTF-8


@dataclass(frozen=True, slots=True, eq=False)
class HeldState:
    """The state after `depth` bytes of a text, and the head of the distribution there; arrays of its own.

    states: [width] per recurrent tensor of the model.  top_tokens: uint8 [top_k], best first.  top_log_probabilities:
    float32 [top_k], natural log.
    """

    depth: int
    states: Sequence[NDArray[np.generic]]
    top_tokens: NDArray[np.uint8]
    top_log_probabilities: NDArray[np.float32]

    def fits(self, shapes: Sequence[StateShape], top_k: int) -> bool:
        """Whether it can be a state of such a model: widths, types, and nothing that no model computes."""
        if [(one.shape, one.dtype) for one in self.states] != [((of.width,), of.dtype) for of in shapes]:
            return False
        head = (self.top_tokens, self.top_log_probabilities)
        if [(one.shape, one.dtype.name) for one in head] != [((top_k,), "uint8"), ((top_k,), "float32")]:
            return False
        return all(_is_finite(one) for one in self.states) and bool((self.top_log_probabilities <= _ROUNDING).all())


def read_state(tree: StateTree, node: Node, text: bytes, *, least: int, most: int) -> HeldState | None:
    """The deepest state held of a beginning of `text` of `least` to `most` bytes that are whole characters.

    node: of a text whose first `most` bytes are those of `text`, or of a beginning of it. None if none is held.
    """
    while True:
        node = tree.ancestor(node, most)
        depth = tree.depth(node)
        if depth < max(least, _LEAST_DEPTH):
            return None
        if depth == len(text) or text[depth] >> 6 != _CONTINUES >> 6:
            break
        most = depth - 1
    states = [state[0] for state in tree.gather(np.array([node], np.int32))]
    return HeldState(depth, states, tree.top_tokens[node].copy(), tree.top_log_probabilities[node].copy())


def _is_finite(state: NDArray[np.generic]) -> bool:
    return not np.issubdtype(state.dtype, np.floating) or bool(np.isfinite(state).all())
