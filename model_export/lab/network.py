"""The networks of the lab: symbols in, a stack of cells, scores of the next symbol out, and every signal to watch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from model_export.cells.catalogue import make_cell
from model_export.cells.cell import Signals, States
from model_export.cells.stack import Stack
from model_export.errors import TrainingError
from model_export.lab.symbols import END, Symbols


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The shape of a network. embedding: numbers per symbol, learned; 0 for one-hot vectors, which are fixed."""

    symbols: Symbols
    cell: str = "lstm"
    units: int = 10
    layers: int = 1
    embedding: int = 0

    def __post_init__(self) -> None:
        for name, least in (("units", 1), ("layers", 1), ("embedding", 0)):
            if getattr(self, name) < least:
                raise TrainingError(f"{name} must be at least {least}, not {getattr(self, name)}")

    def as_document(self) -> dict[str, Any]:
        """Fit for JSON."""
        return {**asdict(self), "symbols": list(self.symbols.entries)}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> NetworkConfig:
        """What `as_document` gave."""
        return cls(**{**document, "symbols": Symbols(tuple(document["symbols"]))})


@dataclass(frozen=True, slots=True)
class Watched:
    """A reading: scores float32 [time, rows, symbols] after each symbol; signals of each layer, [time, rows, units]."""

    scores: Tensor
    layers: tuple[Signals, ...]

    def signal(self, layer: int, letter: str) -> Tensor:
        """One signal, [time, rows, units]. Raises TrainingError if there is no such layer or signal."""
        if not 0 <= layer < len(self.layers):
            raise TrainingError(f"there is no layer {layer}; there are 0 to {len(self.layers) - 1}")
        if letter not in self.layers[layer]:
            raise TrainingError(f"layer {layer} has no signal {letter!r}; it has {', '.join(self.layers[layer])}")
        return self.layers[layer][letter]


def widest(config: NetworkConfig, parameters: int) -> NetworkConfig:
    """The same network with as many units as its learned parameters may be. Raises TrainingError if not even one."""
    few, many = 0, 1
    while learned_parameters(replace(config, units=many)) <= parameters:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        fits = learned_parameters(replace(config, units=middle)) <= parameters
        few, many = (middle, many) if fits else (few, middle)
    if not few:
        raise TrainingError(f"{parameters} parameters are too few for one unit of {config.cell}")
    return replace(config, units=few)


def learned_parameters(config: NetworkConfig) -> int:
    """How many numbers a training of such a network may change."""
    with torch.device("meta"):
        return sum(one.numel() for one in Network(config).parameters() if one.requires_grad)


class Network(nn.Module):
    """p(next symbol | all symbols before it)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        size = config.symbols.size
        self.embedding = nn.Embedding(size, config.embedding or size)
        if not config.embedding:
            with torch.no_grad():
                self.embedding.weight.copy_(torch.eye(size))
            self.embedding.weight.requires_grad_(False)
        layers = []
        width = config.embedding or size
        for _ in range(config.layers):
            layers.append(make_cell(config.cell, width, config.units))
            width = layers[-1].outputs
        self.stack = Stack(layers)
        self.head = nn.Linear(width, size)

    @property
    def symbols(self) -> Symbols:
        """What it reads and predicts."""
        return self.config.symbols

    def initial(self, rows: int) -> list[States]:
        """The states before the first symbol."""
        return self.stack.initial(rows)

    def forward(self, symbols: Tensor, states: Sequence[States]) -> tuple[Tensor, list[States]]:
        """Read int64 [time, rows]; scores [time, rows, size], and the states after the last symbol."""
        outputs, after = self.stack(self.embedding(symbols), states)
        return self.head(outputs), after

    def scores(self, symbols: Tensor) -> Tensor:
        """Read int64 [time, rows] from the beginning; scores [time, rows, size]."""
        scores: Tensor = self(symbols, self.initial(symbols.shape[1]))[0]
        return scores

    @torch.no_grad()
    def watch(self, symbols: Tensor) -> Watched:
        """Read int64 [time, rows] from the beginning, and look at everything."""
        outputs, _, signals = self.stack.watch(self.embedding(symbols), self.initial(symbols.shape[1]))
        return Watched(self.head(outputs), tuple(signals))

    @torch.no_grad()
    def continue_greedily(self, prompts: Tensor, most: int) -> Tensor:
        """The likeliest symbols after prompts of one length, int64 [time, rows], until the end or `most` symbols.

        int64 [most, rows]; END from the first end on.
        """
        scores, states = self(prompts, self.initial(prompts.shape[1]))
        chosen = scores[-1].argmax(dim=-1)
        ended = chosen == END
        given = [chosen]
        for _ in range(most - 1):
            scores, states = self(chosen[None], states)
            chosen = torch.where(ended, END, scores[-1].argmax(dim=-1))
            ended = ended | (chosen == END)
            given.append(chosen)
        return torch.stack(given)
