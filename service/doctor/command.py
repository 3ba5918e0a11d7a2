"""The command `carousel doctor`: parse, examine, print, and an exit code that a script can act on."""

from __future__ import annotations

import json
import sys
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.doctor.findings import Finding, Report, Verdict
from service.settings import load_settings

_BROKEN = 1
_COLOURS = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.BROKEN: "bold red"}


def doctor(
    model: Annotated[Path | None, typer.Option(help="The model folder; the one that `serve` takes by default.")] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="How often 70 rows are read in random batches, a dozen batches each time.")
    ] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Examine a model folder on this machine: digests, tensor pairs, and the promise of the same bits in any batch.

    Ends with exit code 1 if the folder must not be served, and says why and what to do.
    """
    from service.doctor.graphs import examine_folder  # onnxruntime takes a while, and --help does not need it
    from service.doctor.machine import examine_machine

    folder = model or load_settings({}).default_model
    findings: list[Finding] = []
    with Console(stderr=True).status("looking at the machine") as status:
        for finding in chain(examine_machine(), examine_folder(folder, rounds=rounds)):
            findings.append(finding)
            status.update(f"after {finding.title}")
    report = Report(tuple(findings))
    if as_json:
        json.dump(report.as_json(), sys.stdout, indent=2)
        print()
    else:
        _show(report)
    if report.problems:
        raise typer.Exit(_BROKEN)


def _show(report: Report) -> None:
    console = Console()
    table = Table("", "found", "verdict", title="carousel doctor")
    for finding in report.findings:
        verdict = f"[{_COLOURS[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(escape(finding.title), escape(finding.shown), verdict)
    console.print(table)
    for problem in report.problems:
        console.print(f"[bold red]{escape(problem.title)}[/]: {escape(problem.shown)}")
        console.print(f"    [bold]way out[/]: {escape(problem.way_out)}")
    if not report.problems:
        console.print("Healthy: no row can touch another.")
