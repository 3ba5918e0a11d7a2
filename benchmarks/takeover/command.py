"""The command: a session is taken over with and without a snapshot, and a crowd of them with and without a bound.

Servers of its own, one after the other, share a store: the first one makes the sessions, reads them and ends, the
others know nothing but what it left. Everything is taken from the first question about a session to its first
suggestion. The store is a SQLite file, or the one that is named, whose sessions are deleted at the end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
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
from benchmarks.takeover.crowd import ASK, Arrivals, arrive
from benchmarks.texts import held_out_text
from carousel_client import Client, FinishReason, Insert
from service.settings import SETTINGS

_APART = 997  # bytes between the beginnings of two texts, so that none is read for another's sake
_TIMEOUT_S = 300.0
_UNBOUNDED = 1_000_000


@dataclass(slots=True)
class Taken:
    """Seconds to the first suggestion in each session, and to that of the keystroke after it."""

    first_s: list[float] = field(default_factory=list)
    next_s: list[float] = field(default_factory=list)


def takeover(
    sessions: Annotated[int, typer.Option(min=1, help="Sessions that are taken over one by one.")] = 5,
    text_bytes: Annotated[int, typer.Option("--bytes", min=2048, help="Bytes of text in each.")] = 65_536,
    crowd: Annotated[int, typer.Option(min=1, help="Sessions that arrive at once.")] = 32,
    crowd_bytes: Annotated[int, typer.Option(min=2048, help="Bytes of text in each of those.")] = 8192,
    store: Annotated[str | None, typer.Option(help="A shared store, such as valkey://HOST:PORT/DB.")] = None,
    model: ModelOption = None,
    out: OutOption = RESULTS,
    save: SaveOption = True,
    json: JsonOption = False,
) -> None:
    """Take sessions over with a snapshot and without, and many at once with --max-replays and without."""
    where = circumstances(arguments_of_this_process())
    clock = time.process_time, time.perf_counter
    with failing_in_one_line(), TemporaryDirectory() as folder:
        kept = ("--store", store or f"sqlite:{folder}/sessions.sqlite")
        alone = texts_of("alone", sessions, text_bytes)
        together = texts_of("crowd", crowd, crowd_bytes)
        make(alone | together, model, kept)
        began = [now() for now in clock]
        with_state = take_over(list(alone), model, kept)
        without = take_over(list(alone), model, (*kept, "--no-snapshots"))
        bounded = take_crowd(list(together), model, kept, replays=None)
        unbounded = take_crowd(list(together), model, kept, replays=_UNBOUNDED)
        cpu_s, passed_s = (now() - then for now, then in zip(clock, began, strict=True))
        if store is not None:
            forget(alone | together, model, kept)
        report = report_of(
            (with_state, without),
            (bounded, unbounded),
            cpu_share=cpu_s / passed_s,
            settings={
                "sessions": sessions,
                "bytes": text_bytes,
                "crowd": crowd,
                "crowd_bytes": crowd_bytes,
                "store": kept[1].partition(":")[0],
                "max_replays": SETTINGS["max_replays"].default,
            },
            where=where,
        )
        series = [
            Series(title, [second * 1e3 for second in seconds])
            for title, seconds in (
                ("with a snapshot", with_state.first_s),
                ("without", without.first_s),
                (f"{crowd} at once, bounded", bounded.first_s),
                ("not bounded", unbounded.first_s),
            )
        ]

    def draw(path: Path) -> None:
        draw_distribution(path, series, title=report.title, unit="ms", share_of="sessions", caption=caption(where))

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


def texts_of(name: str, count: int, size: int) -> dict[str, str]:
    """Texts by the ids of their sessions, no two of which begin alike. Raises BenchmarkError."""
    text = held_out_text(size + count * _APART)
    return {f"takeover-{name}-{one}": text[one * _APART : one * _APART + size] for one in range(count)}


def make(texts: dict[str, str], model: Path | None, flags: tuple[str, ...]) -> None:
    """Have a server make the sessions and read them to their end; it ends as a replica does. Raises CarouselErrors."""
    with own_server(model, flags) as server, Client(server.target, timeout_s=_TIMEOUT_S) as client:
        for name, text in texts.items():
            client.session(text, id=name).suggest(1)


def take_over(names: Sequence[str], model: Path | None, flags: tuple[str, ...]) -> Taken:
    """Go on in each session at a server that has seen none of them. Raises BenchmarkError and CarouselErrors."""
    found = Taken()
    with own_server(model, flags) as server, Client(server.target, timeout_s=_TIMEOUT_S) as client:
        with client.session("import os\n") as warm:
            warm.suggest(1)
        for name in names:
            began_s = time.perf_counter()
            session = client.attach(name)
            answer = session.edit([Insert("x")], suggest=ASK)
            first_s = time.perf_counter()
            session.edit([Insert("y")], suggest=ASK)
            found.next_s.append(time.perf_counter() - first_s)
            found.first_s.append(first_s - began_s)
            if answer.finish_reason is FinishReason.SHED:
                raise BenchmarkError("the server was too busy to suggest")
    return found


def take_crowd(names: Sequence[str], model: Path | None, flags: tuple[str, ...], *, replays: int | None) -> Arrivals:
    """All of them at once, none with a snapshot, so many read at a time. Raises BenchmarkError and CarouselErrors."""
    bound = () if replays is None else ("--max-replays", str(replays))
    with own_server(model, (*flags, "--no-snapshots", *bound)) as server:
        return asyncio.run(arrive(server.target, names, held_out_text(500)))


def forget(texts: dict[str, str], model: Path | None, flags: tuple[str, ...]) -> None:
    """Delete the sessions. Raises CarouselErrors."""
    with own_server(model, flags) as server, Client(server.target, timeout_s=_TIMEOUT_S) as client:
        for name in texts:
            client.attach(name).close()


def report_of(
    alone: tuple[Taken, Taken],
    crowds: tuple[Arrivals, Arrivals],
    *,
    cpu_share: float,
    settings: dict[str, int | str],
    where: Circumstances,
) -> Report:
    """The table. alone: with snapshots, without.  crowds: bounded, not bounded."""
    with_state, without = (percentile(one.first_s, 50) * 1e3 for one in alone)
    figures = [
        Figure("with_ms", "first suggestion, with a snapshot, p50", with_state, "ms", 1),
        Figure("without_ms", "the same without", without, "ms", 0),
        Figure("with_over_without", "with over without", with_state / without, digits=3, bar="<= 0.05"),
        Figure("next_ms", "the keystroke after it, p50", percentile(alone[0].next_s, 50) * 1e3, "ms", 1),
    ]
    for key, title, one in zip(("bounded", "unbounded"), ("bounded", "not bounded"), crowds, strict=True):
        mean_s = sum(one.first_s) / len(one.first_s)
        figures += [
            Figure(f"crowd_{key}_mean_s", f"crowd, {title}: first suggestion, mean", mean_s, "s"),
            Figure(f"crowd_{key}_last_s", f"crowd, {title}: the last one's", max(one.first_s), "s"),
            Figure(f"typist_{key}_p50_ms", f"typist beside it, {title}: p50", _ms(one.keystroke_s, 50), "ms", 1),
            Figure(f"typist_{key}_p99_ms", f"typist beside it, {title}: p99", _ms(one.keystroke_s, 99), "ms", 1),
            Figure(f"typist_{key}_shed", f"typist beside it, {title}: suggestions shed", one.shed, digits=0),
        ]
    typist = _ms(crowds[0].keystroke_s, 99) / _ms(crowds[1].keystroke_s, 99)
    figures.append(Figure("typist_p99_ratio", "typist's p99, bounded over not bounded", typist, bar="<= 0.5"))
    figures.append(Figure("client_cpu_share", "CPU of the load generator, of one core", cpu_share))
    size, crowd = settings["bytes"], settings["crowd"]
    title = f"takeover: {size:,} bytes of text, and {crowd} times {settings['crowd_bytes']:,} at once"
    return Report("takeover", title, tuple(figures), where, settings)


def _ms(seconds: Sequence[float], percent: float) -> float:
    return percentile(seconds, percent) * 1e3
