"""`carousel bench memory`: resident bytes of a held session, over the size of the state that it holds.

A server of its own, whose state budget has room for about one state per session, holds sessions of distinct texts. Two
things make up what a session takes. Its state, with head, links and its share of what the budget keeps free to work
with: the budget over all sessions held. And everything else that sessions, store and engine keep for it: the growth of
the process's resident memory from a first batch of sessions to the last one, less one copy of their texts.

The first batch is large, and asks for more. It fills the budget, of which no page is resident before it is used, and
pages come by the two megabytes: a growth with states in it would be wrong by more than a thousand bytes a session. And
it uses up what allocators had free when the server had started, which would hold a part of the sessions that count.

Texts share their first part, so that ten million model steps need not be waited for; every session has its own text,
its own node, and its own state, which depends on all of it.
"""

from __future__ import annotations

import asyncio
import math
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
FREE = 1 / 50  # of the states in the budget may be unused: a 64th is dropped at a time
_COLUMNS_BYTES = 144  # what the tree keeps of a node beside its state, and not less
_FULL = 0.96  # of the budget, at least, once it is filled: more than is dropped at once is never free
_FIRST = 5_000  # no more than the sessions that count
_FILLING = SuggestOptions(1, 16, Stop.NONE)  # what the first ask for: it makes states, which fill the budget
_WAITING = SuggestOptions(1, 1, Stop.NONE)  # what the others ask for, so that an answer says that their state is there
_AT_ONCE = 32
_SEED = 5
_TIMEOUT_S = 120.0
_RESIDENT, _STATES = "process_resident_memory_bytes", "carousel_state_bytes"
_WIDTHS = {"float32": 4, "uint8": 1}


@dataclass(frozen=True, slots=True)
class Held:
    """What a server held, before and after the sessions that count."""

    sessions: int  # that count
    first: int  # sessions before them
    text_bytes: int
    budget_bytes: int  # of states
    resident_before: float
    resident_after: float
    state_bytes_before: float  # of the budget, in use
    state_bytes_after: float

    @property
    def state_share(self) -> float:
        """Bytes of the budget for a session: its state with head and links, and its share of what is free."""
        return self.budget_bytes / (self.first + self.sessions)

    @property
    def beside(self) -> float:
        """Resident bytes of a session beside the budget, one copy of its text apart."""
        return (self.resident_after - self.resident_before) / self.sessions - self.text_bytes

    @property
    def per_session(self) -> float:
        """Resident bytes of a session, one copy of its text apart."""
        return self.state_share + self.beside

    def check(self, state: int) -> None:
        """Raise BenchmarkError unless the budget was filled before, and holds a state for each session after."""
        if self.state_bytes_before < _FULL * self.budget_bytes:
            raise BenchmarkError(f"the first {self.first} sessions did not fill the state budget: let it be smaller")
        if self.state_bytes_after < (self.first + self.sessions) * state:
            raise BenchmarkError("the state budget holds less than one state for each session")


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
        budget = math.ceil((sessions + first) / (1 - FREE)) * (state + _COLUMNS_BYTES)
        limits = ("--max-sessions", str(sessions + first), "--state-budget", str(budget))
        with own_server(model, ("--precision", precision, *limits)) as measured:
            held = asyncio.run(measure(measured, sessions, first, text_bytes, distinct_bytes, budget))
        held.check(state)
    cpu_share = (time.process_time() - cpu_began_s) / (time.perf_counter() - began_s)
    settings = {"distinct_bytes": distinct_bytes, "precision": precision}
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


async def measure(measured: Measured, count: int, first: int, text_size: int, distinct: int, budget_bytes: int) -> Held:
    """Hold `first` sessions, then `count` more. Raises BenchmarkError and CarouselErrors."""
    every = texts(first + count, text_size, distinct)
    async with AsyncClient(measured.target, timeout_s=_TIMEOUT_S) as client:
        await _hold(client, every[:first], _FILLING)
        before, states_before = measured.counter(_RESIDENT), measured.counter(_STATES)
        await _hold(client, every[first:], _WAITING)
        after, states_after = measured.counter(_RESIDENT), measured.counter(_STATES)
        held = measured.counter("carousel_sessions")
        if held < first + count:
            raise BenchmarkError(f"the server holds {held:.0f} sessions of {first + count}")
        return Held(count, first, text_size, budget_bytes, before, after, states_before, states_after)


async def _hold(client: AsyncClient, every: Sequence[str], suggest: SuggestOptions) -> None:
    """Create a session of each text, and wait until its state is computed."""
    left = iter(every)

    async def one_after_another() -> None:
        for text in left:
            session: AsyncSession = await client.create(text)
            await session.edit([], suggest=suggest)

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
        Figure(
            "budget_share_bytes", "of these: its state, and its share of what is free", held.state_share, "bytes", 0
        ),
        Figure("beside_bytes", "of these: everything else", held.beside, "bytes", 0),
        Figure("state_bytes", "size of one state", state, "bytes", 0),
        Figure("text_bytes", "text of each session", held.text_bytes, "bytes", 0),
        Figure("sessions", "sessions", held.sessions, digits=0),
        Figure("first_sessions", "sessions before them", held.first, digits=0),
        Figure("resident_before_bytes", "the server process before", held.resident_before, "bytes", 0),
        Figure("resident_after_bytes", "the server process after", held.resident_after, "bytes", 0),
        Figure("budget_bytes", "state budget", held.budget_bytes, "bytes", 0),
        Figure("budget_in_use_before_bytes", "state budget in use before", held.state_bytes_before, "bytes", 0),
        Figure("budget_in_use_bytes", "state budget in use after", held.state_bytes_after, "bytes", 0),
        Figure("client_cpu_share", "CPU of the load generator, of one core", cpu_share),
    )
    title = f"memory: {held.sessions:,} sessions of {held.text_bytes:,} bytes, one state each"
    return Report("memory", title, figures, where, settings)
