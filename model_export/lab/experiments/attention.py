"""Attention: the long gap once more, and a network that may look back at everything that it has shown.

Each network is trained on one distance and measured there, as in `long-gap`; the ones that attend are then asked over
distances that they were never trained on. Both kinds are trained in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.lab import attending_folder, pictures
from model_export.lab.attention import AttendingNetwork
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Picture
from model_export.lab.experiments import long_gap, remember
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.training import Recipe, fit
from service.model.checked import Between, Checked

ALONE, ATTENDING = "lstm", "lstm with attention"
GAPS = (5, 20, 60, 120, 240)
UNSEEN = 240  # of the networks that were trained over sixty
LETTER = 1  # its place in a sequence: the end stands before it
_TESTS = 200
_GUESSING = 0.5
_FAR, _FARTHER = 60, 120
_WAY = long_gap.WAYS["both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """seeds: networks of each kind at each distance.  steps: of training each, at most: it ends when all is right."""

    units: Annotated[int, Between(2, 128)] = 32
    seeds: Annotated[int, Between(1, 20)] = 3
    steps: Annotated[int, Between(1, 20_000)] = 3_000


WITHOUT = Claim(
    "lstm_guesses_far",
    "Over sixty x's the LSTM alone, its forget bias 1, guesses.",
    "mean share of right answers",
    0.75,
    sense="at most",
    percent=True,
)
WITH = Claim(
    "attending_far",
    "With attention over its outputs the same LSTM answers.",
    "mean share of right answers",
    0.95,
    digits=3,
    percent=True,
)
FARTHER = Claim(
    "attending_farther",
    "So it does over twice as many.",
    "mean share of right answers over 120 x's",
    0.95,
    digits=3,
    percent=True,
)
WITHOUT_FARTHER = Claim(
    "lstm_guesses_farther",
    "Over twice as many the LSTM alone guesses.",
    "mean share of right answers over 120 x's",
    0.75,
    sense="at most",
    percent=True,
)
LOOKS = Claim(
    "looks_at_the_letter",
    "When it is asked, it looks at the letter and not at the x's.",
    "mean weight of the letter, of sixty x's and the Y together 1",
    0.5,
    percent=True,
)
ONE = Claim(
    "looks_for_one_of_them",
    "It looks for one of the two letters: what is not there was the other.",
    "mean weight of the letter's place in rounds of that letter, the least of the networks that answer all right",
    0.9,
    percent=True,
)
BLIND = Claim(
    "letter_is_needed",
    "That is where the answer comes from: forbidden to look there, it guesses.",
    "mean share of right answers without the letter's place",
    0.75,
    sense="at most",
    percent=True,
)
CARRIES = Claim(
    "attending_unseen",
    "Trained over sixty, it answers over four times as many.",
    "mean share of right answers over 240 x's",
    0.95,
    digits=3,
    percent=True,
)


def train(attends: bool, gap: int, seed: int, settings: Settings, bench: Bench) -> tuple[Network, float]:
    """One network on one distance, and its loss at the end of the training."""
    config = NetworkConfig(remember.LETTERS, units=settings.units)
    torch.manual_seed(seed)
    network = AttendingNetwork(config) if attends else Network(config)
    long_gap.begin(network, _WAY)
    what = f"{ATTENDING if attends else ALONE} over {gap}, seed {seed}"
    own = network.loss if isinstance(network, AttendingNetwork) else None
    recipe, settled = Recipe(settings.steps, rate=_WAY.rate), long_gap.Settled(network, gap)
    loss = fit(network, long_gap.batches(_WAY, gap, seed), recipe, bench, what, stop=settled, loss=own)
    return network, loss


def rounds(gap: int) -> list[NDArray[np.int64]]:
    """Unseen rounds of that distance, the same every time."""
    draws = np.random.default_rng(7)
    return [long_gap.draw_round(draws, gap) for _ in range(_TESTS)]


@torch.no_grad()
def answered_right(network: Network, tests: Sequence[NDArray[np.int64]], hidden: int | None = None) -> float:
    """The share of answers that are the likeliest symbol. hidden: a place that a network that attends may not see."""
    batch = long_gap.only_answers(tests)
    if isinstance(network, AttendingNetwork):
        scores = network.scores_without(batch.inputs, hidden)
    else:
        scores = network.scores(batch.inputs)
    right = (scores.argmax(dim=-1) == batch.targets) & batch.counted
    return float(right.sum() / batch.counted.sum())


def looked_at(network: AttendingNetwork, tests: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
    """Where it looks when it is asked, float32 [rounds, places up to the Y]; the end in front is a place, too."""
    batch = long_gap.only_answers(tests)
    asked = int(batch.counted[:, 0].nonzero()[0])
    weights: NDArray[np.float32] = network.weights(batch.inputs)[:, asked, : asked + 1].numpy()
    return weights


def measure(bench: Bench, settings: Settings) -> dict[str, Any]:
    """Shares of right answers by kind and distance, a list over the seeds; what was measured of those over sixty x's;
    and the one of them with the least loss is exported.
    """
    shares: dict[str, dict[str, list[float]]] = {ALONE: {}, ATTENDING: {}}
    far: list[dict[str, Any]] = []
    for kind, of in shares.items():
        for gap in GAPS:
            trained: list[dict[str, Any]] = []
            for seed in range(settings.seeds):
                beat = min((one["loss"] for one in trained), default=math.inf)
                trained.append(_part(kind, gap, seed, settings, bench, beat))
            of[str(gap)] = [one["share"] for one in trained]
            if kind == ATTENDING and gap == _FAR:
                far = trained
    return {
        "shares": shares,
        **{name: [one[name] for one in far] for name in ("letter", "looked_at", "hidden", "unseen")},
    }


def _part(kind: str, gap: int, seed: int, settings: Settings, bench: Bench, beat: float) -> dict[str, Any]:
    """What one training gave, if need be from an interrupted run; its network is exported if it is to be (`beat`)."""

    def measure_one() -> dict[str, Any]:
        network, loss = train(kind == ATTENDING, gap, seed, settings, bench)
        found = {"share": answered_right(network, rounds(gap)), "loss": loss}
        if gap != _FAR or not isinstance(network, AttendingNetwork):
            return found
        if loss < beat:
            attending_folder.save(network, bench.out / "attention")
        return {
            **found,
            "letter": float(looked_at(network, rounds(_FAR))[:, LETTER].mean()),
            "looked_at": _by_letter(network),
            "hidden": answered_right(network, rounds(_FAR), hidden=LETTER),
            "unseen": answered_right(network, rounds(UNSEEN)),
        }

    each = {"units": settings.units, "steps": settings.steps}
    found: dict[str, Any] = bench.part(each, f"{kind} over {gap}, seed {seed}", measure_one)
    return found


def _by_letter(network: AttendingNetwork) -> dict[str, list[float]]:
    """The mean weight of each place after an A, and after a B."""
    tests = rounds(_FAR)
    weights = looked_at(network, tests)
    begun = remember.LETTERS.decode([int(one[0]) for one in tests])
    rows = {letter: weights[[one == letter for one in begun]] for letter in "AB"}
    return {letter: [round(float(w), 4) for w in of.mean(axis=0)] for letter, of in rows.items()}


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims from trainings that were kept, or new ones."""
    found = bench.measured(settings.as_document(), lambda: measure(bench, settings))
    shares, far, farther = found["shares"], str(_FAR), str(_FARTHER)
    verdicts = (
        WITHOUT.verdict(_mean(shares[ALONE][far]), _seeds(shares[ALONE][far])),
        WITH.verdict(_mean(shares[ATTENDING][far]), _seeds(shares[ATTENDING][far])),
        FARTHER.verdict(_mean(shares[ATTENDING][farther]), _seeds(shares[ATTENDING][farther])),
        WITHOUT_FARTHER.verdict(_mean(shares[ALONE][farther]), _seeds(shares[ALONE][farther])),
        LOOKS.verdict(_mean(found["letter"]), _seeds(found["letter"])),
        ONE.verdict(_for_one(found["looked_at"], shares[ATTENDING][far])),
        BLIND.verdict(_mean(found["hidden"]), _seeds(found["hidden"])),
        CARRIES.verdict(_mean(found["unseen"]), _seeds(found["unseen"])),
    )
    drawn = (
        Picture("distance", _draw_distance(shares), _DISTANCE_CAPTION),
        Picture("weights", _draw_weights(found["looked_at"], shares[ATTENDING][far]), _WEIGHTS_CAPTION),
    )
    return Finding(verdicts, drawn, _STORY, found)


