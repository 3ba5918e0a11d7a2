"""`carousel bench prompts`: what a prompt costs that was sent before, but for its last byte, over OpenAI's protocol.

Every request carries the whole prompt, as programs without sessions send it, and asks for one byte more. A prompt is
sent once, then again and again with a letter more that nothing has foreseen, then with one less; in a short and in a
long text by turns, as a plain prompt and as one that is pinned to a session. At last a file is typed as llama.vim sends
it: 256 lines before the cursor, of which the first changes with every new line.
"""

from __future__ import annotations

import http.client
import json as json_
import random
import string
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any

import typer

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
from benchmarks.pictures import Bar, draw_bars
from benchmarks.ratios import ratio_of
from benchmarks.report import RESULTS, BenchmarkError, Figure, Report, conclude
from benchmarks.serving import Measured, own_server
from benchmarks.texts import held_out_text

STEPS = "carousel_model_steps_total"
STEPS_BAR = 1.0
_WINDOW_LINES = 256  # llama.vim's n_prefix
_TIMEOUT_S = 60.0
_SEED = 5


@dataclass(slots=True)
class Taken:
    """Of one kind of prompt, by repetition: seconds of the first request and medians of the others, and their steps."""

    first_s: list[float] = field(default_factory=list)
    next_s: list[float] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)
    next_steps: list[float] = field(default_factory=list)
    back_steps: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was measured: by kind of prompt, and the bytes read at each key of the typed file."""

    short: Taken
    long: Taken
    pinned: Taken
    read_bytes: Sequence[int]


class Caller:
    """One connection that is kept. Raises BenchmarkError for an answer that is none."""

    def __init__(self, measured: Measured) -> None:
        self._measured = measured
        if measured.http is None:
            raise BenchmarkError("the server's HTTP port is not known")
        self._connection = http.client.HTTPConnection(measured.http, timeout=_TIMEOUT_S)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The answer's JSON."""
        sent = {"content-type": "application/json", **(headers or {})}
        self._connection.request("POST", path, json_.dumps(body), sent)
        answer = self._connection.getresponse()
        content: dict[str, Any] = json_.loads(answer.read())
        if answer.status != http.client.OK:
            raise BenchmarkError(f"{path}: {answer.status} {content}")
        return content

    def complete(self, prompt: str, session: str | None) -> float:
        """The seconds of one byte more, the likeliest."""
        headers = {} if session is None else {"x-carousel-session": session}
        began_s = time.perf_counter()
        self.post("/v1/completions", {"prompt": prompt, "max_tokens": 1, "temperature": 0}, headers)
        return time.perf_counter() - began_s

    def steps(self) -> float:
        """The model steps of the server so far."""
        return self._measured.counter(STEPS)


def prompts(
    long_bytes: Annotated[int, typer.Option(min=200, help="The length of the long prompt.")] = 10_000,
    short_bytes: Annotated[int, typer.Option(min=1, help="The length of the short prompt.")] = 100,
    keys: Annotated[int, typer.Option(min=1, help="Letters that a prompt grows by in each repetition.")] = 20,
    repetitions: Annotated[int, typer.Option(min=1, help="Prompts of each kind.")] = 15,
    typed_bytes: Annotated[int, typer.Option(min=1, help="How much of a file is typed as llama.vim sends it.")] = 2_000,
    model: ModelOption = None,
    precision: PrecisionOption = None,
    out: OutOption = RESULTS,
    save: SaveOption = True,
    json: JsonOption = False,
) -> None:
    """Send prompts that grow and shrink by a byte, whole every time, and count what is computed for them."""
    where = circumstances(arguments_of_this_process())
    began_s, cpu_began_s = time.perf_counter(), time.process_time()
    with failing_in_one_line(), own_server(model, precision_flags(precision)) as measured:
        found = measure(measured, short_bytes, long_bytes, keys, repetitions, typed_bytes)
    cpu_share = (time.process_time() - cpu_began_s) / (time.perf_counter() - began_s)
    settings = {
        "long_bytes": long_bytes, "short_bytes": short_bytes, "keys": keys, "repetitions": repetitions,
        "typed_bytes": typed_bytes, "precision": precision,
    }  # fmt: skip
    report = report_of(found, long_bytes, short_bytes, cpu_share, settings, where)
    bars = [
        Bar(name, median(seconds) * 1e3)
        for name, seconds in (
            (f"{long_bytes:,} bytes,\nthe first time", found.long.first_s),
            ("the same and\na byte more", found.long.next_s),
            ("the same and\na byte less", found.long.back_s),
            ("a byte more,\npinned", found.pinned.next_s),
            (f"{short_bytes:,} bytes and\na byte more", found.short.next_s),
        )
    ]

    def draw(path: Path) -> None:
        draw_bars(path, bars, title=report.title, unit="ms, p50", caption=caption(where), logarithmic=True)

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


