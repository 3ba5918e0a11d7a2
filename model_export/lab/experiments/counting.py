"""Counting: a^N X b^N, read and continued by one LSTM layer of 10 units (after Chen 2017, "Exploring LSTMs").

The number of a's cannot be foreseen; the b's and the end can, by whoever has counted. The unit that counts is found by
measuring, for every unit and signal, how well it alone tells the count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.clamping import Clamp, scores_with
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.observing import observe
from model_export.lab.sequences import Batch, batch_of
from model_export.lab.symbols import Symbols
from model_export.lab.training import Recipe, best_of, fit
from model_export.lab.units import Observed, Place, Ranked, rank_units, sparseness
from service.model.checked import Between, Checked

LETTERS = Symbols.letters("aXb")
_A, _X, _B = (LETTERS.number(letter) for letter in "aXb")
CHEN_FAILS_AT = 19  # what the article reports of its network
_TESTED_TO = 6  # times what is shown in training
_PRICE = 0.05  # of mean |h|, in nats
_AS_GOOD = 0.1  # of R^2: units that tell the count about as well as the best
SIGNALS = ("i", "f", "o", "g", "c", "h")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """longest: the largest N that is shown in training."""

    units: Annotated[int, Between(1, 256)] = 10
    longest: Annotated[int, Between(5, 50)] = 10
    steps: Annotated[int, Between(1, 50_000)] = 4_000


EXACT = Claim(
    "exact_in_range",
    "It counts: after N a's and the X it gives exactly N b's and stops, for every N it was shown.",
    "share of N from 1 to {longest} that are continued without a mistake",
    1.0,
    percent=True,
)
BEYOND = Claim(
    "first_failure",
    "It counts further than it was ever shown.",
    "the first N at which it fails, over {longest}, the most it was shown",
    1.2,
    digits=1,
)
COUNTER = Claim(
    "counting_unit",
    "One unit's memory alone tells the count.",
    "R^2 of a straight line from its c to the a's not yet matched by b's, on sequences the line was not fitted to",
    0.9,
)
CHANCE = Claim(
    "chance",
    "That is no accident: rotated labels give no unit such a score.",
    "best R^2 of any unit and signal on rotated labels",
    0.5,
    sense="at most",
)
SPARSE = Claim(
    "h_sparser_than_c",
    "What it shows is sparser than what it remembers.",
    "Hoyer's measure of h, which ignores the scale and is 1 where one unit alone shows, less that of c; the mean over "
    "all letters",
    0.1,
)
PRICED = Claim(
    "h_sparser_if_showing_costs",
    "In a network that pays a little for what it shows, it is.",
    f"the same of a network trained with {_PRICE:g} of mean |h| added to the loss",
    0.1,
)
PRICED_EXACT = Claim(
    "priced_exact_in_range",
    "That network counts as well.",
    "share of N from 1 to {longest} that it continues without a mistake",
    1.0,
    percent=True,
)
STEADY = Claim(
    "gate_and_candidate_steady",
    "The counter counts by repeating itself: its input gate and its candidate hardly move within either half.",
    "largest standard deviation of i and of g within the a's or within the b's, past the first two letters",
    0.1,
    sense="at most",
)
KNOCKED_OUT = Claim(
    "knocked_out",
    "Hold that unit's c at zero, and it cannot count.",
    "share of N from 1 to {longest} that are still continued without a mistake",
    0.2,
    sense="at most",
    percent=True,
)


def sequence(n: int) -> NDArray[np.int64]:
    """a^n X b^n."""
    return np.array([_A] * n + [_X] + [_B] * n, np.int64)


def train(settings: Settings, bench: Bench, quiet: float) -> Callable[[Network, int], float]:
    """One training from a seed; returns the loss of the last tenth. quiet: the price of what is shown."""

    def once(network: Network, seed: int) -> float:
        generator = np.random.default_rng(seed)

        def draw(step: int) -> Batch:
            return batch_of([sequence(int(n)) for n in generator.integers(1, settings.longest + 1, 32)])

        recipe = Recipe(settings.steps, rate=0.02, quiet=quiet)
        return fit(network, draw, recipe, bench, f"counting, price {quiet:g}, seed {seed}")

    return once


def is_exact(network: Network, n: int, clamps: tuple[Clamp, ...] = ()) -> bool:
    """Whether a^n X is continued by n b's and the end. A wrong symbol anywhere is a mistake, however likely it was."""
    batch = batch_of([sequence(n)])
    chosen = scores_with(network, batch.inputs, clamps) if clamps else network.watch(batch.inputs).scores
    after_x = slice(n + 1, None)  # the first place whose target is a b
    return bool((chosen.argmax(dim=-1) == batch.targets)[after_x].all())


