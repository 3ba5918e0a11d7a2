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
from model_export.lab.claims import Claim, Verdict
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
_PRICE = 0.02  # of mean |h|, in nats


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
PRICED_EXACT = Claim(
    "priced_exact",
    f"A network that pays {_PRICE:g} of mean |h| for what it shows counts as well.",
    "share of unseen sequences that it continues without a mistake",
    0.99,
    digits=3,
    percent=True,
)
ONLY_AT_Y = Claim(
    "unit_at_y",
    "In it there is a unit that shows itself at the Y and nowhere else.",
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


def train(settings: Settings, bench: Bench, quiet: float) -> Callable[[Network, int], float]:
    """One training from a seed, on all symbols. quiet: the price of what is shown."""

    def once(network: Network, seed: int) -> float:
        generator = np.random.default_rng(seed)

        def draw(step: int) -> Batch:
            return batch_of([draw_sequence(generator, settings.longest) for _ in range(32)])

        recipe = Recipe(settings.steps, rate=0.02, quiet=quiet)
        return fit(network, draw, recipe, bench, f"selective, price {quiet:g}, seed {seed}")

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

    def made(name: str, quiet: float) -> Network:
        training = train(settings, bench, quiet)
        return bench.network(name, config, lambda: best_of(config, training, bench.seed, attempts=3))

    network, priced = made("selective", 0.0), made("selective-quiet", _PRICE)
    generator = np.random.default_rng([bench.seed, 7])
    sequences = [draw_sequence(generator, settings.longest) for _ in range(_TESTS)]
    read = np.concatenate(sequences)
    counts = np.concatenate([np.cumsum(one == _A) for one in sequences]).astype(np.float64)
    counted, of_counter = _of_counter(network, sequences, read, counts, bench.seed)
    answered, at_y = _of_unit_at_y(priced, sequences, read, counts, bench.seed)
    details = {"c_at_y_by_count": {str(count): list(pair) for count, pair in at_y.spread.items()}}
    shown = (
        Picture("passing-over", _draw_counter(network, of_counter), _COUNTER_CAPTION.format(unit=of_counter)),
        Picture("at-y", _draw_at_y(at_y), _AT_Y_CAPTION.format(unit=at_y.unit)),
    )
    return Finding((*counted, *answered), shown, _STORY, details)


def _of_counter(
    network: Network,
    sequences: Sequence[NDArray[np.int64]],
    read: NDArray[np.int64],
    counts: NDArray[np.float64],
    seed: int,
) -> tuple[tuple[Verdict, ...], int]:
    """The verdicts on the unit that counts, and which it is."""
    seen = observe(network, sequences)
    before_y = np.concatenate([~foreseeable(one)[1:] for one in sequences])
    counter = passing_over(rank_units(_only(seen, before_y), counts[before_y], seed=seed), seen, read == _X)
    unit = counter.place.unit
    i_at_x = seen.signals[0, "i"][read == _X, unit]
    g_at_x = np.abs(seen.signals[0, "g"][read == _X, unit])
    g_at_a = float(np.abs(seen.signals[0, "g"][read == _A, unit]).mean())
    return (
        EXACT.verdict(exact_share(network, sequences), f"{_TESTS} sequences"),
        COUNTER.verdict(counter.score, f"{counter.place}; best on rotated labels {counter.control:.2f}"),
        SHUT.verdict(float(i_at_x.mean()), f"standard deviation {i_at_x.std():.2f}"),
        ACTIVE.verdict(float(g_at_x.mean()), f"standard deviation {g_at_x.std():.2f}; at an a {g_at_a:.2f}"),
    ), unit


@dataclass(frozen=True, slots=True)
class UnitAtY:
    """A unit that shows itself at the Y: its mean |h| at each letter, and its c at the Y by the count."""

    unit: int
    shows: dict[str, float]
    spread: dict[int, tuple[float, float]]


def _of_unit_at_y(
    network: Network,
    sequences: Sequence[NDArray[np.int64]],
    read: NDArray[np.int64],
    counts: NDArray[np.float64],
    seed: int,
) -> tuple[tuple[Verdict, ...], UnitAtY]:
    """The verdicts on the unit that shows itself at the Y, and what it does."""
    seen = observe(network, sequences)
    told = rank_units(_memories(seen, read == _Y), counts[read == _Y], seed=seed)
    unit, contrast, score = unit_at_y(seen, read, told)
    spread = spread_by_count(seen.signals[0, "c"][read == _Y, unit], counts[read == _Y])
    shows = np.abs(seen.signals[0, "h"])[:, unit]
    at_letter = {letter: float(shows[read == LETTERS.number(letter)].mean()) for letter in LETTERS.entries}
    verdicts = (
        PRICED_EXACT.verdict(exact_share(network, sequences)),
        ONLY_AT_Y.verdict(contrast, f"unit {unit}"),
        ENCODES.verdict(score, f"its c spreads by {np.mean([s for _, s in spread.values()]):.2f} within a count"),
    )
    return verdicts, UnitAtY(unit, at_letter, spread)


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
    "proposing nothing to add (its candidate is zero), or by shutting the gate before what it proposes.",
    "At the Y the network has to turn from listening to answering, and something has to hand over the count. A second "
    "network pays a little for what it shows, so that one can see what does.",
)
_COUNTER_CAPTION = (
    "Unit {unit}, which counts: its memory climbs at each a and stands still at each X. The gates below show why."
)
_AT_Y_CAPTION = (
    "In the network that pays for what it shows, unit {unit}, which shows itself at the Y: its memory there against "
    f"the number of a's, {_TESTS} sequences."
)


