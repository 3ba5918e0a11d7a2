"""How often was inferred and how long it took, by model, since the process began; over both facades together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Durations:
    """How often, and how long in all."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        """Once more."""
        self.count += 1
        self.ns += ns

    def told(self) -> dict[str, int]:
        """As the protocol says it."""
        return {"count": self.count, "ns": self.ns}


@dataclass(frozen=True, slots=True)
class Taken:
    """Where the time of one request went. total_ns: with what lies between."""

    input_ns: int
    infer_ns: int
    output_ns: int
    total_ns: int


@dataclass(slots=True)
class _OfBatch:
    input: Durations = field(default_factory=Durations)
    infer: Durations = field(default_factory=Durations)
    output: Durations = field(default_factory=Durations)

    def add(self, taken: Taken) -> None:
        self.input.add(taken.input_ns)
        self.infer.add(taken.infer_ns)
        self.output.add(taken.output_ns)

    def told(self) -> dict[str, dict[str, int]]:
        return {
            "compute_input": self.input.told(),
            "compute_infer": self.infer.told(),
            "compute_output": self.output.told(),
        }


class ModelStatistics:
    """Of one version of a model. now_ns: the wall clock, nanoseconds since 1970."""

    def __init__(self, model: str, version: str, now_ns: Callable[[], int]) -> None:
        self._model, self._version, self._now_ns = model, version, now_ns
        self._last_ms = 0
        self._rows = 0
        self._success, self._fail, self._all = Durations(), Durations(), _OfBatch()
        self._by_rows: dict[int, _OfBatch] = {}

    def succeeded(self, rows: int, taken: Taken) -> None:
        """A request with so many rows was answered."""
        self._last_ms = self._now_ns() // 1_000_000
        self._rows += rows
        self._success.add(taken.total_ns)
        self._all.add(taken)
        self._by_rows.setdefault(rows, _OfBatch()).add(taken)

    def failed(self, ns: int) -> None:
        """A request was refused, or its caller went away."""
        self._fail.add(ns)

    def told(self) -> dict[str, Any]:
        """As the JSON of Triton's ModelStatistics. Waiting is part of `compute_infer`; no answers are cached."""
        nothing = Durations().told()
        return {
            "name": self._model,
            "version": self._version,
            "last_inference": self._last_ms,
            "inference_count": self._rows,
            "execution_count": self._success.count,
            "inference_stats": {
                "success": self._success.told(),
                "fail": self._fail.told(),
                "queue": nothing,
                **self._all.told(),
                "cache_hit": nothing,
                "cache_miss": nothing,
            },
            "response_stats": {},
            "batch_stats": [
                {"batch_size": rows, **of_batch.told()} for rows, of_batch in sorted(self._by_rows.items())
            ],
            "memory_usage": [],
        }