def first_failure(network: Network, most: int) -> int:
    """The smallest N that is not continued exactly; most + 1 if there is none."""
    return next((n for n in range(1, most + 1) if not is_exact(network, n)), most + 1)


def outstanding(letters: NDArray[np.int64]) -> NDArray[np.float64]:
    """The a's not yet matched by b's, at every letter."""
    return np.asarray(np.cumsum(letters == _A) - np.cumsum(letters == _B), np.float64)


def unsteadiness(network: Network, unit: int, n: int) -> float:
    """The largest standard deviation of i and g of a unit within the a's or the b's, past the first two letters."""
    watched = network.watch(batch_of([sequence(n)]).inputs)
    halves = (slice(3, n + 1), slice(n + 4, 2 * n + 2))
    values = [watched.signal(0, letter)[half, 0, unit] for letter in "ig" for half in halves]
    return max(float(value.std(unbiased=False)) for value in values)


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims."""
    config = NetworkConfig(LETTERS, units=settings.units)

    def made(name: str, quiet: float) -> Network:
        training = train(settings, bench, quiet)
        return bench.network(name, config, lambda: best_of(config, training, bench.seed, attempts=3))

    network, priced = made("counting", 0.0), made("counting-quiet", _PRICE)
    in_range = range(1, settings.longest + 1)
    exact = [is_exact(network, n) for n in in_range]
    fails_at = first_failure(network, _TESTED_TO * settings.longest)
    shown = [sequence(n) for n in in_range]
    seen, seen_priced = observe(network, shown), observe(priced, shown)
    ranked = rank_units(seen, np.concatenate([outstanding(one) for one in shown]), seed=bench.seed)
    losses = {u: 1 - _share_exact(network, in_range, Clamp(Place(0, "c", u))) for u in range(settings.units)}
    counter = counting_unit(ranked, losses)
    verdicts = (
        EXACT.verdict(float(np.mean(exact))),
        BEYOND.verdict(fails_at / settings.longest, f"at {fails_at}; the article's network failed at {CHEN_FAILS_AT}"),
        COUNTER.verdict(counter.score, str(counter.place)),
        CHANCE.verdict(counter.control),
        SPARSE.verdict(*sparser(seen)),
        PRICED.verdict(*sparser(seen_priced)),
        PRICED_EXACT.verdict(float(np.mean([is_exact(priced, n) for n in in_range]))),
        STEADY.verdict(unsteadiness(network, counter.place.unit, settings.longest)),
        KNOCKED_OUT.verdict(1 - losses[counter.place.unit], _of_the_others(losses, counter.place.unit)),
    )
    unit = counter.place.unit
    pictures_made = (
        Picture("counter", _draw_counter(network, unit, settings.longest), _COUNTER_CAPTION.format(unit=unit)),
        Picture("units", _draw_units(network, priced, settings.longest), _UNITS_CAPTION),
    )
    story = tuple(part.format(longest=settings.longest) for part in _STORY)
    details = {
        "first_failure": fails_at,
        "ranked": [_told(one) for one in ranked[:10]],
        "lost_without": losses,
    }
    return Finding(verdicts, pictures_made, story, details)


def _share_exact(network: Network, numbers: range, clamp: Clamp) -> float:
    return float(np.mean([is_exact(network, n, (clamp,)) for n in numbers]))


def counting_unit(ranked: Sequence[Ranked], losses: Mapping[int, float]) -> Ranked:
    """Of the units whose c tells the count nearly as well as the best one's, the one that is missed most.

    Several units go with the count; what they tell and whether anybody listens are two questions.
    losses: by unit, the share of numbers that are not continued exactly when its c is held at zero.
    """
    memories = [one for one in ranked if one.place.letter == "c"]
    good = [one for one in memories if one.score >= memories[0].score - _AS_GOOD]
    return max(good, key=lambda one: losses[one.place.unit])


def sparser(seen: Observed) -> tuple[float, str]:
    """By how much h is sparser than c, and both.

    By Hoyer's measure, which ignores the scale: shares near zero would not do, since |h| = o * |tanh(c)| is never more
    than |c|.
    """
    h, c = (sparseness(seen.signals[0, letter]) for letter in "hc")
    return h - c, f"{h:.2f} against {c:.2f}"


def _of_the_others(losses: Mapping[int, float], unit: int) -> str:
    others = [1 - loss for one, loss in losses.items() if one != unit]
    return (
        f"without one of the others instead: {np.mean(others):.0%} on average" if others else "there is no other unit"
    )


def _told(one: Ranked) -> dict[str, Any]:
    return {"place": str(one.place), "score": round(one.score, 4), "control": round(one.control, 4)}


_STORY = (
    "The network reads some a's and an X, and is to answer with as many b's. It was shown up to {longest}. Nothing in "
    "its equations counts; each unit has a memory to which a number can be added at every step.",
    "The unit whose memory tells the count best is found by measurement. It adds about the same at every a, and takes "
    "away about the same at every b; when it is back where it began, the network stops.",
)
_UNITS_CAPTION = (
    "What all units remember (c) and show (h) while as many a's as were ever shown, an X and as many b's go by. Above, "
    "several go with the count. Below, the network that pays for what it shows: most of it stays unsaid."
)
_COUNTER_CAPTION = (
    "Unit {unit} (the unit that counts): its memory c climbs with each a and comes down with each b. Below, its gates."
)


def _draw_counter(network: Network, unit: int, n: int) -> Figure:
    letters = ["a"] * n + ["X"] + ["b"] * n
    watched = network.watch(batch_of([sequence(n)]).inputs)
    signals = {letter: watched.signal(0, letter)[1:, 0, unit].numpy() for letter in SIGNALS}
    figure, axes = pictures.new_figure(2, 1, width=10, height=6)
    pictures.draw_signals(axes[0], {k: signals[k] for k in "ch"}, letters, f"unit {unit}: what it remembers and shows")
    pictures.draw_signals(axes[1], {k: signals[k] for k in "ifog"}, letters, "its gates and its candidate")
    return figure


def _draw_units(network: Network, priced: Network, n: int) -> Figure:
    letters = ["a"] * n + ["X"] + ["b"] * n
    figure, axes = pictures.new_figure(2, 2, width=11, height=7.5)
    rows = [f"unit {u}" for u in range(network.config.units)]
    for first, which, beside in ((0, network, ""), (2, priced, "; showing has a price")):
        watched = which.watch(batch_of([sequence(n)]).inputs)
        for place, letter in zip(axes[first : first + 2], "ch", strict=True):
            values = watched.signal(0, letter)[1:, 0].numpy().T
            title = pictures.SIGNAL_NAMES[letter] + beside
            limit = 1.0 if letter == "h" else None
            pictures.draw_map(place, values, columns=letters, rows=rows, title=title, limit=limit)
    return figure


def tests(settings: Settings) -> Batch:
    """What a unit is held on: every N that was shown, and what can be foreseen of it, the b's and the end."""
    numbers = range(1, settings.longest + 1)
    return batch_of([sequence(n) for n in numbers], [np.arange(2 * n + 2) > n for n in numbers])


EXPERIMENT = Experiment(
    name="counting",
    title="Counting: as many b's as there were a's",
    question="Can a network count, where is the number kept, and how far does it go beyond what it was shown?",
    source="After Edwin Chen, Exploring LSTMs (2017).",
    settings=Settings(),
    claims=(EXACT, BEYOND, COUNTER, CHANCE, SPARSE, PRICED, PRICED_EXACT, STEADY, KNOCKED_OUT),
    run=run,
    looked=Looked("counting", "aaaaaaXbbbbbb", lambda settings: (settings.units,), tests=tests),
    serves=(
        Served(
            "counting",
            "aaaX",
            "it suggests bbb and no more; after the third b nothing is likely, for it expects the end",
        ),
    ),
)
