"""The command: what is measured on which graphs, the rows of the table and their bars."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.dynamic_quantization import quantized_dynamically
from benchmarks.graph.picture import draw_rates
from benchmarks.graph.rates import PREFILL, Times, Workload, measure, prefill, steps
from benchmarks.graph.start import Starts, measure_starts
from benchmarks.held_out import default_file
from benchmarks.machine import arguments_of_this_process, circumstances
from benchmarks.report import RESULTS, BenchmarkError, Figure, Report, conclude
from service.model.manifest import read_manifest
from service.runtime.onnx_model import OnnxStepModel, load_model
from service.settings import load_settings

ROWS = (1, 16, 64)
_LEAKY = "DynamicQuantizeLSTM"
_NAMES = {"int8": "Carousel's int8", "fp32": "Carousel's fp32", _LEAKY: _LEAKY}
_FAILED = 1
Advance = Callable[[], None]


def graph(
    model: Annotated[Path | None, typer.Option(help="The model folder; the one that `serve` takes by default.")] = None,
    turns: Annotated[int, typer.Option(min=1, help="How often everything that is compared takes its turn.")] = 25,
    starts: Annotated[int, typer.Option(min=1, help="How often a server is started.")] = 9,
    out: Annotated[Path, typer.Option(help="Folder for graph.json and graph.png.")] = RESULTS,
    save: Annotated[bool, typer.Option(help="Keep the result in that folder.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare our int8 graph with fp32 and with DynamicQuantizeLSTM: steps, prefill, state, start. One thread each."""
    folder = model or load_settings({}).default_model
    where = circumstances(arguments_of_this_process())
    manifest = read_manifest(folder)
    try:
        with quantized_dynamically(folder) as leaky, _progress() as progress:
            task = progress.add_task("turns", total=turns + starts + 1)

            def advance() -> None:
                progress.advance(task)

            models = {"int8": load_model(folder, "int8"), "fp32": load_model(folder, "fp32"), _LEAKY: leaky}
            times = measure(_workloads(models), turns=turns, advance=advance)
            started = measure_starts(folder, manifest.graphs["int8"], turns=starts, advance=advance)
    except BenchmarkError as error:
        print(f"carousel: {error}", file=sys.stderr)
        raise typer.Exit(_FAILED) from error
    shape = "{layers} x {units}".format(**{"layers": "?", "units": "?", **manifest.architecture})
    report = Report(
        "graph",
        f"graph: int8 beside what it replaces, {shape}",
        _figures(times, started, _state_bytes(models["int8"]) / _state_bytes(models["fp32"]), shape),
        where,
        {"turns": turns, "starts": starts, "model": manifest.name, "digest": manifest.digest()},
        {
            "seconds_a_run": {name: list(values) for name, values in times.by_name.items()},
            "first_keystroke_s": started.first_keystroke_s,
            "session_alone_s": started.session_alone_s,
        },
    )
    rates = {title: [times.tokens_per_s(_steps(name, rows)) for rows in ROWS] for name, title in _NAMES.items()}
    caption = f"{where.command} · {where.cpu}, {where.cores} cores · {shape}"

    def draw(path: Path) -> None:
        draw_rates(path, rates, ROWS, caption=caption)

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


def _workloads(models: dict[str, OnnxStepModel]) -> list[Workload]:
    text = default_file().read_bytes()
    stepping = [steps(_steps(name, rows), model, rows, text) for rows in ROWS for name, model in models.items()]
    reading = [prefill(f"prefill by {chunk}", models["int8"], text, chunk) for chunk in (PREFILL, 1)]
    return stepping + reading


def _steps(name: str, rows: int) -> str:
    return f"{name}, {rows} rows"


def _state_bytes(model: OnnxStepModel) -> int:
    return sum(shape.row_bytes for shape in model.shapes)


def _figures(times: Times, started: Starts, state_ratio: float, shape: str) -> tuple[Figure, ...]:
    def ratio(slower: str, rows: int) -> float:
        return times.ratio(_steps(slower, rows), _steps("int8", rows))

    return (
        Figure(
            "int8_over_fp32_64_rows",
            f"int8 over fp32, tokens/s at 64 rows, one thread, {shape}",
            ratio("fp32", 64),
            bar=">= 4.0",
        ),
        Figure(
            "int8_over_dynamic_quantize_lstm_64_rows",
            f"int8 over {_LEAKY} at 64 rows",
            ratio(_LEAKY, 64),
            bar=">= 1.15",
        ),
        Figure("int8_over_fp32_1_row", "int8 at one row over fp32 at one row", ratio("fp32", 1), bar=">= 2.8"),
        Figure(
            "prefill_over_single_steps",
            f"int8 prefill of {PREFILL} bytes, one row, over single steps",
            times.ratio("prefill by 1", f"prefill by {PREFILL}"),
            bar=">= 1.5",
        ),
        Figure(
            "state_bytes_int8_over_fp32",
            "state bytes per session, int8 over fp32",
            state_ratio,
            digits=3,
            bar="<= 0.65",
        ),
        Figure(
            "first_keystroke_over_session_alone",
            "from serve to the first answered keystroke, over importing onnxruntime and creating the session alone",
            started.ratio,
            bar="<= 2.5",
        ),
        *(
            Figure(f"{key}_tokens_per_s_64_rows", f"{_NAMES[name]}, 64 rows", rate, "tokens/s", 0)
            for name, key in (("int8", "int8"), ("fp32", "fp32"), (_LEAKY, "dynamic_quantize_lstm"))
            for rate in (times.tokens_per_s(_steps(name, 64)),)
        ),
        *(
            Figure(f"{key}_us_1_row", f"{_NAMES[name]}, a step of one row", taken, "us", 0)
            for name, key in (("int8", "int8"), ("fp32", "fp32"), (_LEAKY, "dynamic_quantize_lstm"))
            for taken in (times.us(_steps(name, 1)),)
        ),
        Figure(
            "prefill_tokens_per_s",
            "int8, prefill of one row",
            times.tokens_per_s(f"prefill by {PREFILL}"),
            "tokens/s",
            0,
        ),
        Figure(
            "first_keystroke_s", "from serve to the first answered keystroke", median(started.first_keystroke_s), "s"
        ),
        Figure("session_alone_s", "onnxruntime and the session alone", median(started.session_alone_s), "s"),
    )


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
