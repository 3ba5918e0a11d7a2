"""Runs a graph of a model folder outside of the server, for parity checks and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from model_export.errors import ExportError
from service.model.manifest import Graph

StateArrays = dict[str, NDArray[np.generic]]
"""States by the name of their input, each [rows, width]."""


_TRUE = np.array([True])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one chunk gave.

    log_probabilities: float32 [n, rows, vocabulary].  top_log_probabilities, top_tokens: [n, rows, k], best first.
    states: after the last token, by the name of their input.
    """

    log_probabilities: NDArray[np.float32]
    top_log_probabilities: NDArray[np.float32]
    top_tokens: NDArray[np.int64]
    states: StateArrays


@dataclass(frozen=True, slots=True)
class Tops:
    """What a graph gave in a way that has no full distributions: [steps, rows, k] twice, best first, and the states."""

    top_log_probabilities: NDArray[np.float32]
    top_tokens: NDArray[np.int64]
    states: StateArrays


class GraphSession:
    """One loaded graph. Raises ExportError if onnxruntime refuses it."""

    def __init__(self, model: bytes, graph: Graph, *, threads: int = 1) -> None:
        self._graph = graph
        self._session = open_session(model, threads=threads)
        self._names = [graph.log_probabilities, graph.top_log_probabilities, graph.top_tokens]
        self._names += [state.output for state in graph.states]

    def initial_states(self, rows: int) -> StateArrays:
        """The states before the first token, [rows, width] each."""
        return {s.input: np.full((rows, s.width), s.initial, s.dtype) for s in self._graph.states}

    def run(
        self, tokens: NDArray[np.int64], states: StateArrays, positions: Sequence[int] | NDArray[np.int64]
    ) -> Outcome:
        """Read a chunk, int64 [time, rows], and give the distributions after the tokens at `positions`."""
        found = self._session.run(self._names, self._feeds(tokens, states, positions))
        after = {state.input: value for state, value in zip(self._graph.states, found[3:], strict=True)}
        return Outcome(found[0], found[1], found[2], after)

    def single_step(self, tokens: NDArray[np.int64], states: StateArrays) -> Tops | None:
        """Read int64 [1, rows] as single steps are read; None if the graph has no way of its own for that."""
        if self._graph.single_step is None:
            return None
        return self._tops(tokens, states, [state.output for state in self._graph.states], self._graph.single_step)

    def follow(self, tokens: NDArray[np.int64], states: StateArrays) -> Tops | None:
        """Read int64 [steps, rows], feeding a row's likeliest token where one is negative; None if the graph cannot.

        The states are [steps, rows, width]: those after each step.
        """
        following = self._graph.follow
        return None if following is None else self._tops(tokens, states, following.states, following.flag)

    def _tops(self, tokens: NDArray[np.int64], states: StateArrays, outputs: Sequence[str], flag: str) -> Tops:
        wanted = [self._graph.top_log_probabilities, self._graph.top_tokens, *outputs]
        found = self._session.run(wanted, {**self._feeds(tokens, states, [-1]), flag: _TRUE})
        after = {state.input: value for state, value in zip(self._graph.states, found[2:], strict=True)}
        return Tops(found[0], found[1], after)

    def _feeds(
        self, tokens: NDArray[np.int64], states: StateArrays, positions: Sequence[int] | NDArray[np.int64]
    ) -> StateArrays:
        return {self._graph.tokens: tokens, self._graph.positions: np.asarray(positions, np.int64), **states}


def open_session(model: bytes, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """Load a graph on the CPU. Raises ExportError if onnxruntime refuses it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base but Exception
        raise ExportError(f"onnxruntime refuses the graph: {error}") from error
