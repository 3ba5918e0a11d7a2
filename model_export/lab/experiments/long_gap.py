"""The long gap: a letter, many x's, and then the letter is asked for; by distance and by cell.

Every network is trained on one distance and measured there: whether it can be learned at all, not how far it carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.cells.lstm import Lstm
from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Picture
from model_export.lab.experiments import remember
from model_export.lab.network import NetworkConfig
from model_export.lab.sequences import Batch, batch_of
from model_export.lab.training import Recipe, fit, new_network
from service.model.checked import Between, Checked

OPENED = "lstm, forget bias 4"
CELLS = ("rnn", "gru", "lstm", OPENED, "lstm-1997", "peephole-lstm")
GAPS = (5, 20, 60)
_TESTS = 200
_EVERY = 50  # steps between two looks at whether all is right
_GUESSING = 0.5
_OPEN = 4.0  # sigmoid(4) is 0.98: of a memory a third is left after 60 steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """seeds: networks of each cell at each distance.  steps: of training each, at most: it ends when all is right."""

    units: Annotated[int, Between(2, 128)] = 12
    seeds: Annotated[int, Between(1, 20)] = 3
    steps: Annotated[int, Between(1, 20_000)] = 1_500


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


def measure(bench: Bench, settings: Settings) -> dict[str, Any]:
    """The share of right answers by cell and distance, a list over the seeds."""
    return {
        cell: {str(gap): [_trained(cell, gap, seed, settings, bench) for seed in range(settings.seeds)] for gap in GAPS}
        for cell in CELLS
    }


def _trained(cell: str, gap: int, seed: int, settings: Settings, bench: Bench) -> float:
    kind = cell.partition(",")[0]
    network = new_network(NetworkConfig(remember.LETTERS, cell=kind, units=settings.units), seed)
    if cell == OPENED:
        (layer,) = network.stack.layers
        assert isinstance(layer, Lstm)
        with torch.no_grad():
            layer.b[layer.units : 2 * layer.units] = _OPEN
    generator = np.random.default_rng(seed)

    def draw(step: int) -> Batch:
        return only_answers([draw_round(generator, gap) for _ in range(16)])

    steps, test_draws = 0, np.random.default_rng(7)
    tests = [draw_round(test_draws, gap) for _ in range(_TESTS)]

    def all_right() -> bool:
        nonlocal steps
        steps += 1
        return steps % _EVERY == 0 and remember.answered_right(network, tests) == 1.0

    recipe = Recipe(settings.steps, rate=0.01)
    fit(network, draw, recipe, bench, f"{cell} over {gap}, seed {seed}", stop=all_right)
    return remember.answered_right(network, tests)


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims from trainings that were kept, or new ones."""
    shares = bench.measured(settings.as_document(), lambda: measure(bench, settings))
    near, far = str(GAPS[0]), str(GAPS[-1])
    verdicts = (
        NEAR.verdict(min(float(np.mean(one[near])) for one in shares.values()), _told(shares, near)),
        RNN_FAR.verdict(float(np.mean(shares["rnn"][far])), _seeds(shares["rnn"][far])),
        LSTM_FAR.verdict(float(np.mean(shares["lstm"][far])), _seeds(shares["lstm"][far])),
        OPEN_FAR.verdict(float(np.mean(shares[OPENED][far])), _seeds(shares[OPENED][far])),
        FIRST_FAR.verdict(float(np.mean(shares["lstm-1997"][far])), _seeds(shares["lstm-1997"][far])),
        GRU_FAR.verdict(float(np.mean(shares["gru"][far])), _seeds(shares["gru"][far])),
        PEEPHOLE_FAR.verdict(float(np.mean(shares["peephole-lstm"][far])), _seeds(shares["peephole-lstm"][far])),
    )
    return Finding(verdicts, (Picture("distance", _draw(shares), _CAPTION),), _STORY, {"shares": shares})


def _told(shares: Mapping[str, Mapping[str, Sequence[float]]], gap: str) -> str:
    return ", ".join(f"{cell} {np.mean(one[gap]):.0%}" for cell, one in shares.items())


def _seeds(shares: Sequence[float]) -> str:
    return "by seed " + ", ".join(f"{share:.0%}" for share in shares)


_STORY = (
    "A letter, then x's that say nothing, then the question. A network can learn to keep the letter only if the error "
    "at the end is felt at the beginning. The longer the gap, the less is felt.",
)
_CAPTION = (
    "The share of right answers by the number of x's, a network trained for each; dots are seeds, bars their means."
)


def _draw(shares: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    figure, axes = pictures.new_figure(width=9, height=4)
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


EXPERIMENT = Experiment(
    name="long-gap",
    title="Over a long gap",
    question="Over how long a gap can each kind of network learn to remember?",
    source="Hochreiter & Schmidhuber (1997).",
    settings=Settings(),
    claims=(NEAR, RNN_FAR, LSTM_FAR, OPEN_FAR, FIRST_FAR, GRU_FAR, PEEPHOLE_FAR),
    run=run,
)
