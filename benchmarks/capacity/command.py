"""`carousel bench capacity`: what a million people typing at once need, from what one keystroke costs.

Servers of its own, with a Valkey behind and an Envoy before them, serve people who type at their own pace, as many as
leave a third of the server's core free; what is counted then is CPU, bytes and operations for each keystroke. The rest
is arithmetic, and can be done again over the last result for other people (`--recorded`).
"""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.capacity.costs import BASE, Costs
from benchmarks.capacity.measuring import Plan, measure
from benchmarks.capacity.needs import Assumptions, limits, needs, scenarios
from benchmarks.capacity.page import PAGE, with_tables
from benchmarks.machine import Circumstances, arguments_of_this_process, circumstances
from benchmarks.options import JsonOption, ModelOption, OutOption, SaveOption, caption, failing_in_one_line
from benchmarks.pictures import Bar, draw_bars
from benchmarks.report import RESULTS, BenchmarkError, Figure, Report, conclude

_NAME = "capacity"
_DEFAULT = Assumptions()
_PLAN = Plan()


def capacity(
    people: Annotated[int, typer.Option(min=1, help="People who have a session open.")] = _DEFAULT.people,
    pace: Annotated[float, typer.Option(min=0.01, help="Keys a second of one person.")] = _DEFAULT.keystrokes_per_s,
    typing: Annotated[float, typer.Option(min=0.001, max=1, help="The share of them who type.")] = _DEFAULT.typing,
    text_bytes: Annotated[int, typer.Option(min=1, help="Bytes of a session's text.")] = _DEFAULT.text_bytes,
    kept: Annotated[int, typer.Option(min=1, help="Sessions that are kept for each.")] = _DEFAULT.kept,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of typing for each figure.")] = _PLAN.seconds,
    sessions: Annotated[int, typer.Option(min=100, help="Sessions held to know what one takes.")] = _PLAN.sessions,
    answered: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of keys that must get their suggestions.")
    ] = _PLAN.answered,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Measure nothing: use the folder's last result.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help=f"Put the tables into {PAGE}.")] = False,
    model: ModelOption = None,
    out: OutOption = RESULTS,
    save: SaveOption = True,
    json: JsonOption = False,
) -> None:
    """Measure what a keystroke and a session cost, and compute what so many people need and what is full first."""
    given = Assumptions(people=people, keystrokes_per_s=pace, typing=typing, text_bytes=text_bytes, kept=kept)
    with failing_in_one_line():
        if recorded:
            costs, where = costs_of(out)
        else:
            where = circumstances(arguments_of_this_process())
            warm_up_s = min(seconds, _PLAN.warm_up_s)
            plan = Plan(seconds, warm_up_s, 1 / pace, given.utilization, sessions, answered)
            costs = measure(plan, model, lambda what: print(f"measuring: {what}", file=sys.stderr, flush=True))
        report = report_of(costs, given, where)
        if write:
            PAGE.write_text(with_tables(_page(), costs, given, where), encoding="utf-8")
            print(f"written: {PAGE}", file=sys.stderr)

    def draw(path: Path) -> None:
        bars = [Bar(name, one.replicas) for name, one in scenarios(costs, given).items()]
        draw_bars(path, bars, title=report.title, unit="replicas of one core", caption=caption(where))

    conclude(report, as_json=json, folder=out if save and not recorded else None, draw=draw)


def costs_of(folder: Path) -> tuple[Costs, Circumstances]:
    """What was measured last, and where. Raises BenchmarkError."""
    path = folder / f"{_NAME}.json"
    try:
        document: Mapping[str, Any] = json_.loads(path.read_text(encoding="utf-8"))
        where = {one.name: document["circumstances"][one.name] for one in fields(Circumstances)}
        return Costs.of_json(document["details"]["costs"]), Circumstances(**where)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"{path} holds no result of this command; measure one without --recorded") from error


def report_of(costs: Costs, given: Assumptions, where: Circumstances) -> Report:
    """The table; the costs themselves go to the file."""
    base = needs(costs, BASE, given)
    measured = costs.keystroke[BASE]
    rows = [
        Figure("server_us", "server's CPU for a keystroke with one suggestion", measured.server_s * 1e6, "us", 0),
        Figure("model_us", "  of it the model", measured.model_s * 1e6, "us", 0),
        Figure("steps_per_keystroke", "  model steps", measured.steps),
        Figure("valkey_us", "Valkey's CPU for it", measured.store_s * 1e6, "us", 0),
        Figure("envoy_us", "Envoy's CPU for it", costs.proxy_s * 1e6, "us", 0),
        Figure("keystrokes_per_s", f"keystrokes of {given.people:,} people", base.keystrokes_per_s, "/s", 0),
        Figure("replicas", "replicas of one core", base.replicas, digits=0),
        Figure("people_per_replica", "people for each", base.people_per_replica, digits=0),
        Figure("replica_gib", "memory of all replicas", base.replica_bytes * base.replicas / 2**30, "GiB", 0),
        Figure("valkeys", "Valkeys", base.stores, digits=0),
        Figure("valkey_gib", "memory of all Valkeys", base.store_bytes / 2**30, "GiB", 0),
        Figure("envoys", "Envoys", base.proxies, digits=0),
        Figure("callers_in_gbit_per_s", "from callers", base.callers_in_bits_per_s / 1e9, "Gbit/s", 1),
        Figure("callers_out_gbit_per_s", "to callers", base.callers_out_bits_per_s / 1e9, "Gbit/s", 1),
        Figure("store_gbit_per_s", "between replicas and Valkeys", base.store_bits_per_s / 1e9, "Gbit/s", 1),
    ]
    rows.append(
        Figure("undisturbed", "share of its time that the server had a core", measured.undisturbed),
    )
    rows.append(
        Figure("client_cpu_share", "CPU of the people's process, of one core", measured.client_cpu_share),
    )
    for limit in limits(costs, given):
        key = f"people_until_{limit.unit}_{limit.full}".replace(" ", "_").replace("/", "_")
        rows.append(Figure(key, f"people until {limit.unit} is full by {limit.full}", limit.people, digits=0))
    for name, one in scenarios(costs, given).items():
        key = "replicas_" + name.replace(",", "").replace(" ", "_")
        rows.append(Figure(key, f"replicas: {name}", one.replicas, digits=0))
    title = f"capacity: {given.people:,} people, {given.typing:.0%} of them typing {given.keystrokes_per_s:g} keys/s"
    return Report(_NAME, title, tuple(rows), where, asdict(given), {"costs": costs.as_json()})


def _page() -> str:
    try:
        return PAGE.read_text(encoding="utf-8")
    except OSError as error:
        raise BenchmarkError(f"there is no {PAGE}: --write is for the folder of the sources") from error
