"""Every cell under the name that commands, checkpoints and manifests know it by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from model_export.cells.bidirectional import BidirectionalLstm
from model_export.cells.cell import Cell
from model_export.cells.coupled import CoupledLstm
from model_export.cells.elman import Elman
from model_export.cells.feed_forward import FeedForward
from model_export.cells.full_memory import FullMemoryLstm
from model_export.cells.gru import Gru
from model_export.cells.layer_norm import LayerNormLstm
from model_export.cells.lstm import Lstm
from model_export.cells.lstm_1997 import Lstm1997
from model_export.cells.peephole import PeepholeLstm
from model_export.errors import TrainingError

CELLS: Mapping[str, Callable[[int, int], Cell]] = {
    "feed-forward": FeedForward,
    "rnn": Elman,
    "relu-rnn": partial(Elman, activation="relu"),
    "lstm-1997": Lstm1997,
    "lstm": Lstm,
    "peephole-lstm": PeepholeLstm,
    "full-memory-lstm": FullMemoryLstm,
    "coupled-lstm": CoupledLstm,
    "gru": Gru,
    "gru-2014": partial(Gru, reset_after=False),
    "layer-norm-lstm": LayerNormLstm,
    "bidirectional-lstm": BidirectionalLstm,
}


def make_cell(name: str, inputs: int, units: int) -> Cell:
    """A new layer of that kind, its weights drawn from torch's generator. Raises TrainingError."""
    if name not in CELLS:
        raise TrainingError(f"there is no cell {name!r}; there are {', '.join(CELLS)}")
    return CELLS[name](inputs, units)
