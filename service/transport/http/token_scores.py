"""How likely tokens were, and what would have been likely in their place, as facades hand it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Of n tokens: log_probabilities float32 [n], top_tokens int64 [n, top], top_log_probabilities float32 [n, top]."""

    log_probabilities: NDArray[np.float32]
    top_tokens: NDArray[np.int64]
    top_log_probabilities: NDArray[np.float32]

    def cut(self, length: int) -> TokenScores:
        """Those of the first `length` tokens."""
        return TokenScores(
            self.log_probabilities[:length], self.top_tokens[:length], self.top_log_probabilities[:length]
        )


def joined(parts: Sequence[TokenScores]) -> TokenScores:
    """One after the other. `parts` is not empty."""
    return TokenScores(
        np.concatenate([part.log_probabilities for part in parts]),
        np.concatenate([part.top_tokens for part in parts]),
        np.concatenate([part.top_log_probabilities for part in parts]),
    )
