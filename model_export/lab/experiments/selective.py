"""Selective counting: a's to be counted, X's to be passed over, then Y and as many b's (after Chen 2017).

To pass over an X a unit may still have a candidate: it is enough that its input gate is shut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.observing import observe
from model_export.lab.sequences import Batch, batch_of
from model_export.lab.symbols import Symbols
from model_export.lab.training import Recipe, best_of, fit
from model_export.lab.units import Observed, Ranked, rank_units
from service.model.checked import Between, Checked

LETTERS = Symbols.letters("aXYb")
_A, _X, _Y, _B = (LETTERS.number(letter) for letter in "aXYb")
_TESTS = 200
_SHUT = 0.2
_ACTIVE = 0.5
_QUIET = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """longest: the largest number of a's; there are at most as many X's among them."""

    units: Annotated[int, Between(1, 256)] = 10
    longest: Annotated[int, Between(2, 30)] = 10
    steps: Annotated[int, Between(1, 50_000)] = 6_000


EXACT = Claim(
    "exact",
    "It gives as many b's as there were a's, whatever the X's.",
    "share of unseen sequences continued without a mistake",
    0.99,
    digits=3,
    percent=True,
)
COUNTER = Claim(
    "counting_unit",
    "One unit's memory alone tells how many a's there were.",
    "R^2 of a straight line from its c to the a's so far, before the Y, on sequences the line was not fitted to",
    0.9,
)
SHUT = Claim("gate_shut_on_x", "At an X that unit's input gate is shut.", "mean of i at an X", _SHUT, sense="at most")
ACTIVE = Claim(
    "candidate_active_on_x",
    "Its candidate is active there all the same: it is the gate that keeps the X out.",
    "mean of |g| at an X",
    _ACTIVE,
)
ONLY_AT_Y = Claim(
    "unit_at_y",
    "There is a unit that shows itself at the Y and nowhere else.",
    "its mean |h| at the Y over that at any other letter, whichever is largest",
    2.0,
)
ENCODES = Claim(
    "its_c_encodes_the_count",
    "What that unit remembers at the Y is the count.",
    "R^2 of a straight line from its c at the Y to the count, on sequences the line was not fitted to",
    0.9,
)


def draw_sequence(generator: np.random.Generator, longest: int) -> NDArray[np.int64]:
    """A number of a's with X's anywhere among them, Y, and a b for each a."""
    count = int(generator.integers(1, longest + 1))
    extra = int(generator.integers(0, longest + 1))
    mixed = generator.permutation([_A] * count + [_X] * extra)
    return np.concatenate([mixed, [_Y], [_B] * count])


def train(settings: Settings, bench: Bench) -> Callable[[Network, int], float]:
    """One training from a seed, on all symbols, with a small price on showing."""

    def once(network: Network, seed: int) -> float:
        generator = np.random.default_rng(seed)

        def draw(step: int) -> Batch:
            return batch_of([draw_sequence(generator, settings.longest) for _ in range(32)])

        return fit(network, draw, Recipe(settings.steps, rate=0.02, quiet=_QUIET), bench, f"selective, seed {seed}")

    return once


def foreseeable(sequence: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which symbols, and the end behind them, follow the Y: bool [length + 1]."""
    return np.concatenate([[False], np.cumsum(sequence == _Y) > 0])


