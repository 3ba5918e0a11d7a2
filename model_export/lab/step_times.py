"""How long one step takes in onnxruntime: models take turns, and each counts by its quickest turn.

Another program on the machine only ever makes a turn slower, and seldom all of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from model_export.graph_session import GraphSession
from service.model.manifest import read_graph, read_manifest

_TURNS = 60
_STEPS = 50


def step_ratios(folders: Mapping[str, Path], beside: str) -> dict[str, float]:
    """The time of a step of one row over that of the model called `beside`: the least of 60 turns of 50 steps each."""
    sessions = {name: _session(folder) for name, folder in folders.items()}
    least = dict.fromkeys(sessions, float("inf"))
    for _ in range(_TURNS):
        for name, session in sessions.items():
            least[name] = min(least[name], _seconds(session))
    return {name: seconds / least[beside] for name, seconds in least.items()}


def _session(folder: Path) -> GraphSession:
    graph = read_manifest(folder).graphs["fp32"]
    return GraphSession(read_graph(folder, graph), graph)


def _seconds(session: GraphSession) -> float:
    tokens, states = np.full((1, 1), ord("a"), np.int64), session.initial_states(1)
    started = time.perf_counter()
    for _ in range(_STEPS):
        states = session.run(tokens, states, [0]).states
    return time.perf_counter() - started
