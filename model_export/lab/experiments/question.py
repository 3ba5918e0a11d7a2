"""Question and answer: one or two statements, and a question that one of them answers.

"The dog ate my spaghetti. Who ate my spaghetti?" is answered by a word that was read some words before, among others
that could be the answer to another question. How far back it lies is the distance.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from model_export.lab.sequences import Batch, batch_of
from model_export.lab.training import Recipe, fit, new_network
from model_export.lab.words import Words
from service.model.checked import Between, Checked

WHO = ("dog", "cat", "horse", "child", "neighbour", "teacher")
DID = ("ate", "hid", "sold")
WHAT = ("spaghetti", "hat", "book", "letter", "bread", "key")
WHERE = ("", "in the garden", "on a cold day in May", "because nobody had told them not to")
CELLS = ("rnn", "lstm")
_TESTS = 600
_FAR = 14  # words: answers from this far on are called far


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """embedding: numbers per word."""

    units: Annotated[int, Between(2, 256)] = 64
    embedding: Annotated[int, Between(1, 128)] = 16
    steps: Annotated[int, Between(1, 50_000)] = 5_000


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
FAR = Claim(
    "lstm_over_rnn_far",
    "The farther the answer lies back, the more the LSTM is ahead of the simple RNN.",
    f"share right where the answer lies {_FAR} words back or more, the LSTM's less the RNN's",
    0.05,
)
NEAR = Claim(
    "rnn_forgets",
    "The RNN does worse with the distance.",
    f"its share right under {_FAR} words, less that from there on",
    0.05,
)


@dataclass(frozen=True, slots=True)
class Question:
    """text: statements, question and answer, its last word.  distance: words from the answer's mention to it."""

    text: str
    statements: int
    distance: int


def draw_question(generator: np.random.Generator) -> Question:
    """One or two statements about different people and things; the question asks for who, or for what."""

    def some(words: Sequence[str], count: int) -> list[str]:
        return [str(word) for word in generator.permutation(list(words))[:count]]

    count = int(generator.integers(1, 3))
    who, what = some(WHO, count), some(WHAT, count)
    did = [str(word) for word in generator.choice(DID, count)]
    told = []
    for place in range(count):
        where = str(generator.choice(WHERE))
        told.append(f"The {who[place]} {did[place]} my {what[place]}" + (f" {where}" if where else "") + ".")
    asked = int(generator.integers(count))
    if generator.random() < 0.5:
        question, answer = f"Who {did[asked]} my {what[asked]}?", who[asked]
    else:
        question, answer = f"What was it that the {who[asked]} {did[asked]}?", what[asked]
    text = " ".join([*told, question, answer])
    words = text.replace(".", " .").replace("?", " ?").split()
    return Question(text, count, len(words) - 1 - words.index(answer))


def vocabulary() -> Words:
    """All words of the questions."""
    generator = np.random.default_rng(0)
    return Words.of([draw_question(generator).text for _ in range(1_000)])


def answer_batch(words: Words, questions: Sequence[Question]) -> Batch:
    """The questions, of which the answers alone are to be predicted."""
    sequences = [words.encode(question.text) for question in questions]
    return batch_of(sequences, [np.arange(len(one) + 1) == len(one) - 1 for one in sequences])


def train(words: Words, settings: Settings, bench: Bench, config: NetworkConfig) -> Network:
    """Predict the answers to questions."""
    network, generator = new_network(config, bench.seed), np.random.default_rng(bench.seed)

    def draw(step: int) -> Batch:
        return answer_batch(words, [draw_question(generator) for _ in range(64)])

    fit(network, draw, Recipe(settings.steps, rate=0.008), bench, f"question, {config.cell}")
    return network


def answered(network: Network, words: Words, questions: Sequence[Question]) -> NDArray[np.bool_]:
    """Whether each answer is the likeliest word."""
    batch = answer_batch(words, questions)
    right = (network.watch(batch.inputs).scores.argmax(dim=-1) == batch.targets) & batch.counted
    return np.asarray(right.any(dim=0).numpy())


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims on questions that training did not draw."""
    words = vocabulary()
    networks = {}
    for cell in CELLS:
        config = NetworkConfig(words.symbols, cell=cell, units=settings.units, embedding=settings.embedding)
        name = "question" if cell == "lstm" else f"question-{cell}"
        networks[cell] = bench.network(name, config, lambda config=config: train(words, settings, bench, config))  # type: ignore[misc]
    generator = np.random.default_rng([bench.seed, 7])
    questions = [draw_question(generator) for _ in range(_TESTS)]
    right = {cell: answered(network, words, questions) for cell, network in networks.items()}
    count = np.array([question.statements for question in questions])
    distance = np.array([question.distance for question in questions])
    far = distance >= _FAR

    def share(cell: str, where: NDArray[np.bool_]) -> float:
        return float(right[cell][where].mean())

    verdicts = (
        ONE.verdict(share("lstm", count == 1), f"the RNN {share('rnn', count == 1):.1%}"),
        TWO.verdict(share("lstm", count == 2), f"the RNN {share('rnn', count == 2):.1%}"),
        GUESSING.verdict(share("lstm", count == 2) - 0.5),
        FAR.verdict(share("lstm", far) - share("rnn", far), f"{share('lstm', far):.1%} and {share('rnn', far):.1%}"),
        NEAR.verdict(share("rnn", ~far) - share("rnn", far)),
    )
    details: dict[str, Any] = {"by_distance": {cell: by_distance(one, distance) for cell, one in right.items()}}
    picture = Picture("distance", _draw(details["by_distance"]), _CAPTION)
    return Finding(verdicts, (picture,), _STORY, details)


def by_distance(right: NDArray[np.bool_], distance: NDArray[np.int64]) -> dict[str, float]:
    """The share right at distances in steps of four words, by the first of them."""
    groups = distance // 4 * 4
    return {str(group): float(right[groups == group].mean()) for group in np.unique(groups)}


_STORY = (
    "The dog ate my spaghetti in the garden. The cat hid my hat. Who ate my spaghetti? To answer, a network must "
    "have kept "
    "who did what before it knew what it would be asked.",
)
_CAPTION = (
    "The share of questions answered right, by how many words back the answer was mentioned; 600 unseen questions."
)


def _draw(shares: dict[str, dict[str, float]]) -> Figure:
    figure, axes = pictures.new_figure(width=8, height=4)
    for cell, one in shares.items():
        axes[0].plot([int(group) for group in one], list(one.values()), marker="o", label=cell.upper())
    axes[0].set(xlabel="words back", ylabel="share right", ylim=(0, 1.03), title="answers by distance")
    axes[0].legend()
    return figure


EXPERIMENT = Experiment(
    name="question",
    title="Who ate my spaghetti?",
    question="Can a network answer a question about what it was told, and how far back may that lie?",
    source="After the small tasks of Weston et al. (2015).",
    settings=Settings(),
    claims=(ONE, TWO, GUESSING, FAR, NEAR),
    run=run,
    serves=(
        Served("question", "the curl line that it prints, with a story and a question in TEXT", "TOP_WORDS answer"),
    ),
    looked=Looked("question", "The dog ate my spaghetti. Who ate my spaghetti?", lambda settings: (settings.units,)),
)
