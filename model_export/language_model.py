"""The byte-level language model: an embedding, stacked LSTM layers, a softmax over the next byte."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from model_export.errors import TrainingError

States = list[tuple[Tensor, Tensor]]
"""Per layer the hidden and the cell state, each float32 [rows, units]."""


@dataclass(frozen=True, slots=True)
class LanguageModelConfig:
    """The shape of the network. `tied` shares the embedding with the output layer (Press & Wolf 2017)."""

    vocabulary: int = 256
    layers: int = 2
    units: int = 512
    embedding: int = 128
    dropout: float = 0.0
    tied: bool = False

    def __post_init__(self) -> None:
        for name in ("vocabulary", "layers", "units", "embedding"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise TrainingError(f"dropout must lie in [0, 1), not {self.dropout}")
        if self.tied and self.embedding != self.units:
            raise TrainingError(
                f"a tied output needs embedding == units, not {self.embedding} and {self.units}; "
                f"give --embedding {self.units}"
            )

    def as_dict(self) -> dict[str, object]:
        """JSON-ready values, as the manifest and the checkpoint hold them."""
        return asdict(self)


class LanguageModel(nn.Module):
    """p(next byte | all bytes before it), by an LSTM with a forget gate (Gers, Schmidhuber & Cummins 2000).

    The forget gate's bias starts at 1 (Jozefowicz et al. 2015), in `bias_ih` alone: PyTorch adds two bias vectors, and
    the second stays zero and untrained here, so the effective bias is 1 and not 2.
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.embedding)
        self.lstm = nn.LSTM(
            config.embedding,
            config.units,
            config.layers,
            dropout=config.dropout if config.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.units, config.vocabulary)
        if config.tied:
            nn.init.normal_(self.embedding.weight, std=config.embedding**-0.5)
            self.head.weight = self.embedding.weight
        for layer in range(config.layers):
            bias: Tensor = getattr(self.lstm, f"bias_ih_l{layer}")
            second: Tensor = getattr(self.lstm, f"bias_hh_l{layer}")
            with torch.no_grad():
                bias[config.units : 2 * config.units] = 1.0  # PyTorch's gate order is i, f, g, o
                second.zero_()
            second.requires_grad_(False)

    def initial_states(self, rows: int) -> tuple[Tensor, Tensor]:
        """Zero hidden and cell states, float32 [layers, rows, units]."""
        shape = (self.config.layers, rows, self.config.units)
        zeros = torch.zeros(shape, device=self.embedding.weight.device)
        return zeros, zeros.clone()

    def forward(self, tokens: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read a chunk.

        tokens: int64 [time, rows].  states: (h, c), each float32 [layers, rows, units].
        Returns logits [time, rows, vocabulary] and the states after the last token.
        """
        outputs, states = self.lstm(self.dropout(self.embedding(tokens)), states)
        return self.head(self.dropout(outputs)), states
