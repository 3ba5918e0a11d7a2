"""The trials: a victim types one of two texts, an attacker in the same batch keeps what it was shown itself.

The victim's text goes on from a context that is new in every trial and that the attacker does not know. The attacker
always types the same. Nothing but the probabilities of the attacker's own row leaves a trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.runtime.onnx_model import OnnxStepModel

TEXTS = (b'result = "positive"\n', b'result = "negative"\n')
ATTACKER_TYPES = b"import os\nimport re\nimport sys\n"
CONTEXT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Trials:
    """What the attacker saw, float32 [trials, steps * vocabulary], and which text was typed, int64 [trials]."""

    seen: NDArray[np.float32]
    typed: NDArray[np.int64]

    @property
    def patterns(self) -> int:
        """How many different bit patterns the attacker saw; 1 means that nothing can be learned from them."""
        return len({row.tobytes() for row in self.seen})

    @property
    def largest_move(self) -> float:
        """By how much the attacker's log-probabilities ever differ between two trials."""
        return float(np.ptp(self.seen.astype(np.float64), axis=0).max())


def run_trials(
    model: OnnxStepModel, contexts: Sequence[bytes], *, bystanders: int, generator: np.random.Generator
) -> Trials:
    """One trial for each context, both texts equally often in random order. Raises ModelError.

    bystanders: further rows of each batch, which type at random on contexts of their own.
    """
    typed = generator.permutation(np.arange(len(contexts)) % len(TEXTS))
    seen = [
        _attacker_sees(model, context, TEXTS[text], bystanders, generator)
        for context, text in zip(contexts, typed, strict=True)
    ]
    return Trials(np.array(seen, np.float32), typed)


def _attacker_sees(
    model: OnnxStepModel, context: bytes, text: bytes, bystanders: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """The attacker's log-probabilities while the victim types `text`, flat."""
    rows = 2 + bystanders
    states = model.initial_states(rows)
    before = np.empty((1 + CONTEXT_BYTES, rows), np.int64)
    before[0] = model.start_token
    before[1:, 0] = _repeated(ATTACKER_TYPES, CONTEXT_BYTES)
    before[1:, 1] = np.frombuffer(context, np.uint8)
    before[1:, 2:] = generator.integers(32, 127, (CONTEXT_BYTES, bystanders))
    # Each row reads its context alone: what the attacker learns, it learns while the victim types the text.
    states = [np.concatenate(parts) for parts in zip(*(_read_alone(model, column) for column in before.T), strict=True)]
    seen = []
    for step, token in enumerate(text):
        tokens = np.empty((1, rows), np.int64)
        tokens[0, 0] = ATTACKER_TYPES[step % len(ATTACKER_TYPES)]
        tokens[0, 1] = token
        tokens[0, 2:] = generator.integers(32, 127, bystanders)
        result = model.step(tokens, states, all_probabilities=True)
        states = list(result.states)
        seen.append(np.asarray(result.log_probabilities)[0])
    return np.concatenate(seen)


def _read_alone(model: OnnxStepModel, tokens: NDArray[np.int64]) -> list[NDArray[np.generic]]:
    return list(model.step(np.ascontiguousarray(tokens[:, None]), model.initial_states(1)).states)


def _repeated(text: bytes, length: int) -> NDArray[np.uint8]:
    return np.resize(np.frombuffer(text, np.uint8), length)