def exact_share(network: Network, sequences: Sequence[NDArray[np.int64]]) -> float:
    """The share of sequences all of whose b's, and whose end, are the likeliest symbols."""
    batch = batch_of(sequences, [foreseeable(one) for one in sequences])
    right = network.watch(batch.inputs).scores.argmax(dim=-1) == batch.targets
    return float((right | ~batch.counted).all(dim=0).double().mean())


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims on sequences that training did not draw."""
    config = NetworkConfig(LETTERS, units=settings.units)
    network = bench.network(
        "selective", config, lambda: best_of(config, train(settings, bench), bench.seed, attempts=3)
    )
    generator = np.random.default_rng([bench.seed, 7])
    sequences = [draw_sequence(generator, settings.longest) for _ in range(_TESTS)]
    read = np.concatenate(sequences)
    seen = observe(network, sequences)
    before_y = np.concatenate([~foreseeable(one)[1:] for one in sequences])
    counts = np.concatenate([np.cumsum(one == _A) for one in sequences]).astype(np.float64)
    ranked = rank_units(_only(seen, before_y), counts[before_y], seed=bench.seed)
    counter = passing_over(ranked, seen, read == _X)
    unit = counter.place.unit
    i_at_x = seen.signals[0, "i"][read == _X, unit]
    g_at_x = np.abs(seen.signals[0, "g"][read == _X, unit])
    g_at_a = float(np.abs(seen.signals[0, "g"][read == _A, unit]).mean())
    told = rank_units(_memories(seen, read == _Y), counts[read == _Y], seed=bench.seed)
    at_y, contrast, score = unit_at_y(seen, read, told)
    spread = spread_by_count(seen.signals[0, "c"][read == _Y, at_y], counts[read == _Y])
    verdicts = (
        EXACT.verdict(exact_share(network, sequences), f"{_TESTS} sequences"),
        COUNTER.verdict(counter.score, f"{counter.place}; best on rotated labels {counter.control:.2f}"),
        SHUT.verdict(float(i_at_x.mean()), f"standard deviation {i_at_x.std():.2f}"),
        ACTIVE.verdict(float(g_at_x.mean()), f"standard deviation {g_at_x.std():.2f}; at an a {g_at_a:.2f}"),
        ONLY_AT_Y.verdict(contrast, f"unit {at_y}"),
        ENCODES.verdict(score, f"its c spreads by {np.mean([s for _, s in spread.values()]):.2f} within a count"),
    )
    shown = (
        Picture("passing-over", _draw_counter(network, counter), _COUNTER_CAPTION.format(unit=unit)),
        Picture("at-y", _draw_at_y(seen, read, at_y, spread), _AT_Y_CAPTION.format(unit=at_y)),
    )
    details = {"c_at_y_by_count": {str(count): list(pair) for count, pair in spread.items()}}
    return Finding(verdicts, shown, _STORY, details)


def _only(seen: Observed, where: NDArray[np.bool_]) -> Observed:
    return Observed({key: values[where] for key, values in seen.signals.items()}, seen.sequence[where])


def _memories(seen: Observed, where: NDArray[np.bool_]) -> Observed:
    """The memories alone."""
    return Observed({(0, "c"): seen.signals[0, "c"][where]}, seen.sequence[where])


def passing_over(ranked: Sequence[Ranked], seen: Observed, at_x: NDArray[np.bool_]) -> Ranked:
    """Of the units whose c tells the count, the one that does most to keep out what it proposes at an X: |g| less i."""
    memories = [one for one in ranked if one.place.letter == "c"]
    counters = [one for one in memories if one.score >= COUNTER.bar] or memories[:1]
    kept_out = (np.abs(seen.signals[0, "g"][at_x]) - seen.signals[0, "i"][at_x]).mean(axis=0)
    return max(counters, key=lambda one: float(kept_out[one.place.unit]))


def unit_at_y(seen: Observed, read: NDArray[np.int64], told: Sequence[Ranked]) -> tuple[int, float, float]:
    """Of the units that show themselves at the Y and nowhere else, the one whose c there tells the count best.

    told: all memories at the Y. Returns the unit, its |h| at the Y over that at any other letter, and its R^2; the unit
    of the largest contrast if none has enough of it.
    """
    shows = np.abs(seen.signals[0, "h"])
    elsewhere = np.max([shows[read == letter].mean(axis=0) for letter in (_A, _X, _B)], axis=0)
    contrast = shows[read == _Y].mean(axis=0) / np.maximum(elsewhere, 1e-6)
    scores = {one.place.unit: one.score for one in told}
    shown = [unit for unit in scores if contrast[unit] >= ONLY_AT_Y.bar] or [int(contrast.argmax())]
    best = max(shown, key=lambda unit: scores[unit])
    return best, float(contrast[best]), scores[best]


def spread_by_count(values: NDArray[Any], counts: NDArray[np.float64]) -> dict[int, tuple[float, float]]:
    """Mean and standard deviation of the values at each count."""
    return {
        int(count): (float(values[counts == count].mean()), float(values[counts == count].std()))
        for count in np.unique(counts)
    }


_STORY = (
    "Now there are X's among the a's, and they are not to be counted. A unit could keep them out in two ways: by "
    "proposing "
    "nothing to add (its candidate is zero), or by shutting the gate before what it proposes.",
    "At the Y the network has to turn from listening to answering, and something has to hand over the count.",
)
_COUNTER_CAPTION = (
    "Unit {unit}, which counts: its memory climbs at each a and stands still at each X. The gates below show why."
)
_AT_Y_CAPTION = "Unit {unit}, which shows itself at the Y: its memory there against the number of a's, 200 sequences."


def _draw_counter(network: Network, counter: Ranked) -> Figure:
    text = "aXaaXXaXXXaaYbbbbbb"
    watched = network.watch(batch_of([LETTERS.encode(text)]).inputs)
    signals = {letter: watched.signal(0, letter)[1:, 0, counter.place.unit].numpy() for letter in "ifogch"}
    figure, axes = pictures.new_figure(2, 1, width=10, height=6)
    pictures.draw_signals(axes[0], {k: signals[k] for k in "ch"}, list(text), f"unit {counter.place.unit}")
    pictures.draw_signals(axes[1], {k: signals[k] for k in "ig"}, list(text), "its input gate and its candidate")
    return figure


def _draw_at_y(seen: Observed, read: NDArray[np.int64], unit: int, spread: dict[int, tuple[float, float]]) -> Figure:
    figure, axes = pictures.new_figure(1, 2, width=10, height=4)
    shows = np.abs(seen.signals[0, "h"])[:, unit]
    names = ["a", "X", "Y", "b"]
    axes[0].bar(names, [float(shows[read == letter].mean()) for letter in (_A, _X, _Y, _B)], color=pictures.BLUE)
    axes[0].set(title=f"unit {unit}: mean |h| at each letter", ylabel="|h|")
    counts = list(spread)
    means, deviations = zip(*spread.values(), strict=True)
    axes[1].errorbar(counts, means, yerr=deviations, fmt="o", color=pictures.RED, capsize=3)
    axes[1].set(title="its c at the Y, mean and standard deviation", xlabel="a's so far", ylabel="c")
    return figure


EXPERIMENT = Experiment(
    name="selective",
    title="Selective counting: what a gate is for",
    question="How does a network count some letters and pass over others?",
    source="After Edwin Chen, Exploring LSTMs (2017).",
    settings=Settings(),
    claims=(EXACT, COUNTER, SHUT, ACTIVE, ONLY_AT_Y, ENCODES),
    run=run,
    looked=Looked("selective", "aXaXXaYbbb", lambda settings: (settings.units,)),
    serves=(Served("selective", "aXaXXaY", "it suggests bbb, for three a's"),),
)
