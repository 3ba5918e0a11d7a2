"""Small stories and questions about them: who did what to what, and much besides that nobody asks for.

"The dog ate my spaghetti. Who ate my spaghetti?" is answered by a word that was read some words before, among others
that could be the answer to another question. How far back it lies is the distance. What is told besides says nothing:
so the distance varies while the number of statements, which decides how many answers there are to choose from, is the
same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from model_export.lab.sequences import Batch, batch_of
from model_export.lab.words import Words

T = TypeVar("T")

WHO = ("dog", "cat", "horse", "child", "neighbour", "teacher")
DID = ("ate", "hid", "sold")
WHAT = ("spaghetti", "hat", "book", "letter", "bread", "key")
BESIDE = (
    (("in the", "behind the"), ("garden", "kitchen", "cellar", "barn")),
    (("on a",), ("cold", "warm", "wet", "dark"), ("morning", "day", "night"), ("in",), ("March", "May", "October")),
    (("because",), ("nobody", "somebody"), ("had told them",), ("not to", "to")),
    (("while",), ("the rest of us", "all of the others"), ("slept", "looked on", "sang")),
)
"""What may be told besides, a word or some of each part: it says nothing, and lies between statement and question."""
MOST_BESIDE = 3  # of them in one statement, any number up to that being as likely


@dataclass(frozen=True, slots=True)
class Question:
    """text: statements, question and answer, its last word.  distance: words from the answer's mention to it.

    asks_who: whether the answer is who did it, and not what it was done to.
    """

    text: str
    statements: int
    distance: int
    asks_who: bool


def draw_question(
    generator: np.random.Generator, *, statements: int | None = None, most_beside: int = MOST_BESIDE
) -> Question:
    """Statements about different people and things, one or two if not said; the question asks for who, or for what.

    most_beside: how much is told besides in each statement, any number up to that being as likely.
    """

    def some(choices: Sequence[T], count: int) -> list[T]:
        return [choices[place] for place in generator.permutation(len(choices))[:count]]

    def one(words: Sequence[str]) -> str:
        return words[int(generator.random() * len(words))]

    count = int(generator.integers(1, 3)) if statements is None else statements
    enough = BESIDE * -(-most_beside // len(BESIDE))
    who, what = some(WHO, count), some(WHAT, count)
    did = [one(DID) for _ in range(count)]
    told = []
    for place in range(count):
        besides = some(enough, int(generator.integers(most_beside + 1)))
        beside = [one(part) for parts in besides for part in parts]
        told.append(" ".join([f"The {who[place]} {did[place]} my {what[place]}", *beside]) + ".")
    asked = int(generator.integers(count))
    asks_who = bool(generator.random() < 0.5)
    if asks_who:
        question, answer = f"Who {did[asked]} my {what[asked]}?", who[asked]
    else:
        question, answer = f"What was it that the {who[asked]} {did[asked]}?", what[asked]
    text = " ".join([*told, question, answer])
    words = text.replace(".", " .").replace("?", " ?").split()
    return Question(text, count, len(words) - 1 - words.index(answer), asks_who)


def vocabulary() -> Words:
    """All words of the questions."""
    generator = np.random.default_rng(0)
    return Words.of([draw_question(generator).text for _ in range(1_000)])


def answer_batch(words: Words, questions: Sequence[Question]) -> Batch:
    """The questions, of which the answers alone are to be predicted."""
    sequences = [words.encode(question.text) for question in questions]
    return batch_of(sequences, [np.arange(len(one) + 1) == len(one) - 1 for one in sequences])
