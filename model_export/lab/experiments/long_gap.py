"""The long gap: a letter, many x's, and then the letter is asked for; by distance and by cell.

Every network is trained on one distance and measured there: whether it can be learned at all, not how far it carries.
How it is trained decides as much as its cell. Each cell is given the better of two ways (`WAYS`), by its training loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.cells.lstm import Lstm
from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim, Verdict
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.experiments import remember
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.sequences import Batch, batch_of
from model_export.lab.training import Recipe, fit, new_network
from service.model.checked import Between, Checked

OPENED = "lstm, forget bias 4"
CELLS = ("rnn", "gru", "lstm", OPENED, "lstm-1997", "peephole-lstm")
GAPS = (5, 10, 20, 40, 60)
FAR = GAPS[-1]
_TESTS = 200
_EVERY = 10  # steps between two looks at whether all is right
_SURE = 0.01  # the loss, in nats, below which a network that is right need not be trained on
_GUESSING = 0.5
_OPEN = 4.0  # sigmoid(4) is 0.98: of a memory a third is left after 60 steps
_NEVER = -10.0  # e^-10: how often a symbol is the answer that never is


@dataclass(frozen=True, slots=True)
class Way:
    """A way to train. drawn: rounds in a batch, A or B by chance; 0 for both rounds that there are of one length.

    knows: the head's bias begins at the logarithm of how often each symbol is an answer. Without that the first steps
    of Adam go into the symbols that never are; they move all weights alike, and leave tanh and the gates at their ends,
    where no gradient comes through. (An output's bias from its frequency: Karpathy 2019, A recipe for training.)
    """

    says: str
    rate: float
    drawn: int = 0
    knows: bool = False


WAYS = {
    "drawn": Way("sixteen rounds drawn for each batch, rate 0.01", rate=0.01, drawn=16),
    "both": Way("both rounds in each batch, the head's bias from the answers, rate 0.003", rate=0.003, knows=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """seeds: networks of each cell at each distance.  steps: of training each, at most: it ends when all is right.

    The first seed is trained in both ways.
    """

    units: Annotated[int, Between(2, 128)] = 12
    seeds: Annotated[int, Between(1, 20)] = 3
    steps: Annotated[int, Between(1, 20_000)] = 5_000


NEAR = Claim(
    "all_near",
    "Over five x's every cell learns to remember.",
    "mean share of right answers, the worst cell's",
    0.95,
    digits=3,
    percent=True,
)
RNN_FAR = Claim(
    "rnn_fails_far",
    "Over sixty the simple RNN guesses.",
    "mean share of right answers",
    0.75,
    sense="at most",
    percent=True,
)
LSTM_FAR = Claim(
    "lstm_far",
    "The LSTM, its forget bias 1, still learns it.",
    "mean share of right answers",
    0.95,
    digits=3,
    percent=True,
)
GRU_FAR = Claim("gru_far", "The GRU learns it.", "mean share of right answers", 0.95, digits=3, percent=True)
OPEN_FAR = Claim(
    "open_lstm_far",
    "It does where its forget gates start open (bias 4).",
    "mean share of right answers",
    0.95,
    digits=3,
    percent=True,
)
FIRST_FAR = Claim(
    "lstm_1997_far",
    "So does the LSTM of 1997, which has none.",
    "mean share of right answers",
    0.95,
    digits=3,
    percent=True,
)
PEEPHOLE_FAR = Claim(
    "peephole_far", "The LSTM with peepholes learns it.", "mean share of right answers", 0.95, digits=3, percent=True
)


def draw_round(generator: np.random.Generator, gap: int) -> NDArray[np.int64]:
    """A or B, as many x's, Y, and the answer."""
    return remember.draw_round(generator, 1, gap)


def only_answers(sequences: Sequence[NDArray[np.int64]]) -> Batch:
    """Rounds of which the answers alone are to be predicted."""
    return batch_of(sequences, [remember.answers(one) for one in sequences])


def both_rounds(gap: int) -> Batch:
    """The two rounds that there are of this length, their answers alone to be predicted."""
    rounds = (f"{letter}{'x' * gap}Y{letter.lower()}" for letter in "AB")
    return only_answers([remember.LETTERS.encode(one) for one in rounds])


def begin(network: Network, way: Way) -> None:
    """What a way does to new weights."""
    if way.knows:
        with torch.no_grad():
            network.head.bias.fill_(_NEVER)
            network.head.bias[remember.LETTERS.encode("ab")] = math.log(0.5)


def batches(way: Way, gap: int, seed: int) -> Callable[[int], Batch]:
    """What `training.fit` draws for each step."""
    both, generator = both_rounds(gap), np.random.default_rng(seed)

    def draw(step: int) -> Batch:
        return only_answers([draw_round(generator, gap) for _ in range(way.drawn)]) if way.drawn else both

    return draw


class Settled:
    """Asked after each step, and looks at every tenth: whether both rounds are answered right, and surely."""

    def __init__(self, network: Network, gap: int) -> None:
        self._network, self._both, self._steps = network, both_rounds(gap), 0

    @torch.no_grad()
    def __call__(self) -> bool:
        """Whether the training may end."""
        self._steps += 1
        if self._steps % _EVERY:
            return False
        asked = self._both.counted
        missed = torch.nn.functional.cross_entropy(
            self._network.scores(self._both.inputs)[asked], self._both.targets[asked], reduction="none"
        )
        return bool(missed.max() < _SURE)  # below ln 2 the answer is the likeliest symbol


def measure(bench: Bench, settings: Settings) -> dict[str, Any]:
    """By cell and distance: the way, the first seed's loss by way, and the share of right answers by seed.

    Of each cell over the longest distance the network with the least loss is exported.
    """
    return {cell: {str(gap): _measure_one(cell, gap, settings, bench) for gap in GAPS} for cell in CELLS}


def _measure_one(cell: str, gap: int, settings: Settings, bench: Bench) -> dict[str, Any]:
    least = math.inf

    def train(way: str, seed: int) -> dict[str, float]:
        nonlocal least
        each = {"units": settings.units, "steps": settings.steps}
        what = f"{cell} over {gap}, {way}, seed {seed}"
        one: dict[str, float] = bench.part(
            each, what, lambda: _trained(cell, gap, way, seed, settings, bench, what, beat=least)
        )
        least = min(least, one["loss"])
        return one

    first = {way: train(way, 0) for way in WAYS}
    way = min(WAYS, key=lambda one: first[one]["loss"])
    trained = [first[way], *(train(way, seed) for seed in range(1, settings.seeds))]
    return {
        "way": way,
        "first_loss": {name: one["loss"] for name, one in first.items()},
        "shares": [one["share"] for one in trained],
    }


def folder_of(cell: str) -> str:
    """The name of the model that is kept of a cell."""
    return "long-gap-lstm-open" if cell == OPENED else f"long-gap-{cell}"


def _trained(
    cell: str, gap: int, way: str, seed: int, settings: Settings, bench: Bench, what: str, beat: float
) -> dict[str, float]:
    """One training; its network is exported if the distance is the longest and the loss is below `beat`."""
    kind = cell.partition(",")[0]
    network = new_network(NetworkConfig(remember.LETTERS, cell=kind, units=settings.units), seed)
    if cell == OPENED:
        (layer,) = network.stack.layers
        assert isinstance(layer, Lstm)
        with torch.no_grad():
            layer.b[layer.units : 2 * layer.units] = _OPEN
    chosen = WAYS[way]
    begin(network, chosen)
    recipe = Recipe(settings.steps, rate=chosen.rate)
    loss = fit(network, batches(chosen, gap, seed), recipe, bench, what, stop=Settled(network, gap))
    if gap == FAR and loss < beat:
        bench.keep(folder_of(cell), network)
    test_draws = np.random.default_rng(7)
    tests = [draw_round(test_draws, gap) for _ in range(_TESTS)]
    return {"share": remember.answered_right(network, tests), "loss": loss}


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims from trainings that were kept, or new ones."""
    found = bench.measured(settings.as_document(), lambda: measure(bench, settings))
    shares = {cell: {gap: one["shares"] for gap, one in by_gap.items()} for cell, by_gap in found.items()}
    near, far = str(GAPS[0]), str(FAR)

    def over_far(claim: Claim, cell: str) -> Verdict:
        by_seed = "by seed " + ", ".join(f"{share:.0%}" for share in shares[cell][far])
        return claim.verdict(float(np.mean(shares[cell][far])), f"{by_seed}; {WAYS[found[cell][far]['way']].says}")

    verdicts = (
        NEAR.verdict(min(float(np.mean(one[near])) for one in shares.values()), _told(shares, near)),
        over_far(RNN_FAR, "rnn"),
        over_far(LSTM_FAR, "lstm"),
        over_far(OPEN_FAR, OPENED),
        over_far(FIRST_FAR, "lstm-1997"),
        over_far(GRU_FAR, "gru"),
        over_far(PEEPHOLE_FAR, "peephole-lstm"),
    )
    return Finding(verdicts, (Picture("distance", _draw(shares), _CAPTION),), _STORY, {"cells": found})


def _told(shares: Mapping[str, Mapping[str, Sequence[float]]], gap: str) -> str:
    return ", ".join(f"{cell} {np.mean(one[gap]):.0%}" for cell, one in shares.items())


_STORY = (
    "A letter, then x's that say nothing, then the question. A network can learn to keep the letter only if the error "
    "at the end is felt at the beginning. The longer the gap, the less is felt.",
    "Each cell is trained in two ways, and at each distance the one with the less training loss is taken. What decides "
    "is how the first steps go: if they drive every weight the same way, the gates stay at their ends, and no error "
    "comes through any more.",
)
_CAPTION = (
    "The share of right answers by the number of x's, a network trained for each; dots are seeds, bars their means."
)


def _draw(shares: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    figure, axes = pictures.new_figure(width=11, height=4)
    wide = 0.8 / len(shares)
    for number, (cell, one) in enumerate(shares.items()):
        places = np.arange(len(one)) + wide * (number - (len(shares) - 1) / 2)
        axes[0].bar(places, [float(np.mean(values)) for values in one.values()], 0.9 * wide, label=cell)
        for place, values in zip(places, one.values(), strict=True):
            axes[0].plot([place] * len(values), values, ".", color="black", markersize=4)
    axes[0].axhline(_GUESSING, color=pictures.GREY, lw=0.8, ls="--")
    axes[0].set_xticks(range(len(GAPS)), [f"{gap} x's" for gap in GAPS])
    axes[0].set(ylabel="share right", ylim=(0, 1.03), title="remembering over a gap")
    axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


_ASKED = f"A{'x' * FAR}Y"

EXPERIMENT = Experiment(
    name="long-gap",
    title="Over a long gap",
    question="Over how long a gap can each kind of network learn to remember?",
    source="Hochreiter & Schmidhuber (1997).",
    settings=Settings(),
    claims=(NEAR, RNN_FAR, LSTM_FAR, OPEN_FAR, FIRST_FAR, GRU_FAR, PEEPHOLE_FAR),
    run=run,
    looked=Looked(
        "long-gap-gru", _ASKED, lambda settings: (settings.units,), cell="gru", tests=lambda settings: both_rounds(FAR)
    ),
    serves=(
        Served("long-gap-gru", _ASKED, "it suggests a; with B in front it suggests b"),
        Served("long-gap-lstm", _ASKED, "so it does, its memory in c"),
    ),
)
