"""The command `carousel bench`: one subcommand for each benchmark."""

from __future__ import annotations

import typer

from benchmarks.capacity.command import capacity
from benchmarks.context import context
from benchmarks.efficiency.command import efficiency
from benchmarks.free import free
from benchmarks.graph.command import graph
from benchmarks.memory import memory
from benchmarks.naive import naive
from benchmarks.overload import overload
from benchmarks.parked import parked
from benchmarks.prompts import prompts
from benchmarks.replay.command import replay
from benchmarks.takeover.command import takeover
from benchmarks.undo import undo

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure what the README states: a table on standard output, JSON and a picture in a folder.",
)
app.command("capacity")(capacity)
app.command("context")(context)
app.command("efficiency")(efficiency)
app.command("free")(free)
app.command("graph")(graph)
app.command("memory")(memory)
app.command("naive")(naive)
app.command("overload")(overload)
app.command("parked")(parked)
app.command("prompts")(prompts)
app.command("replay")(replay)
app.command("takeover")(takeover)
app.command("undo")(undo)


@app.callback()
def bench() -> None:
    """Measure what the README states. Every benchmark takes --json, its keys named as the table's rows."""
    # With a callback, a lone subcommand keeps its name: typer would make it the command itself.
