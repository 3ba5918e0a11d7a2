"""Copying: three letters, X, and the same three again, by two layers (after Chen 2017).

Two layers of 10 units read one of 27 triples and have to hold all of it at the X, in the right order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
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

_TRIPLE = "abc"
LETTERS = Symbols.letters(_TRIPLE + "X")
_X = LETTERS.number("X")
TRIPLES = ["".join(letters) for letters in product(_TRIPLE, repeat=3)]
TOP = 1
_PRICE = 0.05  # of mean |h|, in nats
_RIDGE = 1.0
_SHUFFLES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """Two layers; `steps` of training on all 27 triples."""

    units: Annotated[int, Between(2, 256)] = 10
    steps: Annotated[int, Between(1, 50_000)] = 6_000


EXACT = Claim(
    "exact",
    "It gives back all 27 triples.",
    "share of triples copied without a mistake, the end included",
    1.0,
    percent=True,
)
QUIET = Claim(
    "h_off_while_reading",
    "While the triple is read, the top layer shows little; it speaks when it is asked.",
    "mean |h| of the top layer over the triple, over that from the X on",
    0.6,
    sense="at most",
)
PRICED = Claim(
    "h_off_if_showing_costs",
    "A network that is asked for the copy alone, and pays a little for what it shows, is silent while it reads.",
    f"the same of a network trained on what follows the X, with {_PRICE:g} of mean |h| added to the loss",
    0.6,
    sense="at most",
)
APART = Claim(
    "c_at_x_tells_every_place",
    "At the X, what is remembered tells the letter at each of the three places.",
    "share of letters that a line from the c of both layers tells of a triple that it was not fitted to, at the "
    "hardest of the three places",
    0.9,
    percent=True,
)
APART_CHANCE = Claim(
    "c_at_x_chance",
    "That is no accident: if each triple gets another's letters, they cannot be told.",
    f"the largest such share of {_SHUFFLES} with the triples' letters exchanged; a third is chance",
    0.5,
    sense="at most",
    percent=True,
)
NEXT = Claim(
    "next_letter_units",
    "In the top layer there are units that say: next comes an a; a b; a c.",
    "balanced accuracy of the best unit for the hardest of the three letters, on triples that it was not fitted to",
    0.9,
)
CHANCE = Claim(
    "chance",
    "That is no accident: rotated labels give no unit such a score.",
    "best balanced accuracy of any unit on rotated labels",
    0.85,
    sense="at most",
)


def sequence(triple: str) -> NDArray[np.int64]:
    """The triple, X, the triple."""
    return LETTERS.encode(triple + "X" + triple)


def foreseeable() -> NDArray[np.bool_]:
    """Which of the seven symbols, and the end behind them, follow the X."""
    return np.arange(8) >= 4


def train(settings: Settings, bench: Bench, quiet: float) -> Callable[[Network, int], float]:
    """One training from a seed, all triples at every step. quiet: the price of what is shown.

    With a price, what follows the X alone is asked for: after the third letter the X itself can be foreseen, and who is
    asked for that will not be silent.
    """
    sequences = [sequence(triple) for triple in TRIPLES]
    batch = batch_of(sequences, [foreseeable()] * len(TRIPLES) if quiet else None)

    def once(network: Network, seed: int) -> float:
        recipe = Recipe(settings.steps, quiet=quiet)
        return fit(network, lambda step: batch, recipe, bench, f"copy, price {quiet:g}, seed {seed}")

    return once


def copied(network: Network) -> float:
    """The share of triples all of whose letters, and whose end, are the likeliest symbols after the X."""
    batch = batch_of([sequence(triple) for triple in TRIPLES], [foreseeable()] * len(TRIPLES))
    right = network.watch(batch.inputs).scores.argmax(dim=-1) == batch.targets
    return float((right | ~batch.counted).all(dim=0).double().mean())


def at_x(seen: Observed, read: NDArray[np.int64]) -> NDArray[Any]:
    """c of both layers at the X of each triple, [27, 2 * units]."""
    return np.concatenate([seen.signals[layer, "c"][read == _X] for layer in (0, TOP)], axis=1)


def places_told(memories: NDArray[Any], letters: NDArray[np.int64]) -> NDArray[np.float64]:
    """For each of the three places, how often its letter is told of a triple from the lines fitted to all others.

    memories: [27, numbers], in any order.  letters: which of the three stands at each place, int [27, 3].  Each place
    has a line for every letter, by ridge regression (Hoerl & Kennard 1970) on numbers of variance one.
    """
    x = (memories - memories.mean(axis=0)) / np.maximum(memories.std(axis=0), 1e-9)
    wanted = np.eye(len(_TRIPLE))[letters].reshape(len(x), -1)  # [27, 9]
    told = np.zeros(letters.shape, np.int64)
    for left_out in range(len(x)):
        rest = np.arange(len(x)) != left_out
        ones = wanted[rest].mean(axis=0)
        square = x[rest].T @ x[rest] + _RIDGE * np.eye(x.shape[1])
        lines = np.linalg.solve(square, x[rest].T @ (wanted[rest] - ones))
        told[left_out] = (ones + x[left_out] @ lines).reshape(letters.shape[1], -1).argmax(axis=1)
    return np.asarray((told == letters).mean(axis=0))


def places_told_by_chance(memories: NDArray[Any], letters: NDArray[np.int64], seed: int) -> float:
    """The largest share at the hardest place, of several with another triple's letters in place of each one's own."""
    generator = np.random.default_rng(seed)
    return max(float(places_told(memories, generator.permutation(letters)).min()) for _ in range(_SHUFFLES))


def next_letter_units(seen: Observed, read: NDArray[np.int64], seed: int) -> dict[str, Ranked]:
    """For each letter, the top layer's unit whose h tells best, from the X on, that it comes next."""
    speaking = np.tile(np.array([False, False, False, True, True, True, False]), len(TRIPLES))
    follows = np.append(read[1:], 0)
    shows = Observed({(TOP, "h"): seen.signals[TOP, "h"][speaking]}, seen.sequence[speaking])
    return {
        letter: rank_units(shows, (follows == LETTERS.number(letter))[speaking], seed=seed)[0] for letter in _TRIPLE
    }


