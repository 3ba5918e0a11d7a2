"""One style for all pictures of the lab: letters below what was read, one colour a signal, grey for what is beside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

DPI = 120
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#1f6fb4", "#d9730d", "#2a8a4a", "#c0392b", "#7d5ba6", "#8a8f98"
SIGNAL_COLOURS = {"i": GREEN, "f": BLUE, "o": PURPLE, "g": ORANGE, "c": RED, "h": "#222222"}
SIGNAL_NAMES = {
    "i": "input gate (save)",
    "f": "forget gate (remember)",
    "o": "output gate (focus)",
    "g": "candidate",
    "c": "c, long-term memory",
    "h": "h, working memory",
}
_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, RED, PURPLE, GREY]),
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def new_figure(
    rows: int = 1, columns: int = 1, *, width: float = 9.0, height: float = 4.0
) -> tuple[Figure, list[Axes]]:
    """An empty figure, sizes in inches, and its axes row by row."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]  # its stub wants the literal names of all settings
        figure = Figure(figsize=(width, height), dpi=DPI)
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def letters_below(axes: Axes, letters: Sequence[str]) -> None:
    """What was read, a letter or word under each place."""
    axes.set_xticks(range(len(letters)), letters)
    axes.grid(visible=False, axis="x")
    if any(len(letter) > 2 for letter in letters):
        axes.tick_params(axis="x", rotation=60)


def draw_signals(axes: Axes, signals: dict[str, NDArray[np.floating[Any]]], letters: Sequence[str], title: str) -> None:
    """One unit's signals, [time] each, over what was read."""
    for letter, values in signals.items():
        axes.plot(values, color=SIGNAL_COLOURS.get(letter), label=SIGNAL_NAMES.get(letter, letter), marker=".")
    letters_below(axes, letters)
    axes.axhline(0, color=GREY, lw=0.7)
    axes.set_title(title)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def draw_map(
    axes: Axes,
    values: NDArray[np.floating[Any]],
    *,
    columns: Sequence[str],
    rows: Sequence[str],
    title: str,
    limit: float | None = None,
    bar: str = "",
) -> None:
    """Numbers [rows, columns] as colours, blue below zero and red above."""
    largest = float(np.abs(values).max()) if limit is None else limit
    image = axes.imshow(values, aspect="auto", cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
    letters_below(axes, columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
    axes.set_title(title)
    axes.figure.colorbar(image, ax=axes, label=bar, fraction=0.03)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    figure.savefig(path, metadata={"Software": None})
