"""`carousel bench context`: does a keystroke cost more in a long text?

Two typists take turns on one server, one in a session of 10 bytes and one of 100,000. Both type letters that were not
suggested, so that each key needs the same model steps: one for itself and those of its suggestion. Every repetition has
a short session of its own, so that no key was ever typed before.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
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
from carousel_client import Client, Stop, SuggestOptions

STEPS = "carousel_model_steps_total"
BAR = 1.1
_SUGGESTION_BYTES = (1, 16)
_TIMEOUT_S = 60.0
_SEED = 3


@dataclass(frozen=True, slots=True)
class Taken:
    """The seconds of every key in the short and in the long text, by repetition, and what they took."""

    short_s: list[list[float]]
    long_s: list[list[float]]
    steps_per_key: float

    @property
    def ratio(self) -> float:
        """The median over the repetitions of p50 in the long text over p50 in the short one."""
        return ratio_of(list(map(median, self.long_s)), list(map(median, self.short_s))).value


def context(
    short_bytes: Annotated[int, typer.Option(min=1, help="The short text.")] = 10,
    long_bytes: Annotated[int, typer.Option(min=1, help="The long text.")] = 100_000,
    repetitions: Annotated[int, typer.Option(min=1, help="Short sessions, one after the other.")] = 20,
    keys: Annotated[int, typer.Option(min=1, help="Keys in each text in each repetition.")] = 50,
    model: ModelOption = None,
    precision: PrecisionOption = None,
    out: OutOption = RESULTS,
    save: SaveOption = True,
    json: JsonOption = False,
) -> None:
    """Type in a short and in a long text by turns, and compare the time of a keystroke."""
    where = circumstances(arguments_of_this_process())
    with failing_in_one_line(), own_server(model, precision_flags(precision)) as measured:
        began_s, cpu_began_s = time.perf_counter(), time.process_time()
        text = held_out_text(max(long_bytes, 2 * repetitions * short_bytes))
        taken = {
            size: measure(measured, text, short_bytes, long_bytes, repetitions, keys, size)
            for size in _SUGGESTION_BYTES
        }
        cpu_share = (time.process_time() - cpu_began_s) / (time.perf_counter() - began_s)
    settings = {"short_bytes": short_bytes, "long_bytes": long_bytes, "repetitions": repetitions, "keys": keys}
    report = report_of(taken, cpu_share, {**settings, "precision": precision}, where)
    series = [
        Series(f"{length:,} bytes, suggestion of {size}", [one * 1e3 for keys_s in seconds for one in keys_s])
        for size, one in taken.items()
        for length, seconds in ((short_bytes, one.short_s), (long_bytes, one.long_s))
    ]

    def draw(path: Path) -> None:
        draw_distribution(path, series, title=report.title, unit="ms", share_of="keystrokes", caption=caption(where))

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


def measure(
    measured: Measured,
    text: str,
    short_bytes: int,
    long_bytes: int,
    repetitions: int,
    keys: int,
    suggestion_bytes: int,
) -> Taken:
    """Type `keys` letters in both texts by turns, `repetitions` times. Raises BenchmarkError and CarouselErrors."""
    chosen = random.Random(_SEED + suggestion_bytes)
    suggest = SuggestOptions(1, suggestion_bytes, Stop.NONE)
    short_s: list[list[float]] = []
    long_s: list[list[float]] = []
    steps = 0.0
    with (
        Client(measured.target, timeout_s=_TIMEOUT_S) as client,
        typing_after(client, text[:long_bytes], suggest) as in_long,
    ):
        for _ in range(repetitions):
            start = chosen.randrange(len(text) - short_bytes + 1)
            with typing_after(client, text[start : start + short_bytes], suggest) as in_short:
                _by_turns(in_short, in_long, 2, chosen)  # the first keys find cold caches
                steps_before = measured.counter(STEPS)
                short, long = _by_turns(in_short, in_long, keys, chosen)
                steps += measured.counter(STEPS) - steps_before
            short_s.append(short)
            long_s.append(long)
    return Taken(short_s, long_s, steps / (2 * keys * repetitions))


def _by_turns(one: Typist, other: Typist, keys: int, chosen: random.Random) -> tuple[list[float], list[float]]:
    one_s, other_s = [], []
    for number in range(keys):
        if number % 2:  # neither always goes first
            other_s.append(other.press_unforeseen(chosen))
            one_s.append(one.press_unforeseen(chosen))
        else:
            one_s.append(one.press_unforeseen(chosen))
            other_s.append(other.press_unforeseen(chosen))
    return one_s, other_s


def report_of(
    taken: dict[int, Taken], cpu_share: float, settings: Mapping[str, object], where: Circumstances
) -> Report:
    """The table: for each length of suggestion the ratio and what it is made of."""
    long_bytes, short_bytes = settings["long_bytes"], settings["short_bytes"]
    figures = []
    for size, one in taken.items():
        said = f"suggestion of {size} byte{'s' if size > 1 else ''}"
        figures += [
            Figure(
                f"p50_ratio_{size}",
                f"p50 per keystroke at {long_bytes:,} bytes over that at {short_bytes}, {said}",
                one.ratio,
                digits=3,
                bar=f"<= {BAR}",
            ),
            Figure(f"p50_short_{size}_ms", "  p50 in the short text", _p50_ms(one.short_s), "ms"),
            Figure(f"p50_long_{size}_ms", "  p50 in the long text", _p50_ms(one.long_s), "ms"),
            Figure(f"steps_per_keystroke_{size}", "  model steps per keystroke", one.steps_per_key),
        ]
    figures.append(Figure("client_cpu_share", "CPU of the load generator, of one core", cpu_share))
    title = "context: a keystroke in a long text and in a short one"
    return Report("context", title, tuple(figures), where, settings)


def _p50_ms(repetitions_s: list[list[float]]) -> float:
    return median([one for keys_s in repetitions_s for one in keys_s]) * 1e3
