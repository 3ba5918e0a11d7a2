"""What a person sees of a training run: a progress bar, a file of metrics and the learning curve as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from model_export.training.loop import Report

METRICS_FILE = "metrics.jsonl"
CURVE_FILE = "learning-curve.png"


class Display:
    """Listens to the loop: draws the bar on stderr and appends every tenth report to the metrics file."""

    def __init__(self, folder: Path, console: Console) -> None:
        self._folder = folder
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
        self._held_out: float | None = None
        self._started: tuple[float, int, float] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._metrics = (self._folder / METRICS_FILE).open("a", encoding="utf-8")
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()
        if self._metrics is not None:
            self._metrics.close()

    def __call__(self, report: Report) -> None:
        """Show one report."""
        if self._started is None:
            self._started = (report.elapsed_s, report.bytes_seen, report.progress)
        if report.held_out is not None:
            self._held_out = report.held_out
        held_out = "" if self._held_out is None else f" held out {self._held_out:.3f}"
        self._bar.update(self._task, completed=report.progress, figures=f"{report.smoothed:.3f} bits/byte{held_out}{self._pace(report)}")
        if self._metrics is not None and (report.step <= 100 or report.step % 10 == 0 or report.held_out is not None):
            self._metrics.write(json.dumps(self._record(report)) + "\n")
            self._metrics.flush()

    def _pace(self, report: Report) -> str:
        if self._started is None or report.elapsed_s <= self._started[0]:
            return ""
        seconds = report.elapsed_s - self._started[0]
        rate = (report.bytes_seen - self._started[1]) / seconds
        gained = report.progress - self._started[2]
        left = "" if gained <= 0 else f", {_clock((1 - report.progress) * seconds / gained)} left"
        return f", {rate / 1e3:.1f} kB/s{left}"

    @staticmethod
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


def draw_learning_curve(folder: Path) -> Path:
    """Draw the metrics file of `folder` as bits per byte against megabytes read; returns the picture's path."""
    from matplotlib.figure import Figure  # slow to import, wanted only at the end

    records = [json.loads(line) for line in (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()]
    records.sort(key=lambda r: r["step"])
    figure = Figure(figsize=(8, 4.5), dpi=120)
    axes = figure.subplots()
    axes.plot([r["bytes_seen"] / 1e6 for r in records], [r["bits_per_byte"] for r in records], lw=0.6, alpha=0.6, label="training, each chunk")
    held = [r for r in records if "held_out_bits_per_byte" in r]
    axes.plot([r["bytes_seen"] / 1e6 for r in held], [r["held_out_bits_per_byte"] for r in held], "o-", ms=3, label="held out (a sample)")
    low = min((r["bits_per_byte"] for r in records), default=1.0)
    axes.set(xlabel="megabytes read", ylabel="bits per byte", ylim=(max(0.0, low - 0.2), low + 2.5), title="Learning curve")
    axes.grid(alpha=0.3)
    axes.legend()
    path = folder / CURVE_FILE
    figure.savefig(path, bbox_inches="tight")
    return path