def _draw_counter(network: Network, unit: int) -> Figure:
    text = "aXaaXXaXXXaaYbbbbbb"
    watched = network.watch(batch_of([LETTERS.encode(text)]).inputs)
    signals = {letter: watched.signal(0, letter)[1:, 0, unit].numpy() for letter in "ifogch"}
    figure, axes = pictures.new_figure(2, 1, width=10, height=6)
    pictures.draw_signals(axes[0], {k: signals[k] for k in "ch"}, list(text), f"unit {unit}")
    pictures.draw_signals(axes[1], {k: signals[k] for k in "ig"}, list(text), "its input gate and its candidate")
    return figure


def _draw_at_y(one: UnitAtY) -> Figure:
    figure, axes = pictures.new_figure(1, 2, width=10, height=4)
    axes[0].bar(list(one.shows), list(one.shows.values()), color=pictures.BLUE)
    axes[0].set(title=f"unit {one.unit}: mean |h| at each letter", ylabel="|h|")
    means, deviations = zip(*one.spread.values(), strict=True)
    axes[1].errorbar(list(one.spread), means, yerr=deviations, fmt="o", color=pictures.RED, capsize=3)
    axes[1].set(title="its c at the Y, mean and standard deviation", xlabel="a's so far", ylabel="c")
    return figure


def tests(settings: Settings) -> Batch:
    """What a unit is held on: sequences that are drawn, and what can be foreseen of them."""
    generator = np.random.default_rng(7)
    drawn = [draw_sequence(generator, settings.longest) for _ in range(40)]
    return batch_of(drawn, [foreseeable(one) for one in drawn])


EXPERIMENT = Experiment(
    name="selective",
    title="Selective counting: what a gate is for",
    question="How does a network count some letters and pass over others?",
    source="After Edwin Chen, Exploring LSTMs (2017).",
    settings=Settings(),
    claims=(EXACT, COUNTER, SHUT, ACTIVE, PRICED_EXACT, ONLY_AT_Y, ENCODES),
    run=run,
    looked=Looked("selective", "aXaXXaYbbb", lambda settings: (settings.units,), tests=tests),
    serves=(Served("selective", "aXaXXaY", "it suggests bbb, for three a's; nothing else is likely"),),
)
