"""What a person sees of a training run: a progress bar, a file of metrics and the learning curve as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from model_export.training.loop import Report

METRICS_FILE = "metrics.jsonl"
CURVE_FILE = "learning-curve.png"
EVERY_STEP_UNTIL = 100  # then every tenth: the beginning is where things go wrong


class Display:
    """Listens to the loop: draws the bar on the console and appends to the metrics file.

    A resumed run forgets the metrics of steps after `resumed_step`: they are about to be taken again.
    """

    def __init__(self, folder: Path, console: Console, *, resumed_step: int = 0, progress: float = 0.0) -> None:
        self._path = folder / METRICS_FILE
        self._resumed_step = resumed_step
        self._metrics: TextIO | None = None
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.percentage:>5.1f} %  {task.fields[figures]}"),
            TimeElapsedColumn(),
            console=console,
            refresh_per_second=2,
        )
        self._task = self._bar.add_task("training", total=1.0, figures="")
        self._bar.update(self._task, completed=progress)
        self._held_out: float | None = None
        self._started: Report | None = None

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        kept = [r for r in read_metrics(self._path) if r["step"] <= self._resumed_step]
        self._metrics = self._path.open("w", encoding="utf-8")
        for record in kept:
            self._write(record)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._metrics is not None:
            self._metrics.close()

    def __call__(self, report: Report) -> None:
        """Show one report."""
        if self._started is None:
            self._started = report
        if report.held_out is not None:
            self._held_out = report.held_out
        held_out = "" if self._held_out is None else f", held out {self._held_out:.3f}"
        figures = f"{report.smoothed:.3f} bits/byte{held_out}{self._pace(self._started, report)}"
        self._bar.update(self._task, completed=report.progress, figures=figures)
        if report.step <= EVERY_STEP_UNTIL or report.step % 10 == 0 or report.held_out is not None:
            self._write(_record(report))

    def _write(self, record: dict[str, Any]) -> None:
        if self._metrics is not None:
            self._metrics.write(json.dumps(record) + "\n")
            self._metrics.flush()

    @staticmethod
    def _pace(first: Report, report: Report) -> str:
        seconds = report.elapsed_s - first.elapsed_s
        if seconds <= 0:
            return ""
        rate = (report.bytes_seen - first.bytes_seen) / seconds
        gained = report.progress - first.progress
        left = "" if gained <= 0 else f", {_clock((1 - report.progress) * seconds / gained)} left"
        return f", {rate / 1e3:.1f} kB/s{left}"


def _record(report: Report) -> dict[str, float | int]:
    record: dict[str, float | int] = {
        "step": report.step,
        "bytes_seen": report.bytes_seen,
        "elapsed_s": round(report.elapsed_s, 2),
        "bits_per_byte": report.bits_per_byte,
        "learning_rate": report.learning_rate,
    }
    if report.held_out is not None:
        record["held_out_bits_per_byte"] = report.held_out
    return record


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics file, none if there is no file; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def draw_learning_curve(folder: Path) -> Path | None:
    """Draw the metrics of `folder` as bits per byte against megabytes read; None if there are no metrics."""
    from matplotlib.figure import Figure  # slow to import, wanted only at the end

    records = read_metrics(folder / METRICS_FILE)
    if not records:
        return None
    held = [r for r in records if "held_out_bits_per_byte" in r]
    low = min(r["bits_per_byte"] for r in records)
    figure = Figure(figsize=(8, 4.5), dpi=120)
    axes = figure.subplots()
    for chosen, key, style, label in (
        (records, "bits_per_byte", {"lw": 0.6, "alpha": 0.6}, "training, each chunk"),
        (held, "held_out_bits_per_byte", {"marker": "o", "ms": 3}, "held out (a sample)"),
    ):
        axes.plot([r["bytes_seen"] / 1e6 for r in chosen], [r[key] for r in chosen], label=label, **style)
    axes.set(xlabel="megabytes read", ylabel="bits per byte", title="Learning curve")
    axes.set_ylim(max(0.0, low - 0.2), low + 2.5)
    axes.grid(alpha=0.3)
    axes.legend()
    path = folder / CURVE_FILE
    figure.savefig(path, bbox_inches="tight")
    return path
