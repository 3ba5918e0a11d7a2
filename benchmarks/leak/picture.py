"""The picture: for every graph, the attacker's scores of the tested trials by what the victim typed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.leak.guess import Guesses
from benchmarks.leak.trials import TEXTS

_SIZE_INCHES = (10.0, 3.8)
_DPI = 150


def draw_leak(path: Path, guesses: Mapping[str, Guesses], *, caption: str) -> None:
    """One panel a graph. Raises ModuleNotFoundError without matplotlib."""
    import matplotlib

    matplotlib.use("Agg")  # no window, no display
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(guesses), figsize=_SIZE_INCHES, layout="constrained", sharey=True)
    highest = max(1.5, *(1.1 * float(np.abs(found.scores).max()) for found in guesses.values()))
    spread = np.random.default_rng(0)
    for axes, (name, found) in zip(np.atleast_1d(panels), guesses.items(), strict=True):
        for text, marker in ((0, "o"), (1, "^")):
            scores = found.scores[found.typed == text]
            across = text + spread.uniform(-0.3, 0.3, len(scores))
            axes.scatter(across, scores, s=9, marker=marker, alpha=0.6)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set(title=f"{name}\n{found.accuracy:.0%} guessed right", ylim=(-highest, highest), xlim=(-0.5, 1.5))
        axes.set_xticks([0, 1], [text.decode().strip() for text in TEXTS], fontsize=7, family="monospace")
    panels[0].set_ylabel("attacker's score")
    figure.supxlabel(caption, fontsize=7)
    figure.suptitle("What an attacker guesses of a neighbour's text from its own probabilities alone", fontsize=11)
    figure.savefig(path, dpi=_DPI)
    pyplot.close(figure)