def shown_while_reading(network: Network) -> tuple[float, float]:
    """Mean |h| of the top layer over the triple, and over the X and the two letters after it."""
    watched = network.watch(batch_of([sequence(triple) for triple in TRIPLES]).inputs)
    shows = watched.signal(TOP, "h").abs()
    return float(shows[1:4].mean()), float(shows[4:7].mean())


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims on all 27 triples."""
    config = NetworkConfig(LETTERS, units=settings.units, layers=2)

    def made(name: str, quiet: float) -> Network:
        training = train(settings, bench, quiet)
        return bench.network(name, config, lambda: best_of(config, training, bench.seed, attempts=3))

    network, priced = made("copy", 0.0), made("copy-quiet", _PRICE)
    # In a random order: in that of the alphabet, rotated labels would go with the right ones.
    order = np.random.default_rng(bench.seed).permutation(len(TRIPLES))
    sequences = [sequence(TRIPLES[place]) for place in order]
    read = np.concatenate(sequences)
    seen = observe(network, sequences)
    (reading, speaking), (priced_reading, priced_speaking) = map(shown_while_reading, (network, priced))
    memories = at_x(seen, read)[np.argsort(order)]
    letters = np.array([[_TRIPLE.index(letter) for letter in triple] for triple in TRIPLES])
    memories_priced = at_x(observe(priced, sequences), read)[np.argsort(order)]
    by_place, by_place_priced = places_told(memories, letters), places_told(memories_priced, letters)
    tellers = next_letter_units(seen, read, bench.seed)
    verdicts = (
        EXACT.verdict(copied(network)),
        QUIET.verdict(float(reading / speaking), f"{reading:.2f} against {speaking:.2f}"),
        PRICED.verdict(
            priced_reading / priced_speaking,
            f"{priced_reading:.2f} against {priced_speaking:.2f}; it copies {copied(priced):.0%} of the triples",
        ),
        APART.verdict(
            float(by_place.min()),
            f"{_shares(by_place)}; in the network that pays for showing {_shares(by_place_priced)}",
        ),
        APART_CHANCE.verdict(places_told_by_chance(memories, letters, bench.seed)),
        NEXT.verdict(min(one.score for one in tellers.values()), _told(tellers)),
        CHANCE.verdict(max(one.control for one in tellers.values())),
    )
    drawn = (
        Picture("units", _draw_units(network, priced), _UNITS_CAPTION),
        Picture("at-x", _draw_at_x(memories, seen.signals[TOP, "h"][read == _X][np.argsort(order)]), _AT_X_CAPTION),
    )
    return Finding(
        verdicts, drawn, _STORY, {"next_letter": {letter: str(one.place) for letter, one in tellers.items()}}
    )


def _shares(by_place: NDArray[np.float64]) -> str:
    return ", ".join(f"{share:.0%}" for share in by_place)


def _told(tellers: dict[str, Ranked]) -> str:
    return ", ".join(f"{letter}: unit {one.place.unit} {one.score:.2f}" for letter, one in tellers.items())


_STORY = (
    "Three letters are read, then an X, and the same three are to be given back. There are 27 triples, and "
    "between them the "
    "network must remember which letter stood where.",
)
_UNITS_CAPTION = (
    "What the top layer shows while three triples are read and given back: above the network that predicts every "
    "letter, below the one that is asked for the copy alone and pays for what it shows."
)
_AT_X_CAPTION = (
    "The state at the X of each triple, in the two directions in which it varies most: c of both layers on the "
    "left, h of "
    "the top layer on the right. The colour is the first letter, the mark the second."
)


def _draw_units(network: Network, priced: Network) -> Figure:
    figure, axes = pictures.new_figure(2, 3, width=12, height=6)
    rows = [str(unit) for unit in range(network.config.units)]
    for first, which, name in ((0, network, ""), (3, priced, ", showing has a price")):
        for place, triple in zip(axes[first : first + 3], ("abc", "cab", "bba"), strict=True):
            shows = which.watch(batch_of([sequence(triple)]).inputs).signal(TOP, "h")[1:, 0].numpy().T
            letters = list(triple + "X" + triple)
            pictures.draw_map(place, shows, columns=letters, rows=rows, title=triple + name, limit=1.0)
    return figure


def _draw_at_x(memories: NDArray[Any], shows: NDArray[Any]) -> Figure:
    figure, axes = pictures.new_figure(1, 2, width=10, height=4.6)
    colours = dict(zip(_TRIPLE, (pictures.RED, pictures.GREEN, pictures.BLUE), strict=True))
    marks = dict(zip(_TRIPLE, "o^s", strict=True))
    for place, values, title in ((axes[0], memories, "c of both layers"), (axes[1], shows, "h of the top layer")):
        centred = values - values.mean(axis=0)
        _, _, directions = np.linalg.svd(centred, full_matrices=False)
        points = centred @ directions[:2].T
        for triple, (x, y) in zip(TRIPLES, points, strict=True):
            place.scatter(x, y, color=colours[triple[0]], marker=marks[triple[1]])
            place.annotate(triple, (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7)
        place.set_title(title)
    return figure


def tests(settings: Settings) -> Batch:
    """What a unit is held on: every triple, and what can be foreseen of it, its copy and the end."""
    return batch_of([sequence(triple) for triple in TRIPLES], [foreseeable()] * len(TRIPLES))


EXPERIMENT = Experiment(
    name="copy",
    title="Copying three letters",
    question="How do two layers hold three letters and their order, and when do they show them?",
    source="After Edwin Chen, Exploring LSTMs (2017).",
    settings=Settings(),
    claims=(EXACT, QUIET, PRICED, APART, APART_CHANCE, NEXT, CHANCE),
    run=run,
    looked=Looked("copy", "bacXbac", lambda settings: (settings.units, settings.units), tests=tests),
    serves=(Served("copy", "bacX", "it suggests bac; nothing else is likely"),),
)
