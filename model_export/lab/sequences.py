"""Sequences of symbols as batches: the end in front and behind, shorter ones padded with what no loss looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model_export.lab.symbols import END

IGNORED = -100
"""A target that is not predicted."""


@dataclass(frozen=True, slots=True)
class Batch:
    """inputs: int64 [time, rows], the end first.  targets: int64 [time, rows], what comes next, or IGNORED."""

    inputs: Tensor
    targets: Tensor

    @property
    def counted(self) -> Tensor:
        """Where there is a target, bool [time, rows]."""
        return self.targets != IGNORED


def batch_of(sequences: Sequence[NDArray[np.int64]], wanted: Sequence[NDArray[np.bool_]] | None = None) -> Batch:
    """Sequences [length] side by side, each between two ends. wanted: which of its symbols, and of the end behind it,
    are to be predicted, bool [length + 1] each; all if not given.
    """
    time = 1 + max(map(len, sequences))
    inputs = np.full((time, len(sequences)), END, np.int64)
    targets = np.full((time, len(sequences)), IGNORED, np.int64)
    for row, sequence in enumerate(sequences):
        inputs[1 : 1 + len(sequence), row] = sequence
        follows = np.append(sequence, END)
        if wanted is not None:
            follows = np.where(wanted[row], follows, IGNORED)
        targets[: len(follows), row] = follows
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets))
