"""How fast graphs step, measured so that a noisy machine disturbs the ratios little.

Everything that is compared is measured in one process, in short blocks that take turns, forwards and then backwards;
a ratio is the median over the turns of the two times of that turn. Times are those of the CPU and not of the wall: a
model on one thread computes in the thread that calls it, and what others do meanwhile is none of its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.engine.ports import States, StepResult

PREFILL = 512
_BLOCK_S = 0.04


class Steps(Protocol):
    """What is measured of a model."""

    def initial_states(self, rows: int) -> list[NDArray[np.generic]]:
        """The states before the first token."""

    def step(self, tokens: NDArray[np.int64], states: States) -> StepResult:
        """Feed a chunk to every row."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Something that is done over and over: `run` does it once, on `tokens` tokens."""

    name: str
    run: Callable[[], None]
    tokens: int


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of CPU for one run of each workload, one value for every turn."""

    by_name: Mapping[str, Sequence[float]]
    tokens: Mapping[str, int]

    def ratio(self, slower: str, faster: str) -> float:
        """How many times as long `slower` takes: the median over the turns."""
        return median(a / b for a, b in zip(self.by_name[slower], self.by_name[faster], strict=True))

    def tokens_per_s(self, name: str) -> float:
        """The median rate."""
        return self.tokens[name] / median(self.by_name[name])

    def us(self, name: str) -> float:
        """The median time of one run, in microseconds."""
        return median(self.by_name[name]) * 1e6


def steps(name: str, model: Steps, rows: int, text: bytes) -> Workload:
    """One token for every row, each row reading `text` from a place of its own, states fed back."""
    states = [model.initial_states(rows)]
    read = np.frombuffer(text, np.uint8).astype(np.int64)
    columns = np.stack([np.roll(read, -row * (len(read) // rows)) for row in range(rows)], axis=1)
    at = 0

    def step() -> None:
        nonlocal at
        result = model.step(columns[at : at + 1], states[0])
        states[0] = list(result.states)
        at = (at + 1) % len(columns)

    return Workload(name, step, rows)


def prefill(name: str, model: Steps, text: bytes, chunk: int) -> Workload:
    """The first 512 bytes of `text` for one row, in chunks of `chunk`."""
    tokens = np.frombuffer(text[:PREFILL], np.uint8).astype(np.int64)[:, None]

    def read() -> None:
        states = model.initial_states(1)
        for start in range(0, PREFILL, chunk):
            states = list(model.step(tokens[start : start + chunk], states).states)

    return Workload(name, read, PREFILL)


def measure(
    workloads: Sequence[Workload], *, turns: int, advance: Callable[[], None], block_s: float = _BLOCK_S
) -> Times:
    """Take turns; `advance` is called after each. The first run of each workload warms it up and is not counted."""
    counts = {}
    for workload in workloads:
        workload.run()
        counts[workload.name] = max(1, round(block_s / max(_timed(workload, 1), 1e-9)))
    by_name: dict[str, list[float]] = {workload.name: [] for workload in workloads}
    for turn in range(turns):
        for workload in workloads if turn % 2 == 0 else reversed(workloads):
            by_name[workload.name].append(_timed(workload, counts[workload.name]))
        advance()
    return Times(by_name, {workload.name: workload.tokens for workload in workloads})


def _timed(workload: Workload, count: int) -> float:
    began_s = time.thread_time()
    for _ in range(count):
        workload.run()
    return (time.thread_time() - began_s) / count
