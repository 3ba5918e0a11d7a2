"""Question and answer: one or two statements, and a question that one of them answers.

How often a simple RNN and an LSTM are right is measured by how far back the answer lies, among questions after as many
statements, and then farther back than anything that they were shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim, Verdict
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.questions import MOST_BESIDE, Question, answer_batch, draw_question, vocabulary
from model_export.lab.sequences import Batch
from model_export.lab.training import Recipe, fit, new_network
from model_export.lab.words import Words
from service.model.checked import Between, Checked

CELLS = ("rnn", "lstm")
COUNTS = (1, 2)
_RATES = {"rnn": 0.003, "lstm": 0.005}
_TESTS = 4_000
_FAR_TESTS = 1_500
_FAR_BESIDE = 16  # things told besides, in the test of answers that lie farther back than any in training
_READ_AT_ONCE = 500
_BUCKET = 7  # words: distances that are drawn as one
_FAR_BUCKET = 15
_FEWEST = 50  # questions: fewer are drawn with those that lie nearer


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """embedding: numbers per word."""

    units: Annotated[int, Between(2, 256)] = 64
    embedding: Annotated[int, Between(1, 128)] = 16
    steps: Annotated[int, Between(1, 50_000)] = 12_000


ONE = Claim(
    "lstm_one_statement",
    "After one statement, the LSTM answers.",
    "share of unseen questions answered right",
    0.99,
    digits=3,
    percent=True,
)
TWO = Claim(
    "lstm_two_statements",
    "After two statements, it answers by the one that is asked about.",
    "share of unseen questions answered right",
    0.95,
    digits=3,
    percent=True,
)
GUESSING = Claim(
    "better_than_guessing",
    "That is more than to name either of the two that were mentioned.",
    "share right after two statements, less a half",
    0.3,
)
AHEAD = Claim(
    "ahead_at_every_distance",
    "Near or far, the LSTM is ahead of the simple RNN.",
    "share right, the LSTM's less the RNN's, after one statement or two, at the distance where that is least, "
    f"distances being taken {_BUCKET} together",
    0.05,
)
BEYOND = Claim(
    "lstm_farther_than_shown",
    "The LSTM still answers if that lies farther back than anything it was shown.",
    f"share right after one statement and up to {_FAR_BESIDE} things told besides, in the farthest third of the "
    "questions",
    0.95,
    digits=3,
    percent=True,
)
FAR = Claim(
    "lead_grows_with_distance",
    "The farther the answer lies back, the more the LSTM is ahead of the simple RNN.",
    "share right, the LSTM's less the RNN's, in the farthest third of these questions, less that in the nearest third",
    0.05,
)
NEAR = Claim(
    "rnn_forgets",
    "The RNN does worse with the distance.",
    "its share right in the nearest third of these questions, less that in the farthest third",
    0.05,
)
IN_RANGE = Claim(
    "rnn_forgets_in_range",
    "It does so already at the distances that it was shown.",
    "the same of questions as those of training, each third after the same number of statements; the mean of one "
    "statement and two",
    0.05,
)


def train(words: Words, settings: Settings, bench: Bench, config: NetworkConfig) -> Network:
    """Predict the answers to questions."""
    network, generator = new_network(config, bench.seed), np.random.default_rng(bench.seed)

    def draw(step: int) -> Batch:
        return answer_batch(words, [draw_question(generator) for _ in range(64)])

    fit(network, draw, Recipe(settings.steps, rate=_RATES[config.cell]), bench, f"question, {config.cell}")
    return network


@torch.no_grad()
def answered(network: Network, words: Words, questions: Sequence[Question]) -> NDArray[np.bool_]:
    """Whether each answer is the likeliest word."""
    right = []
    for start in range(0, len(questions), _READ_AT_ONCE):
        batch = answer_batch(words, questions[start : start + _READ_AT_ONCE])
        hit = (network.scores(batch.inputs).argmax(dim=-1) == batch.targets) & batch.counted
        right.append(hit.any(dim=0).numpy())
    return np.asarray(np.concatenate(right), np.bool_)


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions of a test by how many statements there are, and how far back the answer lies."""

    statements: NDArray[np.int64]
    distance: NDArray[np.int64]

    @classmethod
    def of(cls, questions: Sequence[Question]) -> Asked:
        """What was asked."""
        return cls(np.array([one.statements for one in questions]), np.array([one.distance for one in questions]))

    def third(self, count: int, *, far: bool) -> NDArray[np.bool_]:
        """The nearest or the farthest third of those with that many statements; all that tie with its last one."""
        own = self.statements == count
        limit = np.quantile(self.distance[own], 2 / 3 if far else 1 / 3, method="nearest")
        return np.asarray(own & (self.distance >= limit if far else self.distance <= limit), np.bool_)

    def fall(self, right: NDArray[np.bool_], count: int) -> float:
        """The share right in the nearest third less that in the farthest, after that many statements."""
        return float(right[self.third(count, far=False)].mean() - right[self.third(count, far=True)].mean())

    def buckets(self, right: NDArray[np.bool_], count: int, width: int = _BUCKET) -> list[dict[str, Any]]:
        """The share right at distances that are shown as one, with how many questions it is a share of."""
        own = self.statements == count
        groups = np.minimum(self.distance - self.distance[own].min(), self._last(count)) // width
        return [
            {
                "nearest": int(self.distance[own & (groups == group)].min()),
                "farthest": int(self.distance[own & (groups == group)].max()),
                "questions": int((own & (groups == group)).sum()),
                "right": float(right[own & (groups == group)].mean()),
            }
            for group in np.unique(groups[own])
        ]

    def kinds(self, right: NDArray[np.bool_], who: NDArray[np.bool_]) -> dict[str, dict[str, float]]:
        """For each number of statements, the share right where it was asked who, and where it was asked what."""
        return {
            str(count): {
                kind: float(right[(self.statements == count) & asked].mean())
                for kind, asked in (("who", who), ("what", ~who))
            }
            for count in COUNTS
        }

    def _last(self, count: int) -> int:
        """The distance, from the least on, from which too few questions are left to be drawn apart."""
        beyond = np.sort(self.distance[self.statements == count])
        return int(beyond[-min(_FEWEST, len(beyond))] - beyond[0])


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims on questions that training did not draw."""
    words = vocabulary()
    networks = {}
    for cell in CELLS:
        config = NetworkConfig(words.symbols, cell=cell, units=settings.units, embedding=settings.embedding)
        name = "question" if cell == "lstm" else f"question-{cell}"
        networks[cell] = bench.network(name, config, _training(words, settings, bench, config))
    generator = np.random.default_rng([bench.seed, 7])
    questions = [draw_question(generator) for _ in range(_TESTS)]
    farther = [draw_question(generator, statements=1, most_beside=_FAR_BESIDE) for _ in range(_FAR_TESTS)]
    shown, by_shown = _as_shown(networks, words, questions)
    far, by_far = _farther(networks, words, farther)
    details = {**by_shown, **by_far}
    verdicts = (*shown[:-1], *far, shown[-1])
    return Finding(verdicts, (Picture("distance", _draw(details), _CAPTION),), _STORY, details)


def _as_shown(
    networks: Mapping[str, Network], words: Words, questions: Sequence[Question]
) -> tuple[tuple[Verdict, ...], dict[str, Any]]:
    """The verdicts on questions like those of training, and the shares behind them."""
    right = {cell: answered(network, words, questions) for cell, network in networks.items()}
    asked, who = Asked.of(questions), np.array([one.asks_who for one in questions])
    by_distance = {cell: {str(count): asked.buckets(one, count) for count in COUNTS} for cell, one in right.items()}
    by_kind = {cell: asked.kinds(one, who) for cell, one in right.items()}
    share = {cell: [float(one[asked.statements == count].mean()) for count in COUNTS] for cell, one in right.items()}
    least = min(
        of_lstm["right"] - of_rnn["right"]
        for count in by_distance["lstm"]
        for of_lstm, of_rnn in zip(by_distance["lstm"][count], by_distance["rnn"][count], strict=True)
    )
    falls = [asked.fall(right["rnn"], count) for count in COUNTS]
    verdicts = (
        ONE.verdict(share["lstm"][0], f"the RNN {share['rnn'][0]:.1%}; {_of_kinds(by_kind['rnn']['1'])}"),
        TWO.verdict(share["lstm"][1], f"the RNN {share['rnn'][1]:.1%}; {_of_kinds(by_kind['rnn']['2'])}"),
        GUESSING.verdict(share["lstm"][1] - 0.5, f"the RNN {share['rnn'][1] - 0.5:.2f}"),
        AHEAD.verdict(least),
        IN_RANGE.verdict(float(np.mean(falls)), f"{falls[0]:.2f} after one statement, {falls[1]:.2f} after two"),
    )
    return verdicts, {"by_distance": by_distance, "by_kind": by_kind}


def _farther(
    networks: Mapping[str, Network], words: Words, questions: Sequence[Question]
) -> tuple[tuple[Verdict, ...], dict[str, Any]]:
    """The verdicts on answers that lie farther back than in training, after one statement, and the shares behind."""
    right = {cell: answered(network, words, questions) for cell, network in networks.items()}
    asked = Asked.of(questions)
    falls = {cell: asked.fall(one, 1) for cell, one in right.items()}
    last = asked.third(1, far=True)
    from_to = f"{asked.distance[last].min()} to {asked.distance[last].max()} words back"
    verdicts = (
        BEYOND.verdict(float(right["lstm"][last].mean()), f"{from_to}; the RNN {right['rnn'][last].mean():.1%}"),
        FAR.verdict(falls["rnn"] - falls["lstm"]),
        NEAR.verdict(falls["rnn"], f"the LSTM's {falls['lstm']:.2f}"),
    )
    return verdicts, {"farther": {cell: asked.buckets(one, 1, _FAR_BUCKET) for cell, one in right.items()}}


def _training(words: Words, settings: Settings, bench: Bench, config: NetworkConfig) -> Callable[[], Network]:
    return lambda: train(words, settings, bench, config)


def _of_kinds(shares: Mapping[str, float]) -> str:
    return f"asked who {shares['who']:.0%}, asked what {shares['what']:.0%}"


_STORY = (
    "The dog ate my spaghetti in the garden. The cat hid my hat. Who ate my spaghetti? To answer, a network must "
    "have kept who did what before it knew what it would be asked. What is told besides says nothing, and makes the "
    "way to the question longer.",
)
_CAPTION = (
    f"The share of questions answered right, by how many words back the answer was mentioned: {_TESTS:,} unseen "
    f"questions as in training, and {_FAR_TESTS:,} after one statement and up to {_FAR_BESIDE} things told besides, "
    f"where there were at most {MOST_BESIDE} in training. n of them are at each place; the bars are the standard error "
    "of a share of n."
)


def _draw(details: Mapping[str, Any]) -> Figure:
    figure, axes = pictures.new_figure(1, 3, width=14, height=4.4)
    shares = {cell: (*one.values(), details["farther"][cell]) for cell, one in details["by_distance"].items()}
    titles = ("after one statement", "after two statements", "after one, farther than ever shown")
    for number, (place, title) in enumerate(zip(axes, titles, strict=True)):
        for cell, one in shares.items():
            _draw_curve(place, one[number], cell)
        named = [f"{one['nearest']}-{one['farthest']}\nn={one['questions']}" for one in shares["lstm"][number]]
        place.set_xticks(range(len(named)), named, fontsize=8)
        place.set(xlabel="words back", ylabel="share right", ylim=(0, 1.03), title=title)
    axes[2].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_curve(place: Axes, buckets: Sequence[dict[str, Any]], cell: str) -> None:
    shares = np.array([one["right"] for one in buckets])
    errors = np.sqrt(shares * (1 - shares) / np.array([one["questions"] for one in buckets]))
    place.errorbar(range(len(buckets)), shares, yerr=errors, marker="o", capsize=3, label=cell.upper())


def tests(settings: Settings) -> Batch:
    """What a unit is held on: questions that are drawn, and their answers."""
    generator = np.random.default_rng(7)
    return answer_batch(vocabulary(), [draw_question(generator) for _ in range(100)])


EXPERIMENT = Experiment(
    name="question",
    title="Who ate my spaghetti?",
    question="Can a network answer a question about what it was told, and how far back may that lie?",
    source="After the small tasks of Weston et al. (2015).",
    settings=Settings(),
    claims=(ONE, TWO, GUESSING, AHEAD, BEYOND, FAR, NEAR, IN_RANGE),
    run=run,
    serves=(Served("question", "The dog ate my spaghetti. Who ate my spaghetti?", "the likeliest word is the answer"),),
    looked=Looked(
        "question", "The dog ate my spaghetti. Who ate my spaghetti?", lambda settings: (settings.units,), tests=tests
    ),
)
