"""How likely each byte of a completion was, under the model's own distribution, and what else was likely there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.engine.requests import FinishReason, Piece
from service.engine.state_tree import Node, StateTree


class Notes:
    """A line for each byte that was chosen, with the `top` likeliest at its place."""

    __slots__ = ("_log_probabilities", "_top", "_top_log_probabilities", "_top_tokens")

    def __init__(self, top: int) -> None:
        self._top = top
        self._log_probabilities: list[np.float32] = []
        self._top_tokens: list[NDArray[np.uint8]] = []
        self._top_log_probabilities: list[NDArray[np.float32]] = []

    def add(self, tree: StateTree, node: Node, token: int, distribution: NDArray[np.float32] | None) -> None:
        """`token` was chosen at `node`; from the whole distribution there, or else from the node's head."""
        tokens, log_probabilities = tree.top_tokens[node], tree.top_log_probabilities[node]
        if distribution is not None:
            self._log_probabilities.append(distribution[token])
        else:
            self._log_probabilities.append(log_probabilities[tokens == token][0])
        self._top_tokens.append(tokens[: self._top].copy())
        self._top_log_probabilities.append(log_probabilities[: self._top].copy())

    def piece(self, text: bytes, start: int, finish: FinishReason | None, steps: int) -> Piece:
        """The piece whose `text` begins with byte `start` of the completion."""
        lines = slice(start, start + len(text))
        top = min(self._top, len(self._top_tokens[0]) if self._top_tokens else 0)
        shape = (len(text), top)
        return Piece(
            text,
            finish,
            steps,
            np.array(self._log_probabilities[lines], np.float32),
            np.array(self._top_tokens[lines], np.int64).reshape(shape),
            np.array(self._top_log_probabilities[lines], np.float32).reshape(shape),
        )
