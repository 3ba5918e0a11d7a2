"""A tiny exact model for tests of everything above the runtime: no onnxruntime, microseconds a step.

Its state is a hash of all that it was fed, so a wrong path, row or order shows in the very next distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.engine.following import follow_by_steps
from service.engine.ports import FollowResult, ReadResult, States, StateShape, StepResult
from service.engine.reading import read_by_steps

_LIKELY = np.frombuffer("abcdefghij \n_(.)é".encode(), np.uint8)


class FakeModel:
    """A StepModel whose next-token distribution is a fixed function of a 64-bit hash of the tokens so far.

    `steps` counts rows times tokens; `calls` records the shape of every call, [(time, rows)].
    """

    def __init__(self, *, top_k: int = 16) -> None:
        self.shapes: Sequence[StateShape] = (
            StateShape(8, np.dtype(np.uint8), 7),
            StateShape(3, np.dtype(np.float32), 0.0),
        )
        self.top_k = top_k
        self.vocabulary_size = 256
        self.start_token = 0xFF
        self.separator_token = 0xFF
        self.steps = 0
        self.calls: list[tuple[int, int]] = []

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        """Feed a chunk to every row; see `ports.StepModel`."""
        self.steps += tokens.size
        self.calls.append((tokens.shape[0], tokens.shape[1]))
        hashes = np.ascontiguousarray(states[0]).view(np.uint64)[:, 0].copy()
        counts = np.asarray(states[1], np.float32).copy()
        for step in tokens:
            hashes = _mix(hashes ^ (step.astype(np.uint64) + np.uint64(1)))
            counts[:, 0] += 1
            counts[:, 1] = step
        log_probabilities = _distributions(hashes)
        order = np.argsort(-log_probabilities, axis=1, kind="stable")[:, : self.top_k]
        return StepResult(
            states=(hashes[:, None].view(np.uint8), counts),
            top_tokens=order,
            top_log_probabilities=np.take_along_axis(log_probabilities, order, axis=1),
            log_probabilities=log_probabilities if all_probabilities else None,
        )

    def follow(self, tokens: NDArray[np.int64], states: States, *, ends_only: bool = False) -> FollowResult:
        """Feed tokens, some of the model's own choice; see `ports.StepModel`."""
        return follow_by_steps(self, tokens, states, ends_only=ends_only)

    def read(self, tokens: NDArray[np.int64], states: States) -> ReadResult:
        """Feed a chunk, and tell every distribution; see `ports.StepModel`."""
        return read_by_steps(self, tokens, states)


def _mix(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = (hashes ^ (hashes >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed ^ (mixed >> np.uint64(32))


def _distributions(hashes: NDArray[np.uint64]) -> NDArray[np.float32]:
    """A distribution over 256 tokens per hash: a few likely letters, float32 [rows, 256], natural log."""
    logits = np.full((len(hashes), 256), -12.0)
    noise = _mix(hashes[:, None] ^ (_LIKELY.astype(np.uint64) << np.uint64(32)))
    logits[:, _LIKELY] = 6.0 * (noise >> np.uint64(11)) / 2.0**53 - 3.0
    logits[:, 0xFF] = -3.0
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits.astype(np.float32)
