"""Remembering: A or B, any number of x's, Y, then a or b (after Chen 2017).

The rounds follow each other without a pause, so what was remembered has to be given up again; after each answer the
sequence may be over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

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

LETTERS = Symbols.letters("ABxYab")
_BIG_A, _BIG_B, _X, _Y, _A, _B = (LETTERS.number(letter) for letter in "ABxYab")
_LAST = 0.4  # how often a round is the last one
_MOST_ROUNDS = 6
_TESTS = 120
_MOST = 60  # x's in a row
_TIMES = 6  # as many x's as there are on average, in the test of longer ones
_PRICE = 0.05  # of mean |h|, in nats


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """mean: how many x's there are on average between the letter and the question.

    price: of mean |h|, in nats; 0 trains without one.
    """

    units: Annotated[int, Between(2, 256)] = 10
    mean: Annotated[int, Between(1, 30)] = 6
    steps: Annotated[int, Between(1, 50_000)] = 6_000
    price: Annotated[float, Between(0.0, 10.0)] = _PRICE

    @property
    def longer(self) -> int:
        """How many x's there are in the test of longer rounds."""
        return _TIMES * self.mean


EXACT = Claim(
    "exact",
    "It answers a after A and b after B, however many x's there are.",
    "share of unseen rounds answered right",
    0.99,
    digits=3,
    percent=True,
)
LONGER = Claim(
    "longer",
    "It remembers over six times as many x's as there are on average.",
    "share of rounds with {longer} x's answered right",
    0.9,
    percent=True,
)
KEEPER = Claim(
    "keeper",
    "One unit's memory alone tells, all through the x's, which letter it was.",
    "balanced accuracy from its c, on sequences that it was not fitted to",
    0.99,
    digits=3,
    percent=True,
)
A_UNIT = Claim(
    "a_unit",
    "There is a unit that is active after an A and not after a B.",
    "its mean |c| over the x's after an A, over that after a B",
    3.0,
)
B_UNIT = Claim(
    "b_unit",
    "There is another that is active after a B and not after an A.",
    "its mean |c| over the x's after a B, over that after an A",
    3.0,
)
SHOWN_BEFORE = Claim(
    "h_active_before_y",
    "Both show their letter before anybody asks.",
    "mean |h| over the x's after the unit's own letter, the lesser of the two units'",
    0.3,
)
OPEN = Claim(
    "forget_gate_open",
    "Through the x's their forget gates are open: they remember.",
    "mean of f over the x's after the unit's own letter, the lesser of the two units'",
    0.9,
)
CLOSED = Claim(
    "forget_gate_closed",
    "When the answer is given the gates close, and they forget.",
    "mean of f at the answer to the unit's own letter, the larger of the two units'",
    0.5,
    sense="at most",
)


def draw_round(generator: np.random.Generator, mean: int, xs: int | None = None) -> NDArray[np.int64]:
    """One of A and B, some x's, Y, and the answer."""
    is_a = bool(generator.random() < 0.5)
    count = drawn_length(generator, mean) if xs is None else xs
    return np.array([_BIG_A if is_a else _BIG_B, *[_X] * count, _Y, _A if is_a else _B])


def drawn_length(generator: np.random.Generator, mean: int) -> int:
    """How many x's: the chance that the next symbol is the Y is the same at each of them, so counting x's is no use."""
    return int(min(generator.geometric(1 / mean), _MOST))


def draw_sequence(generator: np.random.Generator, mean: int, xs: int | None = None) -> NDArray[np.int64]:
    """Some rounds in a row: after each of them, the chance that it was the last is the same."""
    rounds = int(min(generator.geometric(_LAST), _MOST_ROUNDS))
    return np.concatenate([draw_round(generator, mean, xs) for _ in range(rounds)])


