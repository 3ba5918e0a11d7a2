"""`carousel bench free`: how much of what is typed was computed already, because it had been suggested.

Every held-out file of the standard library has a session and a tenant of its own, so that no file profits from another.
A slice from its middle is typed character by character, after all that comes before it; suggestions are asked for at
every keystroke and awaited, never accepted. The figures are the server's own counters.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.held_out import held_out_library_files
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
from benchmarks.report import RESULTS, BenchmarkError, Figure, Report, conclude
from benchmarks.serving import Measured, own_server
from carousel_client import FinishReason, Insert, Stop, SuggestOptions
from carousel_client.aio import AsyncClient, AsyncSession

FREE_BARS = {1: 0.7, 3: 0.82}
STEPS_BARS = {1: 6.0}
_COUNTERS = {
    "held": ("carousel_moved_bytes_total", {"result": "held"}),
    "computed": ("carousel_moved_bytes_total", {"result": "computed"}),
    "steps": ("carousel_model_steps_total", {}),
    "lookups_held": ("carousel_tree_lookups_total", {"result": "held"}),
    "lookups_computed": ("carousel_tree_lookups_total", {"result": "computed"}),
}
_PASTE = 50_000
_PAUSE_S = 0.02
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a file that is typed, after what comes before it in the file."""

    before: str
    typed: str


@dataclass(frozen=True, slots=True)
class Counted:
    """What typing all slices took, by the server's counters."""

    typed_bytes: int
    held: float
    computed: float
    steps: float
    seconds: float

    @property
    def free(self) -> float:
        """The share of typed bytes whose states were there."""
        return self.held / self.typed_bytes

    @property
    def steps_per_byte(self) -> float:
        """Model steps over typed bytes, those of all suggestions included."""
        return self.steps / self.typed_bytes


def free(
    limit_bytes: Annotated[int, typer.Option(min=1, help="Characters typed from the middle of each file.")] = 500,
    max_context: Annotated[int, typer.Option(min=0, help="Most characters before them.")] = 8_000,
    files: Annotated[int | None, typer.Option(min=1, help="Only the first N held-out files.")] = None,
    counts: Annotated[list[int] | None, typer.Option("--count", help="Suggestions per key; 1 and 3 if none.")] = None,
    max_bytes: Annotated[int, typer.Option(min=1, max=512, help="Bytes of a suggestion.")] = 16,
    stop: Annotated[Stop, typer.Option(help="Where a suggestion ends.")] = Stop.NONE,
    model: ModelOption = None,
    precision: PrecisionOption = None,
    out: OutOption = RESULTS,
    save: SaveOption = True,
    json: JsonOption = False,
) -> None:
    """Type held-out files with suggestions at every key, and count what needed no model step."""
    where = circumstances(arguments_of_this_process())
    slices = slices_of_library(limit_bytes, max_context, files)
    cpu_began_s, began_s = time.process_time(), time.perf_counter()
    counted: dict[int, Counted] = {}
    flags = ("--trust-tenant-header", *precision_flags(precision))
    with failing_in_one_line(), own_server(model, flags) as measured:
        for count in counts or sorted(FREE_BARS):
            options = SuggestOptions(count, max_bytes, stop)
            counted[count] = asyncio.run(measure(measured, slices, options, f"count-{count}"))
    cpu_share = (time.process_time() - cpu_began_s) / (time.perf_counter() - began_s)
    settings = {
        "files": len(slices),
        "limit_bytes": limit_bytes,
        "max_context": max_context,
        "max_bytes": max_bytes,
        "stop": stop.value,
        "precision": precision,
    }
    report = report_of(counted, cpu_share, settings, where)

    def draw(path: Path) -> None:
        bars = [Bar(f"{count} suggestion{'s'[: count > 1]}", one.free) for count, one in counted.items()]
        draw_bars(path, bars, title=report.title, unit="share of typed bytes", caption=caption(where))

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


