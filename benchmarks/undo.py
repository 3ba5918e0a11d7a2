"""`carousel bench undo`: what going back costs, over typing one letter that needs its model step.

Three texts are gone back in, because where a state comes from decides its cost: one that was typed under a budget that
holds every state; one that was pasted, of which every 32nd state was made; and one that was typed under a budget so
small that only the states that the checkpoint rule asks for are left (docs/decisions/004-state-tree.md).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Annotated

import typer

from benchmarks.keystrokes import Typist, typing_after
from benchmarks.machine import Circumstances, arguments_of_this_process, circumstances
from benchmarks.options import (
    JsonOption,
    ModelOption,
    OutOption,
    PrecisionOption,
    SaveOption,
    caption,
    failing_in_one_line,
    precision_flags,
)
from benchmarks.pictures import Series, draw_distribution
from benchmarks.ratios import ratio_of
from benchmarks.report import RESULTS, Figure, Report, conclude
from benchmarks.serving import Measured, own_server
from benchmarks.texts import held_out_text
from carousel_client import Client, Delete, Insert, Stop, SuggestOptions

STEPS = "carousel_model_steps_total"
BACKSPACE_BAR, JUMP_BAR = 1.5, 20.0
_LETTERS = 10  # typed and deleted again in each repetition
_SEED = 4
_TIMEOUT_S = 60.0
_SUGGEST = SuggestOptions(1, 1, Stop.NONE)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A text to go back in: what it is called, whether it was pasted, and the server's state budget if not its own."""

    key: str
    title: str
    pasted: bool = False
    budget_bytes: int | None = None


SCENARIOS = (
    Scenario("typed", "typed text"),
    Scenario("pasted", "pasted text", pasted=True),
    Scenario("reclaimed", "budget of 4 MiB", budget_bytes=4 << 20),
)


@dataclass(slots=True)
class Taken:
    """Seconds: the medians of typing and deleting by repetition, and each repetition's one jump with its steps."""

    typed_s: list[float] = field(default_factory=list)
    backspace_s: list[float] = field(default_factory=list)
    jump_s: list[float] = field(default_factory=list)
    jump_steps: list[float] = field(default_factory=list)

    @property
    def backspace_ratio(self) -> float:
        """p50 of a backspace over that of a typed letter."""
        return ratio_of(self.backspace_s, self.typed_s).value

    @property
    def jump_ratio(self) -> float:
        """p50 of a jump back over that of a typed letter."""
        return ratio_of(self.jump_s, self.typed_s).value


def undo(
    jump_bytes: Annotated[int, typer.Option(min=1, help="How far a jump goes back.")] = 1_000,
    repetitions: Annotated[int, typer.Option(min=1, help="Sessions in each scenario.")] = 30,
    model: ModelOption = None,
    precision: PrecisionOption = None,
    out: OutOption = RESULTS,
    save: SaveOption = True,
    json: JsonOption = False,
) -> None:
    """Type, delete a letter and jump back in one session after the other, and compare what they take."""
    where = circumstances(arguments_of_this_process())
    taken: dict[str, Taken] = {}
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    with failing_in_one_line():
        for scenario in SCENARIOS:
            budget = ("--state-budget", str(scenario.budget_bytes)) if scenario.budget_bytes else ()
            with own_server(model, (*precision_flags(precision), *budget)) as measured:
                taken[scenario.key] = measure(measured, scenario, jump_bytes, repetitions)
    cpu_share = (time.process_time() - cpu_began_s) / (time.perf_counter() - began_s)
    settings = {"jump_bytes": jump_bytes, "repetitions": repetitions, "precision": precision}
    report = report_of(taken, jump_bytes, cpu_share, settings, where)
    series = [
        Series(f"{kind}, {scenario.title}", [second * 1e3 for second in seconds])
        for scenario in SCENARIOS
        for kind, seconds in (
            ("letter", taken[scenario.key].typed_s),
            ("backspace", taken[scenario.key].backspace_s),
            (f"{jump_bytes:,} back", taken[scenario.key].jump_s),
        )
    ]

    def draw(path: Path) -> None:
        draw_distribution(path, series, title=report.title, unit="ms", share_of="repetitions", caption=caption(where))

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


def measure(measured: Measured, scenario: Scenario, jump_bytes: int, repetitions: int) -> Taken:
    """One session for each repetition, of a text that no other has. Raises BenchmarkError and CarouselErrors."""
    chosen = random.Random(_SEED)
    length = jump_bytes + 200
    text = held_out_text(length * (repetitions + 1))
    taken = Taken()
    with Client(measured.target, timeout_s=_TIMEOUT_S) as client:
        for number in range(repetitions):
            part = text[number * length : (number + 1) * length]
            part += "".join(chosen.choices("abcdefgh", k=chosen.randrange(1, 32)))  # the jump's end is no round number
            steps = _repeat(client, part, scenario, jump_bytes, chosen, taken, lambda: measured.counter(STEPS))
            taken.jump_steps.append(steps)
    return taken


def _repeat(
    client: Client,
    text: str,
    scenario: Scenario,
    jump_bytes: int,
    chosen: random.Random,
    taken: Taken,
    steps_so_far: Callable[[], float],
) -> float:
    """One session; returns the model steps of its jump."""
    before = len(text) if scenario.pasted else len(text) - jump_bytes - _LETTERS
    with typing_after(client, text[:before], _SUGGEST) as typist:
        if not scenario.pasted:
            typist.type_blindly(text[before:])
            typist.press(Insert(" "))
        typed_s, backspace_s = _letters_and_backspaces(typist, chosen)
        taken.typed_s.append(median(typed_s))
        taken.backspace_s.append(median(backspace_s))
        steps_before = steps_so_far()
        taken.jump_s.append(typist.press(Delete(jump_bytes)))
        return steps_so_far() - steps_before


def _letters_and_backspaces(typist: Typist, chosen: random.Random) -> tuple[list[float], list[float]]:
    typed_s = [typist.press_unforeseen(chosen) for _ in range(_LETTERS)]
    return typed_s, [typist.press(Delete(1)) for _ in range(_LETTERS)]


def report_of(
    taken: dict[str, Taken], jump_bytes: int, cpu_share: float, settings: Mapping[str, object], where: Circumstances
) -> Report:
    """The table: what going back costs in each scenario, over typing a letter in the same one."""
    figures = []
    for scenario in SCENARIOS:
        one = taken[scenario.key]
        figures += [
            Figure(
                f"backspace_{scenario.key}",
                f"backspace over a typed letter, {scenario.title}",
                one.backspace_ratio,
                bar=f"<= {BACKSPACE_BAR}",
            ),
            Figure(
                f"jump_{scenario.key}",
                f"jump back {jump_bytes:,} bytes over a typed letter, {scenario.title}",
                one.jump_ratio,
                bar=f"<= {JUMP_BAR:.0f}",
            ),
            Figure(f"typed_{scenario.key}_ms", "  p50 of a typed letter", median(one.typed_s) * 1e3, "ms"),
            Figure(f"backspace_{scenario.key}_ms", "  p50 of a backspace", median(one.backspace_s) * 1e3, "ms"),
            Figure(f"jump_{scenario.key}_ms", "  p50 of the jump", median(one.jump_s) * 1e3, "ms"),
            Figure(
                f"jump_{scenario.key}_steps", "  model steps of the jump, on average", mean(one.jump_steps), digits=1
            ),
        ]
    figures.append(Figure("client_cpu_share", "CPU of the load generator, of one core", cpu_share))
    return Report("undo", "undo: going back, over typing one letter", tuple(figures), where, settings)