def _for_one(looked: Sequence[Mapping[str, Sequence[float]]], right: Sequence[float]) -> float:
    """The weight of the letter's place after the letter that a network looks for, the least of those that learned."""
    found = [max(of[LETTER] for of in one.values()) for one, share in zip(looked, right, strict=True) if share == 1.0]
    return min(found, default=math.nan)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _seeds(shares: Sequence[float]) -> str:
    return "by seed " + ", ".join(f"{share:.0%}" for share in shares)


_STORY = (
    "A letter, then x's that say nothing, then the question. The LSTM has to carry the letter through every x, and can "
    "learn to only if the error at the end is felt at the beginning. With attention it may look back: when it is "
    "asked, it weighs everything that it has shown, and reads the mean. The error then has one step to go, however "
    "far away the letter is.",
    "It begins by looking everywhere alike, so the error comes to every x directly, and teaches the LSTM to show the "
    "letter at each of them. Once it does, there is no need to look at the letter itself: what attention adds here is "
    "a way to learn, not a way to answer.",
    "The price is the state. An LSTM's is as large after sixty symbols as after six; attention has to keep all "
    "outputs, and looks through all of them at every step.",
)
_DISTANCE_CAPTION = (
    "The share of right answers by the number of x's, a network trained for each; dots are seeds, bars their means."
)
_WEIGHTS_CAPTION = (
    "Where the networks over sixty x's look when they are asked: the mean weight of each place, after an A and after a "
    "B. The letter is place 1, the Y the last one."
)


