"""The command: a server, the bare loop and the sessions, each in a process of its own, by turns; and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Annotated

import typer

from benchmarks.machine import Circumstances, arguments_of_this_process, circumstances
from benchmarks.options import JsonOption, ModelOption, OutOption, SaveOption, caption, failing_in_one_line
from benchmarks.pictures import Bar, draw_bars
from benchmarks.processor_time import ProcessorTime
from benchmarks.profiling import profiled
from benchmarks.ratios import Ratio, ratio_of
from benchmarks.report import RESULTS, Figure, Report, conclude
from benchmarks.serving import Measured, own_server
from benchmarks.workers import Worker
from service.model.manifest import Precision
from service.settings import shipped_model

BAR = 0.85
KEYS: Mapping[Precision, str] = {"int8": "efficiency", "fp32": "efficiency_fp32"}
_STEPS = "carousel_model_steps_total"
_THREADS = 1


@dataclass(frozen=True, slots=True)
class EfficiencyPlan:
    """How many complete what, and for how long."""

    sessions: int
    prompt_bytes: int
    max_bytes: int
    warm_up_s: float
    seconds: float
    repetitions: int


@dataclass(frozen=True, slots=True)
class Served:
    """One turn of the server. Shares are of one core; `steps_per_byte` counts all model steps, those of prompts too."""

    bytes_per_s: float
    messages_per_s: float
    client_cpu_share: float
    server_cpu_share: float
    steps_per_byte: float
    refused: int = 0  # completions, asked for again


@dataclass(frozen=True, slots=True)
class Efficiency:
    """The turns on one graph. `bare`: bytes per second before, between and after the server's turns."""

    served: Sequence[Served]
    bare: Sequence[float]

    @property
    def ratio(self) -> Ratio:
        """Delivered bytes per second over those of the bare loop, just before and just after."""
        beside = [mean(pair) for pair in zip(self.bare, self.bare[1:], strict=False)]
        return ratio_of([turn.bytes_per_s for turn in self.served], beside)


def efficiency(
    sessions: Annotated[int, typer.Option(min=1, max=64, help="Sessions at once, and rows of the bare loop.")] = 64,
    prompt_bytes: Annotated[int, typer.Option(min=1, max=8192, help="Held-out code that each goes on from.")] = 256,
    max_bytes: Annotated[int, typer.Option(min=1, max=4096, help="Of one completion; then comes another.")] = 4096,
    repetitions: Annotated[int, typer.Option(min=1, help="Turns of the server on each graph.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of a turn.")] = 5.0,
    warm_up: Annotated[float, typer.Option(min=0.0, help="Seconds before it, not counted.")] = 2.0,
    precision: Annotated[Precision | None, typer.Option(help="One graph alone; int8 and fp32 if not given.")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Where py-spy records the server in one more turn, not counted: .svg or .txt.")
    ] = None,
    model: ModelOption = None,
    out: OutOption = RESULTS,
    save: SaveOption = True,
    json: JsonOption = False,
) -> None:
    """Greedy completions of many sessions over gRPC, against onnxruntime alone that steps as many rows.

    Every session has a tenant and a prompt of its own. Server, load generator and bare loop are processes of their own;
    the bare loop runs before, between and after the server's turns, while nobody asks the server for anything.
    """
    where = circumstances(arguments_of_this_process())
    folder = model or shipped_model()
    plan = EfficiencyPlan(sessions, prompt_bytes, max_bytes, warm_up, seconds, repetitions)
    measured: dict[Precision, Efficiency] = {}
    with failing_in_one_line():
        for one in (precision,) if precision is not None else tuple(KEYS):
            measured[one] = measure(folder, one, plan, profile if not measured else None)
    settings = {
        "sessions": sessions,
        "prompt_bytes": prompt_bytes,
        "max_bytes": max_bytes,
        "repetitions": repetitions,
        "seconds": seconds,
        "warm_up": warm_up,
    }
    report = report_of(measured, settings, where)

    def draw(path: Path) -> None:
        bars = [
            Bar(f"{name}, {one}", rate)
            for one, found in measured.items()
            for name, rate in (
                ("bare loop", median(found.bare)),
                ("served", _median(found, lambda turn: turn.bytes_per_s)),
            )
        ]
        draw_bars(path, bars, title=report.title, unit="bytes/s", caption=caption(where))

    conclude(report, as_json=json, folder=out if save else None, draw=draw)


