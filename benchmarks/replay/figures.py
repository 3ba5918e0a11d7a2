"""The rows of the table that a crowd fills, and its lines in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.percentiles import percentile
from benchmarks.pictures import Series
from benchmarks.replay.crowds import CrowdPlan, Crowds, CrowdTurn
from benchmarks.report import Figure

RATE_BAR = 2.5
P99_BAR = 0.5


def crowd_figures(crowds: Crowds, plan: CrowdPlan) -> list[Figure]:
    """Ratios if there are two servers, then what each did."""
    figures = []
    who = f"{plan.typists} typists"
    if crowds.triton:
        rate, p99 = crowds.rate_ratio, crowds.p99_ratio
        figures = [
            Figure("over_triton", f"keystrokes/s over Triton's, {who}", rate.value, bar=f">= {RATE_BAR}"),
            Figure("p99_over_triton", f"p99 over Triton's, {who}", p99.value, bar=f"<= {P99_BAR}"),
        ]
    figures += _figures_of("crowd", f"Carousel, {who}", crowds.carousel)
    figures.append(Figure("crowd_shed", "  asked for again", sum(turn.shed for turn in crowds.carousel), digits=0))
    if crowds.triton:
        how = "streams" if crowds.streamed else "unary calls"
        figures += _figures_of("triton", f"Triton, {who}, {how}", crowds.triton)
        figures.append(Figure("compared", "suggestions compared, all the same", crowds.compared, digits=0))
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


def crowd_series(crowds: Crowds) -> list[Series]:
    """The latencies of all turns."""
    named = (("Carousel, crowd", crowds.carousel), ("Triton, crowd", crowds.triton))
    return [Series(name, _latencies(turns)) for name, turns in named if turns]


def _figures_of(key: str, title: str, turns: Sequence[CrowdTurn]) -> list[Figure]:
    latencies = _latencies(turns)
    rate = median(turn.keystrokes_per_s for turn in turns)
    generator = median(turn.generator_cpu_share for turn in turns)
    server = median(turn.server_cpu_share for turn in turns)
    return [
        Figure(f"{key}_keystrokes_per_s", title, rate, "keystrokes/s", 0),
        Figure(f"{key}_p50_ms", "  p50", percentile(latencies, 50), "ms"),
        Figure(f"{key}_p99_ms", "  p99", percentile(latencies, 99), "ms"),
        Figure(f"{key}_server_cpu_share", "  CPU of the server, of one core", server),
        Figure(f"{key}_client_cpu_share", "  CPU of the load generator, of one core", generator),
    ]


def _latencies(turns: Sequence[CrowdTurn]) -> list[float]:
    return [latency_ms for turn in turns for latency_ms in turn.latencies_ms]
