"""The pictures of benchmarks, all drawn alike. Needs matplotlib, which only training and development install."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.percentiles import percentile

_SIZE_INCHES = (8.0, 4.5)
_DPI = 150
_CAPTION_WIDTH = 150  # characters


@dataclass(frozen=True, slots=True)
class Series:
    """Values that are compared, under a name."""

    name: str
    values: Sequence[float]


def draw_distribution(
    path: Path, series: Sequence[Series], *, title: str, unit: str, share_of: str, caption: str
) -> None:
    """The share of values up to each value, p50 and p99 marked. Raises ModuleNotFoundError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")  # no window, no display
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=_SIZE_INCHES, layout="constrained")
    for one in series:
        ordered = sorted(one.values)
        shares = [(index + 1) / len(ordered) for index in range(len(ordered))]
        p50, p99 = percentile(ordered, 50), percentile(ordered, 99)
        (line,) = axes.step(ordered, shares, where="post", label=f"{one.name}: p50 {p50:.2f}, p99 {p99:.2f} {unit}")
        axes.plot([p50, p99], [0.5, 0.99], "o", color=line.get_color())
    axes.set(xlabel=unit, ylabel=f"share of {share_of}", ylim=(0, 1.02), title=title, xscale="log")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper left")
    figure.supxlabel(textwrap.fill(caption, _CAPTION_WIDTH), fontsize=7)
    figure.savefig(path, dpi=_DPI)
    pyplot.close(figure)


@dataclass(frozen=True, slots=True)
class Bar:
    """One value under a name."""

    name: str
    value: float


def draw_bars(
    path: Path, bars: Sequence[Bar], *, title: str, unit: str, caption: str, logarithmic: bool = False
) -> None:
    """One bar for each value, the value beside it. Raises ModuleNotFoundError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")  # no window, no display
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=_SIZE_INCHES, layout="constrained")
    drawn = axes.barh([bar.name for bar in bars], [bar.value for bar in bars])
    axes.bar_label(drawn, labels=[_shown(bar.value) for bar in bars], padding=3)
    axes.invert_yaxis()  # the first on top
    axes.set(xlabel=unit, title=title, xscale="log" if logarithmic else "linear")
    axes.margins(x=0.15)
    figure.supxlabel(textwrap.fill(caption, _CAPTION_WIDTH), fontsize=7)
    figure.savefig(path, dpi=_DPI)
    pyplot.close(figure)


def _shown(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"
