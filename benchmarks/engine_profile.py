"""Where the engine's time goes: the model apart from the Python around it.

`python -m benchmarks.engine_profile [--model FOLDER] [--json]` turns an engine's loop by hand, without threads,
sessions or network, so that nothing waits for the interpreter lock. 64 paths, each in a scope of its own: with
`--wish typed` they type held-out code byte by byte, and each byte waits for a greedy suggestion of 16; with `--wish
greedy` each asks for a suggestion of 512 bytes, accepts it and asks again, so that every batch is full; with `--wish
complete` each asks for a completion of 1,024 bytes, again and again. The tree is full before anything is timed, as that
of a server is after its first minutes. Times are exclusive: what a phase calls is counted there and not here.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.texts import held_out_text
from service.engine.engine import Engine, EngineConfig
from service.engine.requests import (
    Advance,
    AdvanceResult,
    Complete,
    CompleteSpec,
    PathId,
    Piece,
    Stop,
    SuggestSpec,
)
from service.engine.state_tree import TreeConfig
from service.errors import CarouselError
from service.runtime.onnx_model import OnnxStepModel, load_model
from service.settings import shipped_model

_PATHS = 64
_CONTEXT_BYTES = 200
_TEXT_BYTES = 4_000
_BUDGET_BYTES = 64 << 20
_TICKS_TO_FILL = 250  # of 64 rows
_WISHES: dict[str, SuggestSpec | CompleteSpec] = {
    "typed": SuggestSpec(1, 16, Stop.NONE),
    "greedy": SuggestSpec(1, 512, Stop.NONE),
    "complete": CompleteSpec(1024),
}
_PHASES = (
    ("take what arrived", "_tasks", "begin"),
    ("go on with tasks", "_tasks", "go_on"),
    ("plan the batch", "_scheduler", "plan"),
    ("make room", "_tasks", "reserve"),
    ("gather states", "_tree", "gather"),
    ("run the model", "_model", "step"),
    ("run the model", "_model", "follow"),
    ("launch", "", "_run"),
    ("collect", "", "_collect"),
    ("nodes of steps", "_tree", "add_near"),
    ("nodes of ways", "_tree", "add_ways"),
    ("nodes at ends", "_tree", "add_ends"),
    ("states into rows", "_tree", "_store"),
    ("grant wishes", "_tasks", "grant"),
    ("answer", "_tasks", "hand_over"),
)


@dataclass(slots=True)
class Phases:
    """Exclusive seconds by phase; what is in no phase is the loop's own."""

    seconds: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    _children: list[float] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time inside, less that of phases inside of it."""
        self._children.append(0.0)
        began_s = time.perf_counter()
        try:
            yield
        finally:
            taken_s = time.perf_counter() - began_s
            own_s = taken_s - self._children.pop()
            self.seconds[name] = self.seconds.get(name, 0.0) + own_s
            self.calls[name] = self.calls.get(name, 0) + 1
            if self._children:
                self._children[-1] += taken_s

    def watch(self, owner: object, attribute: str, name: str) -> None:
        """Count every call of a method of this object as a phase."""
        method: Callable[..., Any] = getattr(owner, attribute)

        def counted(*arguments: Any, **named: Any) -> Any:
            with self.phase(name):
                return method(*arguments, **named)

        setattr(owner, attribute, counted)


@dataclass(slots=True)
class Writer:
    """One path: it stands after `text`, and `coming` is what will be typed there; empty if suggestions are accepted."""

    path: PathId
    text: bytes
    coming: bytes
    told: int = 0

    def go_on(self, suggested: bytes) -> None:
        """Type the next byte, or take what was suggested."""
        if self.coming:
            self.text, self.coming = self.text + self.coming[:1], self.coming[1:]
        else:
            self.text += suggested


class Profile:
    """An engine whose loop is turned by hand while its phases are timed."""

    def __init__(self, model: OnnxStepModel, wish: str) -> None:
        self._wish, self._spec = wish, _WISHES[wish]
        typed = wish == "typed"
        self._ready: list[Writer] = []
        self.told_bytes = 0
        config = EngineConfig(TreeConfig(budget_bytes=_BUDGET_BYTES), max_wait_s=60.0)
        self.engine = Engine(model, config, clock=time.monotonic)
        text = held_out_text(_PATHS * _TEXT_BYTES).encode()
        parts = [text[start : start + _TEXT_BYTES] for start in range(0, len(text), _TEXT_BYTES)]
        self.writers = [
            Writer(
                self.engine.open_path(f"scope {number}"), part[:_CONTEXT_BYTES], part[_CONTEXT_BYTES:] if typed else b""
            )
            for number, part in enumerate(parts)
        ]

    def watch(self, phases: Phases) -> None:
        """Time the engine's phases from now on."""
        for name, part, attribute in _PHASES:
            phases.watch(getattr(self.engine, part) if part else self.engine, attribute, name)

    def warm(self) -> None:
        """Bring every path to its context, and fill the tree."""
        self._ready = list(self.writers)
        self._submit()
        while len(self._ready) < _PATHS:
            self.engine.tick()
        self.run(_TICKS_TO_FILL)

    def run(self, ticks: int) -> None:
        """Turn the loop so many times."""
        for _ in range(ticks):
            self._submit()
            self.engine.tick()

    def _submit(self) -> None:
        ready, self._ready = self._ready, []
        for writer in ready:
            kept, writer.told = writer.told, len(writer.text)
            spec = self._spec
            if isinstance(spec, CompleteSpec):
                if kept < len(writer.text):
                    self.engine.submit(Advance(writer.path, writer.text, kept), _nothing)
                request = Complete(writer.path, writer.text, len(writer.text), spec)
                self.engine.submit(request, partial(self._told, writer))
            else:
                self.engine.submit(Advance(writer.path, writer.text, kept, spec), partial(self._answered, writer))

    def _told(self, writer: Writer, piece: Piece | CarouselError) -> None:
        if isinstance(piece, CarouselError):
            raise piece
        self.told_bytes += len(piece.text)
        if piece.finish is not None:
            writer.text = writer.text[:_CONTEXT_BYTES] + bytes((97 + self.told_bytes % 26,))
            self._ready.append(writer)

    def _answered(self, writer: Writer, result: AdvanceResult | CarouselError) -> None:
        if isinstance(result, CarouselError):
            raise result
        writer.go_on(result.continuations[0].text if result.continuations else b"\n")
        self._ready.append(writer)


