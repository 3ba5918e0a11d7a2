"""The command: which files, on which server, how large a crowd, and the report.

Two parts: one typist who takes suggestions that are right (savings, latency, steps), and a crowd that types against
time, on Carousel and on Triton.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.held_out import default_file
from benchmarks.machine import Circumstances, arguments_of_this_process, circumstances
from benchmarks.percentiles import percentile
from benchmarks.pictures import Series, draw_distribution
from benchmarks.replay.crowds import CrowdPlan, Crowds, compare_crowds
from benchmarks.replay.figures import SUFFIXES, crowd_details, crowd_figures, crowd_series
from benchmarks.replay.run import Replayed, replay_text
from benchmarks.replay.typist import Key
from benchmarks.report import RESULTS, BenchmarkError, Figure, Report, conclude
from benchmarks.serving import Measured, own_server, running_server
from benchmarks.triton.server import ENVIRONMENT, interpreter
from benchmarks.workers import WorkerError
from carousel_client import CarouselError, Client, Stop, SuggestOptions
from service.model.manifest import Precision
from service.settings import shipped_model

STEPS = "carousel_model_steps_total"
_TIMEOUT_S = 30.0
_FAILED = 1
_WARM_UP_S = 1.0


def replay(
    files: Annotated[list[Path] | None, typer.Argument(help="Texts to type; functools.py, held out, if none.")] = None,
    server: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="A gRPC server that runs already.")] = None,
    metrics: Annotated[str | None, typer.Option(metavar="URL", help="Its metrics; port 9464 by default.")] = None,
    model: Annotated[Path | None, typer.Option(help="The model folder for a server of our own.")] = None,
    limit_bytes: Annotated[int | None, typer.Option(min=1, help="Type only the first N bytes of each file.")] = None,
    count: Annotated[int, typer.Option(min=1, max=16, help="Suggestions asked for; the first is looked at.")] = 1,
    max_bytes: Annotated[int, typer.Option(min=1, max=512, help="Longest suggestion, in bytes.")] = 16,
    stop: Annotated[Stop, typer.Option(help="Where a suggestion ends.")] = Stop.LINE,
    typists: Annotated[int, typer.Option(min=0, max=64, help="The crowd on a server of our own; 0 is none.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a turn of the crowd.")] = 5.0,
    repetitions: Annotated[int, typer.Option(min=1, help="Turns of the crowd on each server.")] = 5,
    precision: Annotated[
        Precision | None,
        typer.Option(help="The graph that both servers run for the crowd; int8 and fp32 if none."),
    ] = None,
    triton: Annotated[bool, typer.Option(help="The same crowd on Triton, if `make triton-env` was run.")] = True,
    profile: Annotated[
        Path | None, typer.Option(help="Where py-spy records the server in one more turn, not counted: .svg or .txt.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for replay.json and replay.png.")] = RESULTS,
    save: Annotated[bool, typer.Option(help="Keep the result in that folder.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Type held-out files through a real gRPC server, taking suggestions that are right; then with a crowd.

    Tab takes a suggestion that is right as a whole, the right arrow its first word if that is right; otherwise the next
    character is typed. Prints keystroke savings, latency per keystroke, and model steps per byte of text. The crowd,
    against Triton by turns, waits for a suggestion after every byte and takes none; never on a --server of others.
    """
    where = circumstances(arguments_of_this_process())
    suggest = SuggestOptions(count, max_bytes, stop)
    try:
        texts = {str(path): read_text(path, limit_bytes) for path in files or [default_file()]}
        serving = own_server(model) if server is None else nullcontext(running_server(server, metrics))
        with serving as measured:
            report, replayed = measure(measured, texts, suggest, where)
        series = [Series("one typist", [latency_s * 1e3 for latency_s in replayed.latencies_s])]
        if server is None and typists > 0:
            folder = model or shipped_model()
            plan = CrowdPlan(typists, seconds, _WARM_UP_S, repetitions, max_bytes, folder)
            other = _environment() if triton else None
            crowds: dict[Precision, Crowds] = {}
            for one in (precision,) if precision is not None else tuple(SUFFIXES):
                crowds[one] = compare_crowds(plan, one, other, profile if not crowds else None)
                series += crowd_series(crowds[one], one)
            report = with_crowds(report, crowds, plan)
    except (BenchmarkError, CarouselError, WorkerError) as error:
        _fail(str(error))
    caption = f"{where.command} · {where.cpu}, {where.cores} cores"

    def draw(path: Path) -> None:
        draw_distribution(path, series, title=report.title, unit="ms", share_of="keystrokes", caption=caption)

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


