"""`carousel bench memory`: resident bytes of a held session, over the size of the state that it holds.

A server of its own, whose state budget has room for about one state per session, holds sessions of distinct texts. What
is measured is the growth of the server process's resident memory from a first batch of sessions (which brings the
allocators' and the libraries' own growth with it) to the last one, over the sessions between, less one copy of their
texts: the state's row with its head and links, and everything that sessions, store and engine keep for a session.

Texts share their first part, so that ten million model steps need not be waited for; every session has its own text,
its own node, and its own state, which depends on all of it.
"""

from __future__ import annotations

import asyncio
import random
import string
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmarks.machine import Circumstances, arguments_of_this_process, circumstances
from benchmarks.options import (
    JsonOption,
    ModelOption,
    OutOption,
    SaveOption,
    caption,
    failing_in_one_line,
)
from benchmarks.pictures import Bar, draw_bars
from benchmarks.report import RESULTS, BenchmarkError, Figure, Report, conclude
from benchmarks.serving import Measured, own_server
from benchmarks.texts import held_out_text
from carousel_client import Stop, SuggestOptions
from carousel_client.aio import AsyncClient, AsyncSession
from service.model.manifest import ModelFolderError, read_manifest
from service.settings import shipped_model

BAR = 1.25
ROOM = 1.08  # states in the budget over sessions: reclaiming frees a sixteenth of all rows at once
_WORKING_ROWS = 512
_COLUMNS_BYTES = 160  # more than what the tree keeps of a node beside its state; checked by the count of held states
_FIRST = 500
_AT_ONCE = 32
_SEED = 5
_TIMEOUT_S = 120.0
_WIDTHS = {"float32": 4, "uint8": 1}


@dataclass(frozen=True, slots=True)
class Held:
    """What a server held, before and after the sessions that count."""

    sessions: int
    text_bytes: int
    resident_before: float
    resident_after: float
    state_bytes_after: float  # of the budget, in use

    @property
    def per_session(self) -> float:
        """Resident bytes of a session, one copy of its text apart."""
        return (self.resident_after - self.resident_before) / self.sessions - self.text_bytes


def memory(
    sessions: Annotated[int, typer.Option(min=10, help="Sessions that are held.")] = 10_000,
    text_bytes: Annotated[int, typer.Option(min=64, help="Bytes of text in each.")] = 1_000,
    distinct_bytes: Annotated[int, typer.Option(min=16, help="The last bytes of each text, its own alone.")] = 64,
    precision: Annotated[Literal["fp32", "int8"], typer.Option(help="The graph that is served.")] = "int8",
    model: ModelOption = None,
    out: OutOption = RESULTS,
    save: SaveOption = True,
    json: JsonOption = False,
) -> None:
    """Hold many sessions with one state each, and compare what the process grew by with the state's size."""
    where = circumstances(arguments_of_this_process())
    cpu_began_s, began_s = time.process_time(), time.perf_counter()
    with failing_in_one_line():
        state = state_bytes(model or shipped_model(), precision)
        first = min(_FIRST, sessions)
        rows = int((sessions + first) * ROOM) + _WORKING_ROWS
        limits = ("--max-sessions", str(sessions + first + 8), "--state-budget", str(rows * (state + _COLUMNS_BYTES)))
        with own_server(model, ("--precision", precision, *limits)) as measured:
            held = asyncio.run(measure(measured, sessions, first, text_bytes, distinct_bytes))
    cpu_share = (time.process_time() - cpu_began_s) / (time.perf_counter() - began_s)
    settings = {"distinct_bytes": distinct_bytes, "precision": precision, "first_sessions": first}
    report = report_of(held, state, cpu_share, settings, where)

    def draw(path: Path) -> None:
        bars = [
            Bar("the state alone", state),
            Bar("a session, text apart", held.per_session),
            Bar("a session with its text", held.per_session + held.text_bytes),
        ]
        draw_bars(path, bars, title=report.title, unit="resident bytes", caption=caption(where))

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


def state_bytes(folder: Path, precision: Literal["fp32", "int8"]) -> int:
    """The size of one state of that graph. Raises BenchmarkError."""
    try:
        graph = read_manifest(folder).graphs.get(precision)
    except ModelFolderError as error:
        raise BenchmarkError(str(error)) from error
    if graph is None:
        raise BenchmarkError(f"{folder} has no {precision} graph")
    return sum(_WIDTHS[tensor.dtype] * tensor.width for tensor in graph.states)


def texts(count: int, size: int, distinct: int) -> Sequence[str]:
    """Texts of `size` bytes, their first part the same and their last `distinct` bytes each text's own."""
    chosen = random.Random(_SEED)
    shared = held_out_text(size - distinct)
    return [shared + "".join(chosen.choices(string.ascii_lowercase + " ", k=distinct)) for _ in range(count)]


async def measure(measured: Measured, count: int, first: int, text_size: int, distinct: int) -> Held:
    """Hold `first` sessions, then `count` more. Raises BenchmarkError and CarouselErrors."""
    every = texts(first + count, text_size, distinct)
    async with AsyncClient(measured.target, timeout_s=_TIMEOUT_S) as client:
        await _hold(client, every[:first])
        before = measured.counter("process_resident_memory_bytes")
        await _hold(client, every[first:])
        after = measured.counter("process_resident_memory_bytes")
        held = measured.counter("carousel_sessions")
        if held < first + count:
            raise BenchmarkError(f"the server holds {held:.0f} sessions of {first + count}")
        return Held(count, text_size, before, after, measured.counter("carousel_state_bytes"))


async def _hold(client: AsyncClient, every: Sequence[str]) -> None:
    """Create a session of each text, and wait until its state is computed."""
    left = iter(every)
    wait_for_state = SuggestOptions(1, 1, Stop.NONE)

    async def one_after_another() -> None:
        for text in left:
            session: AsyncSession = await client.create(text)
            await session.edit([], suggest=wait_for_state)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(one_after_another())


def report_of(held: Held, state: int, cpu_share: float, settings: Mapping[str, object], where: Circumstances) -> Report:
    """The table."""
    figures = (
        Figure(
            "resident_over_state",
            "resident bytes per held session, text apart, over the state's size",
            held.per_session / state,
            bar=f"<= {BAR}",
        ),
        Figure("resident_bytes", "resident bytes per held session, text apart", held.per_session, "bytes", 0),
        Figure("state_bytes", "size of one state", state, "bytes", 0),
        Figure("text_bytes", "text of each session", held.text_bytes, "bytes", 0),
        Figure("sessions", "sessions", held.sessions, digits=0),
        Figure("resident_before_bytes", "the server process before", held.resident_before, "bytes", 0),
        Figure("resident_after_bytes", "the server process after", held.resident_after, "bytes", 0),
        Figure("budget_in_use_bytes", "state budget in use after", held.state_bytes_after, "bytes", 0),
        Figure("client_cpu_share", "CPU of the load generator, of one core", cpu_share),
    )
    title = f"memory: {held.sessions:,} sessions of {held.text_bytes:,} bytes, one state each"
    return Report("memory", title, figures, where, settings)
