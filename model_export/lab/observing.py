"""Reading many sequences at once and laying every signal of every position side by side, for `units.rank_units`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export.lab.network import Network, Watched
from model_export.lab.sequences import batch_of
from model_export.lab.units import Observed


def observe(network: Network, sequences: Sequence[NDArray[np.int64]]) -> Observed:
    """All signals of all layers after each symbol of each sequence; the end in front is not a position."""
    watched = network.watch(batch_of(sequences).inputs)
    keys = [(layer, letter) for layer, signals in enumerate(watched.layers) for letter in signals]
    signals = {key: positions(watched, key, sequences) for key in keys}
    numbers = [np.full(len(sequence), number) for number, sequence in enumerate(sequences)]
    return Observed(signals, np.concatenate(numbers))


def positions(watched: Watched, key: tuple[int, str], sequences: Sequence[NDArray[np.int64]]) -> NDArray[Any]:
    """One signal at every symbol of every sequence, [positions, units], sequence after sequence."""
    values = watched.signal(*key).numpy()
    return np.concatenate([values[1 : 1 + len(sequence), row] for row, sequence in enumerate(sequences)])
