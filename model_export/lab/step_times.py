"""How long one step takes in onnxruntime: the models take turns, so that a busy machine slows all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from model_export.graph_session import GraphSession
from service.model.manifest import read_graph, read_manifest

_ROUNDS = 40
_STEPS = 100


def step_ratios(folders: Mapping[str, Path], beside: str) -> dict[str, float]:
    """The time of a step of one row over that of the model called `beside`: the median of 40 rounds of 100 steps."""
    sessions = {name: _session(folder) for name, folder in folders.items()}
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(1 + _ROUNDS):
        for name, session in sessions.items():
            taken[name].append(_seconds(session))
    measured = {name: np.array(seconds[1:]) for name, seconds in taken.items()}  # the first round warms up
    return {name: float(np.median(seconds / measured[beside])) for name, seconds in measured.items()}


def _session(folder: Path) -> GraphSession:
    graph = read_manifest(folder).graphs["fp32"]
    return GraphSession(read_graph(folder, graph), graph)


def _seconds(session: GraphSession) -> float:
    tokens, states = np.full((1, 1), ord("a"), np.int64), session.initial_states(1)
    started = time.perf_counter()
    for _ in range(_STEPS):
        states = session.run(tokens, states, [0]).states
    return time.perf_counter() - started
