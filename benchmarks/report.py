"""How the figures of a benchmark are shown and kept: one shape for all of them.

The JSON on standard output and in the folder has a key for every row of the table, then `circumstances` and `settings`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import Circumstances

RESULTS = Path("benchmarks/results")


class BenchmarkError(Exception):
    """What keeps a benchmark from measuring, and the way out."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: its key in the JSON, what it says in the table, its unit, and the bar that it is held against."""

    key: str
    title: str
    value: float
    unit: str = ""
    digits: int = 2
    bar: str = ""

    @property
    def shown(self) -> str:
        """The value as the table shows it."""
        return f"{self.value:,.{self.digits}f}" + (f" {self.unit}" if self.unit else "")


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark found. `settings` are what it was run with; `details` go to the file and not to the table."""

    name: str
    title: str
    figures: tuple[Figure, ...]
    circumstances: Circumstances
    settings: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The rows by their keys, then what they depend on."""
        rows = {figure.key: figure.value for figure in self.figures}
        return {**rows, "settings": dict(self.settings), "circumstances": asdict(self.circumstances)}

    def print(self, *, as_json: bool) -> None:
        """Figures to standard output, as a table for people or as JSON for programs."""
        if as_json:
            print(json.dumps(self.as_json(), indent=2))
        else:
            Console().print(self._table())

    def save(self, folder: Path, draw: Callable[[Path], None] | None = None) -> list[Path]:
        """Write NAME.json, and NAME.png if `draw` can; what was written."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.name}.json"
        path.write_text(
            json.dumps({**self.as_json(), "details": dict(self.details)}, indent=2) + "\n", encoding="utf-8"
        )
        written = [path]
        if draw is not None:
            picture = folder / f"{self.name}.png"
            try:
                draw(picture)
            except ModuleNotFoundError as error:
                _say(f"no picture: {error.name} is not installed; install with: make train-env")
            else:
                written.append(picture)
        return written

    def _table(self) -> Table:
        facts = self.circumstances
        caption = f"{facts.command}\n{facts.cpu}, {facts.cores} cores, load {facts.load_at_start}, {facts.at}"
        table = Table(title=self.title, caption=caption, caption_justify="left")
        bars = any(figure.bar for figure in self.figures)
        table.add_column("")
        table.add_column("measured", justify="right")
        if bars:
            table.add_column("bar", justify="right")
        for figure in self.figures:
            table.add_row(figure.title, figure.shown, *([figure.bar] if bars else []))
        return table


def conclude(report: Report, *, as_json: bool, folder: Path | None, draw: Callable[[Path], None] | None = None) -> None:
    """Print the report and keep it, unless `folder` is None."""
    report.print(as_json=as_json)
    if folder is not None:
        _say("written: " + ", ".join(str(path) for path in report.save(folder, draw)))


def _say(message: str) -> None:
    print(message, file=sys.stderr)
