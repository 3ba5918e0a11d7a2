"""What the lab's tasks measure: letters that were planted are told, units that were planted are found, and distances
are compared where nothing else differs."""

from __future__ import annotations

import numpy as np
import pytest

from model_export.lab import questions
from model_export.lab.experiments import copy, counting, question, remember
from model_export.lab.units import Observed

_TRIPLES = np.array([[copy._TRIPLE.index(letter) for letter in triple] for triple in copy.TRIPLES])


def _question(text: str) -> int:
    words = text.replace(".", " .").replace("?", " ?").split()
    return len(words) - 1 - words.index(words[-1])


def test_a_question_is_answered_by_its_last_word_which_was_mentioned_as_far_back_as_it_says() -> None:
    generator = np.random.default_rng(0)
    for one in (questions.draw_question(generator) for _ in range(200)):
        story, asked = one.text.rsplit(".", 1)
        *question_words, answer = asked.replace("?", " ").split()
        assert answer in questions.WHO + questions.WHAT
        assert answer in story.replace(".", " ").split() and answer not in question_words
        assert one.distance == _question(one.text)
        assert one.statements == story.count(".") + 1
    far = [questions.draw_question(generator, statements=1, most_beside=16) for _ in range(50)]
    assert {one.statements for one in far} == {1} and max(one.distance for one in far) > 60


def test_near_and_far_are_compared_among_questions_with_as_many_statements() -> None:
    # Right only after one statement, wherever it was: pooled, the near ones would look better.
    statements = np.array([1] * 60 + [2] * 60)
    distance = np.concatenate([np.arange(10, 70), np.arange(40, 100)])
    asked = question.Asked(statements, distance)
    assert [asked.fall(statements == 1, count) for count in (1, 2)] == [0.0, 0.0]
    near = distance < np.where(statements == 1, 40, 70)
    assert [asked.fall(near, count) for count in (1, 2)] == [1.0, 1.0]
    assert sum(one["questions"] for one in asked.buckets(near, 2)) == 60


def test_letters_that_are_written_into_the_memory_are_told_at_every_place_and_others_are_not() -> None:
    generator = np.random.default_rng(0)
    written = np.eye(3)[_TRIPLES].reshape(27, 9) @ generator.standard_normal((9, 20))
    assert copy.places_told(written, _TRIPLES).tolist() == [1, 1, 1]
    first_alone = np.eye(3)[_TRIPLES[:, 0]] @ generator.standard_normal((3, 20)) + 0.1 * generator.standard_normal(20)
    told = copy.places_told(first_alone, _TRIPLES)
    assert told[0] == 1 and told[1:].max() < 0.7
    assert copy.places_told_by_chance(written, _TRIPLES, seed=0) < 0.5


def test_a_memory_of_one_number_is_as_sparse_as_can_be_whatever_its_scale() -> None:
    h, c = 1e-3 * np.eye(10), np.linspace(5.0, 5.1, 100).reshape(10, 10)
    difference, told = counting.sparser(Observed({(0, "h"): h, (0, "c"): c}, np.zeros(10, np.int64)))
    assert difference == pytest.approx(1, abs=1e-3)
    assert told == "1.00 against 0.00"


def test_the_unit_of_a_letter_is_the_one_that_is_active_after_it_and_its_gate_is_that_of_its_own_rounds() -> None:
    read = remember.LETTERS.encode("AxxxYaBxxxYb")
    begun = remember.begun_with(read)
    after_a = np.arange(12) < 6
    c, f = np.zeros((12, 3)), np.zeros((12, 3))
    c[:, 0] = 5.0
    c[:, 1] = np.where(after_a, -2.0, 0.0)
    f[:, 1] = np.where(after_a, 0.9, 0.1)
    f[5, 1] = 0.05
    seen = Observed({(0, "c"): c, (0, "h"): np.tanh(c), (0, "f"): f}, np.zeros(12, np.int64))
    a, b, small_a = (remember.LETTERS.number(letter) for letter in "ABa")
    found = remember.Reading(seen, read, begun).letter_unit(a, b, small_a)
    assert found.unit == 1 and found.contrast == pytest.approx(201)
    assert found.kept == pytest.approx(0.9)
    assert found.at_answer == pytest.approx(0.05)
    assert found.shown == pytest.approx(np.tanh(2.0))


def test_a_round_may_be_the_last_and_the_next_begins_at_once() -> None:
    generator = np.random.default_rng(0)
    rounds = [int(remember.answers(remember.draw_sequence(generator, 3)).sum()) for _ in range(300)]
    assert set(rounds) >= {1, 2, 3} and max(rounds) <= 6
    assert np.mean(np.array(rounds) == 1) == pytest.approx(0.4, abs=0.1)
