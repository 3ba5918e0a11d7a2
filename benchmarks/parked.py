"""`carousel bench parked`: what a million sessions cost that nobody types in, on SQLite.

Two servers of its own, one after the other, are asked the same: one whose file holds only the sessions that are asked
for, and one whose file holds all the others, too. A session is asked for once, so each was parked when it is. Resident
bytes per parked session are what the second process has more than the first, over the sessions that it has more. To
open a file is timed by itself, in this process.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from benchmarks.machine import Circumstances, arguments_of_this_process, circumstances
from benchmarks.options import JsonOption, ModelOption, OutOption, SaveOption, caption, failing_in_one_line
from benchmarks.percentiles import percentile
from benchmarks.pictures import Series, draw_distribution
from benchmarks.report import RESULTS, BenchmarkError, Figure, Report, conclude
from benchmarks.serving import own_server
from benchmarks.texts import held_out_text
from carousel_client import Client, Insert
from service.model.manifest import read_manifest
from service.sessions.commands import SessionId, Tenant
from service.sessions.exactly_once import creation_digest
from service.sessions.keeping import Keeping
from service.sessions.records import Checkpoint, SessionKey
from service.sessions.stores.sqlite import SqliteStore
from service.sessions.stores.sqlite_file import SessionFile
from service.settings import shipped_model

BAR_BYTES = 512
_AT_ONCE = 2_000  # sessions made in one transaction
_OPENINGS = 5
_SEED = 11
_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Asked:
    """What one server took: seconds of the first read of each session and of the first keystroke after it."""

    read_s: list[float] = field(default_factory=list)
    keystroke_s: list[float] = field(default_factory=list)
    resident_bytes: float = 0.0
    cpu_share: float = 0.0  # of the load generator, of one core


def parked(
    sessions: Annotated[int, typer.Option(min=2, help="Sessions in the file.")] = 1_000_000,
    lookups: Annotated[int, typer.Option(min=1, help="Of these, sessions that are asked for.")] = 2_000,
    text_bytes: Annotated[int, typer.Option(min=1, help="Bytes of text in each.")] = 200,
    model: ModelOption = None,
    out: OutOption = RESULTS,
    save: SaveOption = True,
    json: JsonOption = False,
) -> None:
    """Fill a file with sessions, open it, ask for some of them, and compare with a file that holds only those."""
    where = circumstances(arguments_of_this_process())
    with failing_in_one_line(), TemporaryDirectory() as folder:
        if lookups >= sessions:
            raise BenchmarkError(f"--lookups {lookups}: give fewer than the {sessions} sessions")
        asked_for = random.Random(_SEED).sample(range(sessions), lookups)
        name = read_manifest(model or shipped_model()).name
        few, many = Path(folder) / "few.sqlite", Path(folder) / "many.sqlite"
        fill(few, asked_for, name, text_bytes)
        began_s = time.perf_counter()
        fill(many, range(sessions), name, text_bytes)
        filled_s = time.perf_counter() - began_s
        opened_s = [asyncio.run(opening_s(many)) for _ in range(_OPENINGS)]
        few_opened_s = [asyncio.run(opening_s(few)) for _ in range(_OPENINGS)]
        found = {file: ask(file, asked_for, model) for file in (few, many)}
        report = report_of(
            found[few],
            found[many],
            opening_ms=(percentile(few_opened_s, 50) * 1e3, percentile(opened_s, 50) * 1e3),
            file_bytes=many.stat().st_size,
            made_per_s=sessions / filled_s,
            settings={"sessions": sessions, "lookups": lookups, "text_bytes": text_bytes},
            where=where,
        )
        series = [
            Series(f"{kind}, {title}", [second * 1e3 for second in seconds])
            for title, one in (("few", found[few]), ("many", found[many]))
            for kind, seconds in (("read", one.read_s), ("keystroke", one.keystroke_s))
        ]

    def draw(path: Path) -> None:
        draw_distribution(path, series, title=report.title, unit="ms", share_of="sessions", caption=caption(where))

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


def fill(file: Path, numbers: Iterable[int], model: str, text_bytes: int) -> None:
    """Make a file that holds the sessions of these numbers. Raises CannotOpen."""
    kept = SessionFile(file, "store", Keeping(), time.time)
    text = held_out_text(text_bytes + 4096)
    left = iter(numbers)
    while some := list(islice(left, _AT_ONCE)):
        with kept.transaction():
            for number in some:
                own = text[number % 4096 : number % 4096 + text_bytes]
                kept.create(_key(number), Checkpoint(number + 1, 1, model, creation_digest(model, own), own, len(own)))
    kept.close()


async def opening_s(file: Path) -> float:
    """Seconds to open the file. Raises BenchmarkError if it is not what it was."""
    began_s = time.perf_counter()
    store = SqliteStore(file)
    store.opened()
    taken_s = time.perf_counter() - began_s
    await store.close()
    return taken_s


def ask(file: Path, numbers: Iterable[int], model: Path | None) -> Asked:
    """Read each of these sessions, and type a letter in it. Raises BenchmarkError and CarouselErrors."""
    found = Asked()
    flags = ("--store", f"sqlite:{file}")
    with own_server(model, flags) as measured, Client(measured.target, timeout_s=_TIMEOUT_S) as client:
        asking_s, cpu_s = time.perf_counter(), time.process_time()
        for number in numbers:
            began_s = time.perf_counter()
            session = client.attach(_key(number).id)
            read_s = time.perf_counter()
            session.edit([Insert("x")])
            found.keystroke_s.append(time.perf_counter() - read_s)
            found.read_s.append(read_s - began_s)
        found.cpu_share = (time.process_time() - cpu_s) / (time.perf_counter() - asking_s)
        found.resident_bytes = measured.counter("process_resident_memory_bytes")
    return found


def _key(number: int) -> SessionKey:
    return SessionKey(Tenant("default"), SessionId(f"session-{number}"))


def report_of(
    few: Asked,
    many: Asked,
    *,
    opening_ms: tuple[float, float],
    file_bytes: int,
    made_per_s: float,
    settings: dict[str, int],
    where: Circumstances,
) -> Report:
    """The table."""
    sessions, lookups = settings["sessions"], settings["lookups"]
    resident = (many.resident_bytes - few.resident_bytes) / (sessions - lookups)
    figures = (
        Figure("resident_bytes", "resident bytes per parked session", resident, "bytes", 1, bar=f"<= {BAR_BYTES}"),
        Figure("open_ms", "to open the file", opening_ms[1], "ms", 1),
        Figure("open_few_ms", f"to open a file of {lookups:,}", opening_ms[0], "ms", 1),
        Figure("read_p50_ms", "first read of a parked session, p50", percentile(many.read_s, 50) * 1e3, "ms"),
        Figure("read_p99_ms", "the same, p99", percentile(many.read_s, 99) * 1e3, "ms"),
        Figure("read_few_p50_ms", f"the same of {lookups:,}, p50", percentile(few.read_s, 50) * 1e3, "ms"),
        Figure("keystroke_p50_ms", "the keystroke after it, p50", percentile(many.keystroke_s, 50) * 1e3, "ms"),
        Figure("file_bytes", "bytes of the file per session", file_bytes / sessions, "bytes", 0),
        Figure("made_per_s", "sessions made per second", made_per_s, digits=0),
        Figure("sessions", "sessions", sessions, digits=0),
        Figure("client_cpu_share", "CPU of the load generator, of one core", many.cpu_share),
    )
    title = f"parked: {sessions:,} sessions of {settings['text_bytes']:,} bytes on SQLite"
    return Report("parked", title, figures, where, settings)
