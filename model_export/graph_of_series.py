"""Runs a graph over real numbers outside of the server, and checks it: against torch, and bit for bit with itself.

Tolerance and why are those of `parity`; what the promise asks for is that of `isolation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from model_export.errors import ParityError
from model_export.graph_session import StateArrays, open_session
from model_export.isolation import MAX_ROWS, ROW_COUNTS, STEPS
from model_export.parity import CHUNKS, MAX_CHUNK, TOLERANCE
from service.model.series_manifest import SeriesGraph

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SeriesOutcome:
    """What one chunk gave: expected float32 [time, rows, width], and the states after it by the name of their input."""

    expected: Array
    states: StateArrays


class SeriesReference(Protocol):
    """A model as something else than the graph computes it."""

    def run(self, values: Array, states: StateArrays) -> SeriesOutcome:
        """Read a chunk [time, rows, width]."""


class SeriesSession:
    """One loaded graph. Raises ExportError if onnxruntime refuses it."""

    def __init__(self, model: bytes, graph: SeriesGraph) -> None:
        self._graph, self._session = graph, open_session(model)
        self._names = [graph.expected, *(state.output for state in graph.states)]

    def initial_states(self, rows: int) -> StateArrays:
        """The states before the first step, [rows, width] each."""
        return {s.input: np.full((rows, s.width), s.initial, s.dtype) for s in self._graph.states}

    def run(self, values: Array, states: StateArrays) -> SeriesOutcome:
        """Read a chunk, float32 [time, rows, width]."""
        expected, *after = self._session.run(self._names, {self._graph.values: values, **states})
        names = [state.input for state in self._graph.states]
        return SeriesOutcome(expected, dict(zip(names, after, strict=True)))

    def read(self, values: Array, cuts: Sequence[int]) -> SeriesOutcome:
        """Read a series in pieces of these lengths, from the beginning."""
        states, found, start = self.initial_states(values.shape[1]), [], 0
        for length in cuts:
            outcome = self.run(values[start : start + length], states)
            found.append(outcome.expected)
            states, start = outcome.states, start + length
        return SeriesOutcome(np.concatenate(found), states)


def check_series_against(
    reference: SeriesReference,
    model: bytes,
    graph: SeriesGraph,
    width: int,
    *,
    mean: float,
    scale: float,
    seed: int = 0,
) -> float:
    """Compare chained steps and chunks at random row counts; the largest difference as a share of max(1, |value|).

    Expected values are compared in the model's own unit of `scale`. Raises ParityError that says what differs.
    """
    session, generator, largest = SeriesSession(model, graph), np.random.default_rng(seed), 0.0
    for rows in (1, *(int(n) for n in generator.integers(2, MAX_ROWS + 1, CHUNKS))):
        states = session.initial_states(rows)
        for length in (*[1] * STEPS, int(generator.integers(2, MAX_CHUNK + 1))):
            values = _drawn(generator, (length, rows, width), mean, scale)
            wanted, found = reference.run(values, states), session.run(values, states)
            ours: StateArrays = {"expected": (found.expected - mean) / scale, **found.states}
            theirs: StateArrays = {"expected": (wanted.expected - mean) / scale, **wanted.states}
            for name, one in ours.items():
                other = theirs[name]
                size = np.maximum(1.0, np.abs(other.astype(np.float64)))
                difference = float((np.abs(one.astype(np.float64) - other.astype(np.float64)) / size).max())
                if not difference <= TOLERANCE:
                    raise ParityError(f"{rows} rows: {name} differs from torch by {difference:.3g}")
                largest = max(largest, difference)
            states = found.states
    return largest


def check_series_steps_equal_chunks(
    model: bytes, graph: SeriesGraph, width: int, *, mean: float, scale: float, seed: int = 0
) -> None:
    """Read random series a step at a time, whole, cut at random, and a row alone. Raises ParityError unless every bit
    of what is expected and of the states agrees.
    """
    session, generator = SeriesSession(model, graph), np.random.default_rng(seed)
    for rows in (1, *(int(n) for n in generator.integers(2, MAX_ROWS + 1, ROW_COUNTS))):
        values = _drawn(generator, (STEPS, rows, width), mean, scale)
        steps, first = session.read(values, [1] * STEPS), int(generator.integers(1, STEPS))
        for cuts in ([STEPS], [first, STEPS - first]):
            _same_bits(steps, session.read(values, cuts), f"{rows} rows, {STEPS} steps against chunks of {cuts}")
        alone = session.read(np.ascontiguousarray(values[:, :1]), [STEPS])
        first_row = SeriesOutcome(steps.expected[:, :1], {name: value[:1] for name, value in steps.states.items()})
        _same_bits(alone, first_row, f"the first of {rows} rows against itself alone")


def _drawn(generator: np.random.Generator, shape: tuple[int, ...], mean: float, scale: float) -> Array:
    """Values about as far from the mean as in the training, some of them ten times."""
    sizes = generator.choice([1.0, 1.0, 10.0], shape)
    return (mean + scale * sizes * generator.standard_normal(shape)).astype(np.float32)


def _same_bits(one: SeriesOutcome, other: SeriesOutcome, where: str) -> None:
    pairs = [("expected", one.expected, other.expected)]
    pairs += [(name, value, other.states[name]) for name, value in one.states.items()]  # type: ignore[misc]  # any dtype
    for name, a, b in pairs:
        if a.tobytes() != b.tobytes():
            differing = int(np.count_nonzero(a != b))
            raise ParityError(f"{where}: {name} differs in {differing} of {a.size} values; expected equal bits")