def measure(
    measured: Measured, short_bytes: int, long_bytes: int, keys: int, repetitions: int, typed_bytes: int
) -> Found:
    """Texts that no other repetition has. Raises BenchmarkError."""
    chosen = random.Random(_SEED)
    text = held_out_text((2 * long_bytes + short_bytes) * repetitions)
    kinds = (("short", short_bytes, False), ("long", long_bytes, False), ("pinned", long_bytes, True))
    taken = {name: Taken() for name, _, _ in kinds}
    at = 0
    with Caller(measured) as caller:
        for number in range(repetitions):
            for name, length, pinned in kinds:
                session = f"prompts-{number}" if pinned else None
                _grow_and_shrink(caller, text[at : at + length], session, keys, chosen, taken[name])
                at += length
        read = _type_a_file(caller, typed_bytes)
    return Found(taken["short"], taken["long"], taken["pinned"], read)


def _grow_and_shrink(
    caller: Caller, prompt: str, session: str | None, keys: int, chosen: random.Random, taken: Taken
) -> None:
    taken.first_s.append(caller.complete(prompt, session))
    grown = [prompt]
    for _ in range(keys):
        grown.append(grown[-1] + chosen.choice(string.ascii_uppercase))  # hardly ever the likeliest byte
    before = caller.steps()
    taken.next_s.append(median([caller.complete(one, session) for one in grown[1:]]))
    between = caller.steps()
    taken.back_s.append(median([caller.complete(one, session) for one in reversed(grown[:-1])]))
    taken.next_steps.append((between - before) / keys)
    taken.back_steps.append((caller.steps() - between) / keys)


def _type_a_file(caller: Caller, typed_bytes: int) -> list[int]:
    """Type behind some hundred lines; the bytes that were read at each key but the first."""
    lines = held_out_text(60_000 + typed_bytes).split("\n")
    before, rest = lines[: 2 * _WINDOW_LINES], "\n".join(lines[2 * _WINDOW_LINES :])[:typed_bytes]
    read = []
    for length in range(len(rest) + 1):
        *whole, line = rest[:length].split("\n")
        window = (before + whole)[-_WINDOW_LINES:]
        body = {"input_prefix": "\n".join(window) + "\n", "input_suffix": "", "prompt": line, "n_predict": 0}
        read.append(int(caller.post("/infill", body)["timings"]["prompt_n"]))
    return read[1:]


def report_of(
    found: Found,
    long_bytes: int,
    short_bytes: int,
    cpu_share: float,
    settings: Mapping[str, object],
    where: Circumstances,
) -> Report:
    """The table: steps first, then what they come to in time."""
    long, short, pinned = found.long, found.short, found.pinned
    by_step = f"<= {STEPS_BAR:.0f}"
    figures = (
        Figure("next_prompt_steps", "model steps of a prompt and a byte more", mean(long.next_steps), bar=by_step),
        Figure("back_prompt_steps", "  and a byte less", mean(long.back_steps), bar=by_step),
        Figure("next_pinned_steps", "model steps of a byte more, pinned", mean(pinned.next_steps), bar=by_step),
        Figure("back_pinned_steps", "  and a byte less", mean(pinned.back_steps), bar=by_step),
        Figure(
            "next_over_first",
            f"a byte more over {long_bytes:,} bytes the first time",
            ratio_of(long.next_s, long.first_s).value,
            digits=3,
        ),
        Figure(
            "long_over_short",
            f"a byte more in {long_bytes:,} bytes over one in {short_bytes:,}",
            ratio_of(long.next_s, short.next_s).value,
        ),
        Figure("first_prompt_ms", f"p50 of {long_bytes:,} bytes the first time", median(long.first_s) * 1e3, "ms"),
        Figure("next_prompt_ms", "p50 of a byte more", median(long.next_s) * 1e3, "ms"),
        Figure("back_prompt_ms", "p50 of a byte less", median(long.back_s) * 1e3, "ms"),
        Figure("next_pinned_ms", "p50 of a byte more, pinned", median(pinned.next_s) * 1e3, "ms"),
        Figure("infill_read_bytes", "bytes read a key, typed as llama.vim sends it", mean(found.read_bytes)),
        Figure(
            "infill_again_share",
            "  share of keys at which much was read again",
            mean([read > _WINDOW_LINES for read in found.read_bytes]),
            digits=4,
        ),
        Figure("client_cpu_share", "CPU of the load generator, of one core", cpu_share),
    )
    return Report("prompts", "prompts that grow by a byte, over OpenAI's protocol", figures, where, settings)
