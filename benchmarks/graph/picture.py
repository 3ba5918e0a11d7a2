"""The picture: tokens a second of every graph, by rows of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

_SIZE_INCHES = (8.0, 4.5)
_DPI = 150
_GROUP = 0.8  # the share of a group's place that its bars take


def draw_rates(path: Path, rates: Mapping[str, Sequence[float]], rows: Sequence[int], *, caption: str) -> None:
    """One group of bars for each number of rows, one bar for each graph. Raises ModuleNotFoundError without matplotlib.

    rates: tokens a second by graph, in the order of `rows`.
    """
    import matplotlib

    matplotlib.use("Agg")  # no window, no display
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=_SIZE_INCHES, layout="constrained")
    width = _GROUP / len(rates)
    for number, (name, values) in enumerate(rates.items()):
        places = [group - _GROUP / 2 + width * (number + 0.5) for group in range(len(rows))]
        bars = axes.bar(places, [value / 1000 for value in values], width, label=name)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    axes.set_xticks(range(len(rows)), [f"{count} row{'s' if count > 1 else ''}" for count in rows])
    axes.set(ylabel="thousand tokens a second, one thread", title="One step of the model")
    axes.legend(loc="upper left")
    figure.supxlabel(caption, fontsize=7)
    figure.savefig(path, dpi=_DPI)
    pyplot.close(figure)
