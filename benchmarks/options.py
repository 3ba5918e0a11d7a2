"""What every benchmark's command line has in common: its options, and how it fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.machine import Circumstances
from benchmarks.report import BenchmarkError
from benchmarks.workers import WorkerError
from carousel_client import CarouselError

ModelOption = Annotated[
    Path | None, typer.Option("--model", help="The model folder to serve; the shipped one if none.")
]
PrecisionOption = Annotated[
    str | None, typer.Option("--precision", help="fp32 or int8; as the server chooses if not given.")
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder for the result's JSON and picture.")]
SaveOption = Annotated[bool, typer.Option("--save/--no-save", help="Keep the result in that folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_FAILED = 1


def precision_flags(precision: str | None) -> tuple[str, ...]:
    """The server's flags for that graph of the model folder."""
    return () if precision is None else ("--precision", precision)


def caption(where: Circumstances) -> str:
    """What stands below a picture: the command, the machine and the versions."""
    versions = ", ".join(f"{name} {number}" for name, number in where.versions.items())
    return f"{where.command} · {where.cpu}, {where.cores} cores · {versions}"


@contextmanager
def failing_in_one_line() -> Iterator[None]:
    """What keeps a benchmark from measuring ends the command with one line and status 1."""
    try:
        yield
    except (BenchmarkError, CarouselError, WorkerError) as error:
        print(f"carousel: {error}", file=sys.stderr)
        raise typer.Exit(_FAILED) from error