def slices_of_library(limit: int, max_context: int, files: int | None) -> list[Slice]:
    """The middle of each held-out file, and what comes before it; small files whole, empty ones not at all."""
    found = []
    for path in list(held_out_library_files())[:files]:
        text = path.read_text(encoding="utf-8")
        if text:
            found.append(middle_of(text, limit, max_context))
    return found


def middle_of(text: str, limit: int, max_context: int) -> Slice:
    """`limit` characters from the middle of a text, and at most `max_context` before them."""
    start = max((len(text) - limit) // 2, 0)
    return Slice(text[max(start - max_context, 0) : start], text[start : start + limit])


async def measure(measured: Measured, slices: list[Slice], suggest: SuggestOptions, tenants: str) -> Counted:
    """Type all slices at once, each under a tenant of its own. Raises BenchmarkError and CarouselErrors."""
    async with AsyncExitStack() as stack:
        sessions = [
            await _session_after(stack, measured, one.before, f"{tenants}-{number}", suggest)
            for number, one in enumerate(slices)
        ]
        before = {key: measured.counter(name, **labels) for key, (name, labels) in _COUNTERS.items()}
        began_s = time.perf_counter()
        await asyncio.gather(
            *(_type(session, one.typed, suggest) for session, one in zip(sessions, slices, strict=True))
        )
        seconds = time.perf_counter() - began_s
        after = {key: measured.counter(name, **labels) for key, (name, labels) in _COUNTERS.items()}
    typed_bytes = sum(len(one.typed.encode()) for one in slices)
    grown = {key: after[key] - before[key] for key in _COUNTERS}
    if grown["held"] + grown["computed"] != typed_bytes:
        raise BenchmarkError(
            f"{typed_bytes} bytes were typed, but the server counted {grown['held'] + grown['computed']:.0f}: "
            "somebody else is typing, or its state budget is too small for this many sessions"
        )
    return Counted(typed_bytes, grown["held"], grown["computed"], grown["steps"], seconds)


async def _session_after(
    stack: AsyncExitStack, measured: Measured, text: str, tenant: str, suggest: SuggestOptions
) -> AsyncSession:
    client = await stack.enter_async_context(
        AsyncClient(measured.target, timeout_s=_TIMEOUT_S, headers={"x-carousel-tenant": tenant})
    )
    session = await stack.enter_async_context(client.session())
    for start in range(0, len(text), _PASTE):
        await session.edit([Insert(text[start : start + _PASTE])])
    await session.edit([], suggest=suggest)
    return session


async def _type(session: AsyncSession, text: str, suggest: SuggestOptions) -> None:
    for character in text:
        answer = await session.edit([Insert(character)], suggest=suggest)
        while answer.finish_reason is FinishReason.SHED:  # a busy machine: wait for them all the same
            await asyncio.sleep(_PAUSE_S)
            answer = await session.edit([], suggest=suggest)


def report_of(
    counted: dict[int, Counted], cpu_share: float, settings: Mapping[str, object], where: Circumstances
) -> Report:
    """The table: for each number of suggestions what was free and what the rest cost."""
    figures = []
    for count, one in counted.items():
        said = f"{count} suggestion{'s' if count > 1 else ''} of {settings['max_bytes']} bytes"
        free_bar = f">= {FREE_BARS[count]}" if count in FREE_BARS else ""
        steps_bar = f"<= {STEPS_BARS[count]:.0f}" if count in STEPS_BARS else ""
        figures += [
            Figure(f"free_{count}", f"typed bytes that needed no step, {said}", one.free, digits=3, bar=free_bar),
            Figure(f"steps_per_byte_{count}", f"model steps per typed byte, {said}", one.steps_per_byte, bar=steps_bar),
            Figure(f"keystrokes_per_s_{count}", "  keystrokes per second", one.typed_bytes / one.seconds, digits=0),
        ]
    typed_bytes = max(one.typed_bytes for one in counted.values())
    figures.append(Figure("typed_bytes", "bytes typed for each", typed_bytes, "bytes", 0))
    figures.append(Figure("client_cpu_share", "CPU of the load generator, of one core", cpu_share))
    title = f"free: typing {settings['files']} held-out files with suggestions at every key"
    return Report("free", title, tuple(figures), where, settings)
