"""Attention over an LSTM's outputs: before it answers, the network looks back at everything that it has shown.

    score_ts = h_t^T A h_s             how well what was shown at s <= t fits what is asked for now
    a_t      = softmax over s <= t     the attention weights: all positive, together 1
    context  = sum over s of a_ts h_s  what it looks at
    y_t      = tanh(U [h_t, context])  what the scores of the next symbol are made of

Luong, Pham & Manning (2015), "general" scores, after Bahdanau, Cho & Bengio (2014), over its own past instead of
another sequence. Every output so far must be kept: this state grows with the text, which is why it is
exported and not served.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model_export.cells.cell import States
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.sequences import IGNORED, Batch


class AttendingNetwork(Network):
    """A Network between whose top layer and head stands attention. A: [units, units].  U: [units, 2 * units]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        width = self.stack.layers[-1].outputs
        bound = 1 / math.sqrt(width)
        self.A = nn.Parameter(torch.zeros(width, width))  # it begins by looking everywhere alike
        self.U = nn.Parameter(torch.empty(width, 2 * width).uniform_(-bound, bound))

    def forward(self, symbols: Tensor, states: Sequence[States]) -> tuple[Tensor, list[States]]:
        """Read a whole sequence, int64 [time, rows]; scores [time, rows, size], and the layers' states."""
        shown, after = self.stack(self.embedding(symbols), states)
        return self.head(self.attend(shown)[0]), after

    def scores_without(self, symbols: Tensor, hidden: int | None) -> Tensor:
        """As `scores`, where nothing of the place `hidden` may be looked at."""
        shown, _ = self.stack(self.embedding(symbols), self.initial(symbols.shape[1]))
        scores: Tensor = self.head(self.attend(shown, hidden)[0])
        return scores

    def attend(self, shown: Tensor, hidden: int | None = None) -> tuple[Tensor, Tensor]:
        """What the head reads, [time, rows, units], and the weights: [rows, time of asking, time looked at]."""
        h = shown.transpose(0, 1)  # [rows, time, units]
        scores = h @ self.A @ h.transpose(1, 2)
        forbidden = torch.ones_like(scores[0], dtype=torch.bool).triu(1)
        if hidden is not None:
            forbidden[hidden + 1 :, hidden] = True
        weights = scores.masked_fill(forbidden, -math.inf).softmax(dim=-1)
        looked = torch.tanh(torch.cat([h, weights @ h], dim=-1) @ self.U.T)
        return looked.transpose(0, 1), weights

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the targets, in nats: what `training.fit` makes less."""
        scores = self.scores(batch.inputs)
        return nn.functional.cross_entropy(scores.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)

    @torch.no_grad()
    def weights(self, symbols: Tensor) -> Tensor:
        """Where it looks while it reads int64 [time, rows]: [rows, time of asking, time looked at]."""
        shown, _ = self.stack(self.embedding(symbols), self.initial(symbols.shape[1]))
        return self.attend(shown)[1]