def _draw_distance(shares: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    figure, axes = pictures.new_figure(width=9, height=4)
    wide = 0.8 / len(shares)
    for number, (kind, one) in enumerate(shares.items()):
        places = np.arange(len(one)) + wide * (number - (len(shares) - 1) / 2)
        axes[0].bar(places, [_mean(values) for values in one.values()], 0.9 * wide, label=kind)
        for place, values in zip(places, one.values(), strict=True):
            axes[0].plot([place] * len(values), values, ".", color="black", markersize=4)
    axes[0].axhline(_GUESSING, color=pictures.GREY, lw=0.8, ls="--")
    axes[0].set_xticks(range(len(GAPS)), [f"{gap} x's" for gap in GAPS])
    axes[0].set(ylabel="share right", ylim=(0, 1.03), title="remembering over a gap, with attention and without")
    axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_weights(looked: Sequence[Mapping[str, Sequence[float]]], right: Sequence[float]) -> Figure:
    rows = [(f"seed {seed}, {letter}", of) for seed, one in enumerate(looked) for letter, of in one.items()]
    figure, axes = pictures.new_figure(width=11, height=1.4 + 0.45 * len(rows))
    image = axes[0].imshow(
        np.array([of for _, of in rows]), aspect="auto", cmap="Blues", vmin=0, interpolation="nearest"
    )
    names = [f"{name} ({right[number // 2]:.0%} right)" for number, (name, _) in enumerate(rows)]
    axes[0].set_yticks(range(len(rows)), names)
    places = ["end", "letter", *["x"] * (len(rows[0][1]) - 3), "Y"]
    shown = [0, 1, *range(10, len(places) - 2, 10), len(places) - 1]
    axes[0].set_xticks(shown, [f"x {place - 1}" if places[place] == "x" else places[place] for place in shown])
    axes[0].tick_params(axis="x", rotation=60)
    axes[0].grid(visible=False)
    axes[0].set_title("where it looks when it is asked")
    figure.colorbar(image, ax=axes[0], label="weight", fraction=0.03)
    return figure


EXPERIMENT = Experiment(
    name="attention",
    title="Attention: looking back over a long gap",
    question="What does it add to an LSTM that it may look back at everything that it has shown?",
    source="Bahdanau, Cho & Bengio (2014); Luong, Pham & Manning (2015); the end of Olah's Understanding LSTMs.",
    settings=Settings(),
    claims=(WITHOUT, WITH, FARTHER, WITHOUT_FARTHER, LOOKS, ONE, BLIND, CARRIES),
    run=run,
)
