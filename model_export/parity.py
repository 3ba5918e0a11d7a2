"""The check behind every export: the fp32 graph computes what torch computes.

The tolerance is 5e-4 of a value's size, or 5e-4 where the value is smaller than 1; the values are h, c and natural-log
probabilities. Both sides sum the same float32 products in another order, about a thousand terms of which each may err
by 2^-24 of the sum: 6e-5 of its size at worst. Logits reach 100 on random bytes, so a log-probability may be off by
some 1e-4 through its normalizer alone (5e-6 of its size was seen at 2 x 512). A wrong gate order, bias or state
moves these values by 1e-2 and more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model_export.errors import ParityError
from model_export.graph_session import GraphSession, StateArrays
from model_export.state_dicts import TorchTensors
from service.model.manifest import Graph

TOLERANCE = 5e-4
STEPS = 24
CHUNKS = 5
MAX_ROWS = 70
MAX_CHUNK = 40


@dataclass(frozen=True, slots=True)
class ParityResult:
    """What was compared, and the largest difference from torch, as a share of max(1, |value|)."""

    steps: int
    chunks: int
    rows: tuple[int, ...]
    largest_difference: float


class Reference(Protocol):
    """A model as something else than the graph computes it."""

    def run(self, tokens: NDArray[np.int64], states: StateArrays) -> tuple[NDArray[np.float32], StateArrays]:
        """Read a chunk [time, rows]: log-probabilities [time, rows, vocabulary], and the states after it, by name."""


class TorchReference:
    """The model as PyTorch runs it, built from the tensors as they were found, before any conversion of ours."""

    def __init__(self, tensors: TorchTensors) -> None:
        self._embedding = torch.from_numpy(tensors.embedding)
        self._head, self._head_bias = torch.from_numpy(tensors.head), torch.from_numpy(tensors.head_bias)
        self._layers = [_torch_layer(layer) for layer in tensors.layers]

    def run(self, tokens: NDArray[np.int64], states: StateArrays) -> tuple[NDArray[np.float32], StateArrays]:
        """Read a chunk [time, rows]: log-probabilities [time, rows, vocabulary], and the states after it, by name."""
        after: StateArrays = {}
        with torch.inference_mode():
            values: Tensor = self._embedding[torch.from_numpy(tokens)]
            for number, lstm in enumerate(self._layers):
                h, c = (torch.from_numpy(states[f"{letter}{number}"])[None] for letter in "hc")
                values, (h, c) = lstm(values, (h, c))
                after[f"h{number}"], after[f"c{number}"] = h[0].numpy(), c[0].numpy()
            logits = nn.functional.linear(values, self._head, self._head_bias)
            return nn.functional.log_softmax(logits, dim=-1).numpy(), after


def _torch_layer(arrays: Mapping[str, NDArray[np.float32]]) -> nn.LSTM:
    units = arrays["weight_hh"].shape[1]
    lstm = nn.LSTM(arrays["weight_ih"].shape[1], units)
    lstm.load_state_dict({f"{name}_l0": torch.from_numpy(array) for name, array in arrays.items()})
    return lstm.eval()


def check_against_torch(tensors: TorchTensors, model: bytes, graph: Graph, *, seed: int = 0) -> ParityResult:
    """Compare a graph with the tensors that it came from. Raises ParityError that says what differs by how much."""
    return check_against(TorchReference(tensors), tensors.embedding.shape[0], model, graph, seed=seed)


def check_against(
    reference: Reference, vocabulary_size: int, model: bytes, graph: Graph, *, seed: int = 0
) -> ParityResult:
    """Compare chained steps and chunks at random row counts. Raises ParityError that says what differs by how much."""
    session = GraphSession(model, graph)
    generator = np.random.default_rng(seed)
    counts = tuple(int(n) for n in generator.integers(1, MAX_ROWS + 1, CHUNKS))
    largest = 0.0
    for rows in counts:
        states = session.initial_states(rows)
        for step in range(STEPS):
            tokens = generator.integers(0, vocabulary_size, (1, rows))
            states, difference = _compare(reference, session, tokens, states, f"step {step} at {rows} rows")
            largest = max(largest, difference)
        length = int(generator.integers(2, MAX_CHUNK + 1))
        tokens = generator.integers(0, vocabulary_size, (length, rows))
        _, difference = _compare(reference, session, tokens, states, f"a chunk of {length} at {rows} rows")
        largest = max(largest, difference)
    return ParityResult(STEPS, CHUNKS, counts, largest)


def _compare(
    reference: Reference, session: GraphSession, tokens: NDArray[np.int64], states: StateArrays, where: str
) -> tuple[StateArrays, float]:
    """Both sides read one chunk from the graph's states; returns the graph's next states and the largest difference."""
    expected, expected_states = reference.run(tokens, states)
    outcome = session.run(tokens, states, range(len(tokens)))
    largest = 0.0
    found_values = {"log-probabilities": outcome.log_probabilities, **outcome.states}
    wanted_values = {"log-probabilities": expected, **expected_states}
    for name, found in found_values.items():
        wanted = wanted_values[name].astype(np.float64)
        size = np.maximum(1.0, np.abs(wanted))
        difference = float((np.abs(found.astype(np.float64) - wanted) / size).max())
        if not difference <= TOLERANCE:
            raise ParityError(f"{where}: {name} differs from torch by {difference:.3g}, tolerance {TOLERANCE:g}")
        largest = max(largest, difference)
    return outcome.states, largest