def measure(folder: Path, precision: Precision, plan: EfficiencyPlan, profile: Path | None) -> Efficiency:
    """All turns on one graph. Raises BenchmarkError and WorkerError."""
    flags = ("--trust-tenant-header", "--precision", precision, "--threads", str(_THREADS))
    rows = (str(folder), precision, str(plan.sessions), str(_THREADS))
    sizes = (str(plan.sessions), str(plan.prompt_bytes), str(plan.max_bytes))
    with (
        Worker("benchmarks.efficiency.bare_loop", *rows) as loop,
        own_server(folder, flags) as server,
        Worker("benchmarks.efficiency.completions", server.target, *sizes) as completions,
    ):
        loop.ask(seconds=plan.warm_up_s)
        bare: list[float] = [loop.ask(seconds=plan.seconds)["bytes_per_s"]]
        served = []
        for _ in range(plan.repetitions):
            served.append(_serve(server, completions, plan))
            bare.append(loop.ask(seconds=plan.seconds)["bytes_per_s"])
        if profile is not None:
            with profiled(server.pid, profile, plan.warm_up_s + plan.seconds):
                _serve(server, completions, plan)
    return Efficiency(served, bare)


def _serve(server: Measured, completions: Worker, plan: EfficiencyPlan) -> Served:
    steps = server.counter(_STEPS)
    cpu = ProcessorTime(server.pid)
    found = completions.ask(warm_up_s=plan.warm_up_s, seconds=plan.seconds)
    share = cpu.share
    return Served(
        bytes_per_s=found["bytes_per_s"],
        messages_per_s=found["messages_per_s"],
        client_cpu_share=found["cpu_share"],
        server_cpu_share=share,
        steps_per_byte=(server.counter(_STEPS) - steps) / max(found["bytes"], 1),
        refused=int(found["refused"]),
    )


def report_of(measured: Mapping[Precision, Efficiency], settings: Mapping[str, object], where: Circumstances) -> Report:
    """The table: for each graph the ratio, and what it is made of."""
    figures = []
    for precision, found in measured.items():
        key = KEYS[precision]
        suffix = key.removeprefix("efficiency")
        title = f"delivered bytes/s over the bare loop's, {precision}"
        figures += [
            Figure(key, title, found.ratio.value, digits=3, bar=f">= {BAR}"),
            Figure(f"lowest{suffix}", "  lowest of the turns", found.ratio.lowest, digits=3),
            Figure(
                f"delivered{suffix}_per_s", "  delivered", _median(found, lambda turn: turn.bytes_per_s), "bytes/s", 0
            ),
            Figure(f"bare{suffix}_per_s", "  bare loop", median(found.bare), "bytes/s", 0),
            Figure(
                f"messages{suffix}_per_s",
                "  messages",
                _median(found, lambda turn: turn.messages_per_s),
                "messages/s",
                0,
            ),
            Figure(
                f"steps_per_byte{suffix}",
                "  model steps per delivered byte",
                _median(found, lambda turn: turn.steps_per_byte),
            ),
            Figure(f"refused{suffix}", "  refused at first", sum(turn.refused for turn in found.served), digits=0),
            Figure(
                f"server_cpu_share{suffix}",
                "  CPU of the server, of one core",
                _median(found, lambda turn: turn.server_cpu_share),
            ),
            Figure(
                f"client_cpu_share{suffix}",
                "  CPU of the load generator, of one core",
                _median(found, lambda turn: turn.client_cpu_share),
            ),
        ]
    title = f"efficiency: {settings['sessions']} sessions that go on greedily, against onnxruntime alone"
    return Report("efficiency", title, tuple(figures), where, settings, _details(measured))


def _details(measured: Mapping[Precision, Efficiency]) -> dict[str, object]:
    """Every turn, for the file."""
    return {
        precision: {"bare_per_s": list(found.bare), "served": [asdict(turn) for turn in found.served]}
        for precision, found in measured.items()
    }


def _median(found: Efficiency, of: Callable[[Served], float]) -> float:
    return median(of(turn) for turn in found.served)