def with_crowds(report: Report, crowds: Mapping[Precision, Crowds], plan: CrowdPlan) -> Report:
    """The report of one typist and of the crowd on each graph, whose figures come first: they have the bars."""
    settings = {
        "typists": plan.typists,
        "seconds": plan.seconds,
        "repetitions": plan.repetitions,
    }
    figures = [figure for one, found in crowds.items() for figure in crowd_figures(found, one, plan.typists)]
    return replace(
        report,
        title=f"{report.title}; then {plan.typists} at once",
        figures=(*figures, *report.figures),
        settings={**report.settings, "crowd": settings},
        details={"crowd": {one: crowd_details(found) for one, found in crowds.items()}},
    )


def _environment() -> Path | None:
    """Triton's, if there is one; else says how to have it."""
    if interpreter() is None:
        print("carousel: without Triton, which is not here; to compare with it: make triton-env", file=sys.stderr)
        return None
    return ENVIRONMENT


def measure(
    measured: Measured, texts: dict[str, str], suggest: SuggestOptions, where: Circumstances
) -> tuple[Report, Replayed]:
    """Type every text, each into a session of its own. Raises BenchmarkError and CarouselErrors."""
    replayed = Replayed()
    steps_before = measured.counter(STEPS)
    cpu_before_s = time.process_time()
    with Client(measured.target, timeout_s=_TIMEOUT_S) as client, _progress() as progress:
        task = progress.add_task("typing", total=sum(len(text) for text in texts.values()))
        for text in texts.values():
            replay_text(client, text, suggest, replayed, typed=lambda length: progress.advance(task, length))
    cpu_s = time.process_time() - cpu_before_s
    steps = measured.counter(STEPS) - steps_before
    return _report(replayed, steps, cpu_s, texts, suggest, where), replayed


def _report(
    replayed: Replayed,
    steps: float,
    cpu_s: float,
    texts: dict[str, str],
    suggest: SuggestOptions,
    where: Circumstances,
) -> Report:
    latencies_ms = [seconds * 1e3 for seconds in replayed.latencies_s]
    figures = (
        Figure("keystroke_savings", "keystroke savings", replayed.savings, digits=3),
        Figure("p50_ms", "p50 per keystroke", percentile(latencies_ms, 50), "ms"),
        Figure("p99_ms", "p99 per keystroke", percentile(latencies_ms, 99), "ms"),
        Figure("steps_per_byte", "model steps per byte of text", steps / replayed.text_bytes),
        Figure("steps_per_keystroke", "model steps per keystroke", steps / replayed.keystrokes),
        Figure("text_bytes", "text", replayed.text_bytes, "bytes", 0),
        Figure("keystrokes", "keystrokes", replayed.keystrokes, digits=0),
        Figure("accepted_whole", "of them, suggestions accepted whole", replayed.keys[Key.WHOLE], digits=0),
        Figure("accepted_words", "of them, words accepted", replayed.keys[Key.WORD], digits=0),
        Figure("keystrokes_per_s", "keystrokes per second", replayed.keystrokes / replayed.seconds, digits=0),
        Figure("client_cpu_share", "CPU of the load generator, of one core", cpu_s / replayed.seconds),
    )
    settings = {
        "count": suggest.count,
        "max_bytes": suggest.max_bytes,
        "stop": suggest.stop.value,
        "texts": {name: len(text.encode()) for name, text in texts.items()},
    }
    title = f"replay: one typist, {len(texts)} held-out file{'s' if len(texts) > 1 else ''}"
    return Report("replay", title, figures, where, settings)


def read_text(path: Path, limit_bytes: int | None) -> str:
    """The file's text, cut to `limit_bytes` at a character's edge. Raises BenchmarkError."""
    try:
        content = path.read_bytes()
        content.decode()  # a file that is not text is refused also where the limit would hide it
    except OSError as error:
        raise BenchmarkError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{path} is not UTF-8 (byte {error.start}); only text can be typed") from error
    text = content[:limit_bytes].decode(errors="ignore")
    if not text:
        raise BenchmarkError(f"{path} is empty: there is nothing to type")
    return text


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _fail(message: str) -> NoReturn:
    print(f"carousel: {message}", file=sys.stderr)
    raise typer.Exit(_FAILED)