def _nothing(result: object) -> None:
    """Nobody waits for a movement."""


def bare_rate(model: OnnxStepModel, steps: int) -> float:
    """Seconds of one step of 64 rows that feeds its own states and likeliest tokens back: the model without us."""
    result = model.step(np.full((1, _PATHS), model.start_token, np.int64), model.initial_states(_PATHS))
    began_s = time.perf_counter()
    for _ in range(steps):
        result = model.step(np.ascontiguousarray(result.top_tokens[:, 0])[None], result.states)
    return (time.perf_counter() - began_s) / steps


def measure(model: OnnxStepModel, ticks: int, wish: str) -> dict[str, float]:
    """Microseconds a tick by phase, and what they come to. Bare and engine are measured by turns, five times."""
    profile, phases = Profile(model, wish), Phases()
    profile.warm()
    plain_s, bare_s = [], []
    for _ in range(5):
        bare_s.append(bare_rate(model, ticks // 10))
        began_s = time.perf_counter()
        profile.run(ticks // 10)
        plain_s.append((time.perf_counter() - began_s) / (ticks // 10))
    rows = _Rows(profile)
    profile.watch(phases)
    with phases.phase("the loop itself"):
        profile.run(ticks // 2)
    total_s = sum(phases.seconds.values())
    figures = {name: seconds / (ticks // 2) * 1e6 for name, seconds in phases.seconds.items()}
    return {
        **{f"{name.strip()}_us": round(value, 1) for name, value in figures.items()},
        "tokens_per_tick": round(rows.count / (ticks // 2), 1),
        "tick_us": round(float(np.median(plain_s)) * 1e6, 1),
        "bare_step_of_64_us": round(float(np.median(bare_s)) * 1e6, 1),
        "share_of_the_model": round(phases.seconds["run the model"] / total_s, 3),
        "efficiency": round(_efficiency(bare_s, plain_s, rows.count / (ticks // 2)), 3),
    }


class _Rows:
    """Counts the tokens of every plan."""

    def __init__(self, profile: Profile) -> None:
        self.count = 0
        scheduler: Any = getattr(profile.engine, "_scheduler")  # noqa: B009  private there, and only looked at here
        plan = scheduler.plan

        def counted(*arguments: Any, **named: Any) -> Any:
            planned = plan(*arguments, **named)
            self.count += sum(batch.fed for batch in planned)
            return planned

        scheduler.plan = counted


def _efficiency(bare_s: list[float], plain_s: list[float], tokens_per_tick: float) -> float:
    """Tokens a second of the engine over those of the bare loop at 64 rows, by turns."""
    return (
        float(np.median([bare / plain for bare, plain in zip(bare_s, plain_s, strict=True)])) * tokens_per_tick / _PATHS
    )


def main() -> None:
    """Measure and print a table or a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=None, help="the model folder; the shipped one if none")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="int8")
    parser.add_argument("--wish", choices=tuple(_WISHES), default="greedy")
    parser.add_argument("--ticks", type=int, default=4_000)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    model = load_model(given.model or shipped_model(), given.precision)
    figures = measure(model, given.ticks, given.wish)
    if given.json:
        print(json.dumps(figures, indent=2))
        return
    table = Table("", "measured", title=f"engine: a tick of 64 rows, {given.wish}, {given.precision}")
    for name, value in figures.items():
        table.add_row(name.replace("_us", ", us"), f"{value:,.1f}" if name.endswith("us") else f"{value}")
    Console().print(table)


if __name__ == "__main__":
    main()