def answers(sequence: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which symbols are answers; the end behind them is none: bool [length + 1]."""
    return np.append(np.isin(sequence, (_A, _B)), False)


def train(settings: Settings, bench: Bench) -> Callable[[Network, int], float]:
    """One training from a seed, on all symbols: x's and Y's cannot be foreseen, but their frequency can."""

    def once(network: Network, seed: int) -> float:
        generator = np.random.default_rng(seed)

        def draw(step: int) -> Batch:
            return batch_of([draw_sequence(generator, settings.mean) for _ in range(24)])

        recipe = Recipe(settings.steps, rate=0.015, quiet=settings.price)
        return fit(network, draw, recipe, bench, f"remember, seed {seed}")

    return once


def answered_right(network: Network, sequences: Sequence[NDArray[np.int64]]) -> float:
    """The share of answers that are the likeliest symbol."""
    batch = batch_of(sequences, [answers(one) for one in sequences])
    right = (network.watch(batch.inputs).scores.argmax(dim=-1) == batch.targets) & batch.counted
    return float(right.sum() / batch.counted.sum())


def begun_with(sequence: NDArray[np.int64]) -> NDArray[np.int64]:
    """The A or B that each position lies behind."""
    starts = np.isin(sequence, (_BIG_A, _BIG_B))
    return np.asarray(sequence[np.maximum.accumulate(np.where(starts, np.arange(len(sequence)), 0))])


@dataclass(frozen=True, slots=True)
class LetterUnit:
    """A unit that stands for a letter, and how much more active it is after it than after the other.

    shown, kept: its mean |h| and mean f over the x's after its own letter.  at_answer: its mean f at the answer to it.
    """

    unit: int
    contrast: float
    shown: float
    kept: float
    at_answer: float

    def __str__(self) -> str:
        return f"unit {self.unit}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a network does while it reads: signals of all positions, the symbols read, and the letter each is behind."""

    seen: Observed
    read: NDArray[np.int64]
    begun: NDArray[np.int64]

    def over_xs(self, letter: int) -> NDArray[np.bool_]:
        """The x's of the rounds that began with a letter."""
        return np.asarray((self.read == _X) & (self.begun == letter), np.bool_)

    def letter_unit(self, letter: int, other: int, answer: int) -> LetterUnit:
        """The unit whose |c| over the x's after its letter stands out most from that after the other.

        A unit that remembers almost nothing anywhere may stand out by a great factor; so a hundredth is added to both.
        """
        size, shows = np.abs(self.seen.signals[0, "c"]), np.abs(self.seen.signals[0, "h"])
        mine, others, f = self.over_xs(letter), self.over_xs(other), self.seen.signals[0, "f"]
        ratio = (size[mine].mean(axis=0) + 0.01) / (size[others].mean(axis=0) + 0.01)
        unit = int(ratio.argmax())
        return LetterUnit(
            unit,
            float(ratio[unit]),
            shown=float(shows[mine, unit].mean()),
            kept=float(f[mine, unit].mean()),
            at_answer=float(f[self.read == answer, unit].mean()),
        )


def kept_by(seen: Observed, where: NDArray[np.bool_], is_a: NDArray[np.bool_], seed: int) -> Ranked:
    """The unit whose c tells best, at these places, which letter came first."""
    memories = Observed({(0, "c"): seen.signals[0, "c"][where]}, seen.sequence[where])
    return rank_units(memories, is_a[where], seed=seed)[0]


def read_by(network: Network, sequences: Sequence[NDArray[np.int64]]) -> Reading:
    """The network reads the sequences."""
    begun = np.concatenate([begun_with(one) for one in sequences])
    return Reading(observe(network, sequences), np.concatenate(sequences), begun)


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims on sequences that training did not draw."""
    config = NetworkConfig(LETTERS, units=settings.units)
    network = bench.network("remember", config, lambda: best_of(config, train(settings, bench), bench.seed, attempts=4))
    generator = np.random.default_rng([bench.seed, 7])
    sequences = [draw_sequence(generator, settings.mean) for _ in range(_TESTS)]
    longer = [draw_sequence(generator, settings.mean, xs=settings.longer) for _ in range(_TESTS)]
    reading = read_by(network, sequences)
    a_unit, b_unit = reading.letter_unit(_BIG_A, _BIG_B, _A), reading.letter_unit(_BIG_B, _BIG_A, _B)
    both = (a_unit, b_unit)
    keeper = kept_by(reading.seen, reading.read == _X, reading.begun == _BIG_A, bench.seed)
    rounds = int(np.isin(reading.read, (_A, _B)).sum())
    verdicts = (
        EXACT.verdict(answered_right(network, sequences), f"{rounds} rounds, {settings.mean} x's on average"),
        LONGER.verdict(answered_right(network, longer), f"{settings.longer} x's"),
        KEEPER.verdict(keeper.score, f"{keeper.place}; best on rotated labels {keeper.control:.2f}"),
        A_UNIT.verdict(a_unit.contrast, str(a_unit)),
        B_UNIT.verdict(b_unit.contrast, str(b_unit)),
        SHOWN_BEFORE.verdict(min(one.shown for one in both), _of_each([one.shown for one in both])),
        OPEN.verdict(min(one.kept for one in both), _of_each([one.kept for one in both])),
        CLOSED.verdict(max(one.at_answer for one in both), _of_each([one.at_answer for one in both])),
    )
    units = {"A": a_unit.unit, "B": b_unit.unit}
    return Finding(verdicts, (Picture("units", _draw(network, units), _CAPTION),), _STORY, {"units": units})


def _of_each(figures: Sequence[float]) -> str:
    return f"{figures[0]:.2f} of the A-unit, {figures[1]:.2f} of the B-unit"


_STORY = (
    "A round begins with A or B. Some x's follow, which say nothing; then comes Y, and the answer is the first "
    "letter, in small. Then it is over, or the next round follows at once. So one thing has to be kept over a stretch "
    "in which nothing reminds of it, and then to be let go.",
    "What the network shows has a small price in training, so that a unit is silent when it has nothing to say.",
)
_CAPTION = (
    "Four rounds: what the A-unit and the B-unit remember and show, and their forget gates. Each is filled by its "
    "letter, kept through the x's, and emptied at the answer."
)


def _draw(network: Network, units: Mapping[str, int]) -> Figure:
    text = "AxxxxxxYaBxxxxYbBxxxxxxxxYbAxxxYa"
    watched = network.watch(batch_of([LETTERS.encode(text)]).inputs)
    figure, axes = pictures.new_figure(3, 1, width=11, height=7.5)
    for place, letter in zip(axes, "chf", strict=True):
        values = watched.signal(0, letter)[1:, 0].numpy()
        for (name, unit), colour in zip(units.items(), (pictures.RED, pictures.BLUE), strict=True):
            place.plot(values[:, unit], color=colour, marker=".", label=f"unit {unit}: the {name}-unit")
        pictures.letters_below(place, list(text))
        place.set_title(pictures.SIGNAL_NAMES[letter])
        place.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def tests(settings: Settings) -> Batch:
    """What a unit is held on: sequences that are drawn, and their answers."""
    generator = np.random.default_rng(7)
    drawn = [draw_sequence(generator, settings.mean) for _ in range(20)]
    return batch_of(drawn, [answers(one) for one in drawn])


EXPERIMENT = Experiment(
    name="remember",
    title="Remembering one thing, and letting it go",
    question="Where does a network keep a letter that it will be asked for later, and when does it forget it?",
    source="After Edwin Chen, Exploring LSTMs (2017).",
    settings=Settings(),
    claims=(EXACT, LONGER, KEEPER, A_UNIT, B_UNIT, SHOWN_BEFORE, OPEN, CLOSED),
    run=run,
    looked=Looked("remember", "AxxxxxxYaBxxxYb", lambda settings: (settings.units,), tests=tests),
    serves=(Served("remember", "AxxxxxxY", "it suggests a, and after BxxxY b; nothing else is likely"),),
)
