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
from matplotlib.transforms import Bbox
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
    gates: bool = False,
    numbers: bool = False,
) -> None:
    """Numbers [rows, columns] as colours, blue below zero and red above, up to `limit` or the largest.

    gates: the colours are those of gates instead, white at 0, shut, and dark at 1, open.  numbers: written on them.
    """
    largest = float(np.abs(values).max()) if limit is None else limit
    colours, low, high = ("Greens", 0.0, 1.0) if gates else ("RdBu_r", -largest, largest)
    image = axes.imshow(values, aspect="auto", cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    if numbers:
        for (row, column), value in np.ndenumerate(values):
            dark = value > 0.6 if gates else abs(value) > 0.7 * largest
            ink = "white" if dark else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=ink)
    letters_below(axes, columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
    axes.set_title(title)
    axes.figure.colorbar(image, ax=axes, label=bar, fraction=0.03)


def name_points(axes: Axes, points: NDArray[np.floating[Any]], names: Sequence[str], colours: Sequence[str]) -> None:
    """A dot for each point [points, 2] with its name beside it, where no other name or dot is if there is such a place.

    To be called last: it measures the names as they will be drawn.
    """
    axes.scatter(points[:, 0], points[:, 1], color=list(colours), s=14)
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]  # axes of figures alone are drawn here
    axes.figure.set_layout_engine("none")  # type: ignore[union-attr]  # what was measured stays where it was
    dots = axes.transData.transform(points)
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in dots]
    for place, (name, colour) in enumerate(zip(names, colours, strict=True)):
        label = axes.annotate(
            name, points[place], xytext=(4, 2), textcoords="offset points", fontsize=8, color=colour, va="center"
        )
        others = [box for number, box in enumerate(taken) if number != place]
        free = None
        for away in (0, 8, 16, 24, 32):
            for across, side in ((5 + away / 2, "left"), (-5 - away / 2, "right")):
                for down in (0, away, -away):
                    label.set(position=(across, down), horizontalalignment=side)
                    box = label.get_window_extent().padded(3)
                    if free is None and not any(box.overlaps(other) for other in others):
                        free = (across, down, side, box)
        across, down, side, box = free or (5, 0, "left", label.get_window_extent())
        label.set(position=(across, down), horizontalalignment=side)
        if abs(down) > 8 or abs(across) > 12:  # too far away to be seen to belong to its dot
            axes.annotate(
                "",
                points[place],
                xytext=(across, down),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.6},
            )
        taken.append(box)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    figure.savefig(path, metadata={"Software": None})
