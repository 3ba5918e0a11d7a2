"""The rows of the table that a crowd fills, and its lines in the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.percentiles import percentile
from benchmarks.pictures import Series
from benchmarks.replay.crowds import Crowds, CrowdTurn
from benchmarks.report import Figure
from service.model.manifest import Precision

RATE_BAR = 2.5
P99_BAR = 0.5


SUFFIXES: Mapping[Precision, str] = {"int8": "", "fp32": "_fp32"}  # of the keys; the served graph's have none


def crowd_figures(crowds: Crowds, precision: Precision, typists: int) -> list[Figure]:
    """Ratios if there are two servers, then what each did."""
    figures = []
    who, suffix = f"{typists} typists, {precision}", SUFFIXES[precision]
    if crowds.triton:
        rate, p99 = crowds.rate_ratio.value, crowds.p99_ratio.value
        figures = [
            Figure(f"over_triton{suffix}", f"keystrokes/s over Triton's, {who}", rate, bar=f">= {RATE_BAR}"),
            Figure(f"p99_over_triton{suffix}", f"p99 over Triton's, {who}", p99, bar=f"<= {P99_BAR}"),
        ]
    figures += _figures_of("crowd", f"Carousel, {who}", crowds.carousel, suffix)
    shed = sum(turn.shed for turn in crowds.carousel)
    figures.append(Figure(f"crowd_shed{suffix}", "  asked for again", shed, digits=0))
    if crowds.triton:
        how = "streams" if crowds.streamed else "unary calls"
        figures += _figures_of("triton", f"Triton, {who}, {how}", crowds.triton, suffix)
        compared = Figure(f"compared{suffix}", "suggestions compared, all the same", crowds.compared, digits=0)
        figures.append(compared)
    return figures


def crowd_details(crowds: Crowds) -> dict[str, object]:
    """Every turn, for the file."""
    named = (("carousel", crowds.carousel), ("triton", crowds.triton))
    return {
        name: [
            {
                "keystrokes_per_s": turn.keystrokes_per_s,
                "p50_ms": percentile(turn.latencies_ms, 50),
                "p99_ms": turn.p99_ms,
                "server_cpu_share": turn.server_cpu_share,
            }
            for turn in turns
        ]
        for name, turns in named
    }


def crowd_series(crowds: Crowds, precision: Precision) -> list[Series]:
    """The latencies of all turns."""
    named = (("Carousel, crowd", crowds.carousel), ("Triton, crowd", crowds.triton))
    return [Series(f"{name}, {precision}", _latencies(turns)) for name, turns in named if turns]


def _figures_of(key: str, title: str, turns: Sequence[CrowdTurn], suffix: str) -> list[Figure]:
    latencies = _latencies(turns)
    rate = median(turn.keystrokes_per_s for turn in turns)
    generator = median(turn.generator_cpu_share for turn in turns)
    server = median(turn.server_cpu_share for turn in turns)
    return [
        Figure(f"{key}_keystrokes_per_s{suffix}", title, rate, "keystrokes/s", 0),
        Figure(f"{key}_p50_ms{suffix}", "  p50", percentile(latencies, 50), "ms"),
        Figure(f"{key}_p99_ms{suffix}", "  p99", percentile(latencies, 99), "ms"),
        Figure(f"{key}_server_cpu_share{suffix}", "  CPU of the server, of one core", server),
        Figure(f"{key}_client_cpu_share{suffix}", "  CPU of the load generator, of one core", generator),
    ]


def _latencies(turns: Sequence[CrowdTurn]) -> list[float]:
    return [latency_ms for turn in turns for latency_ms in turn.latencies_ms]
