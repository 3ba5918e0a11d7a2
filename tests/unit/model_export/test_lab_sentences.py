"""Sentences and what is so at their words; the network that reads them, and its page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_export.lab import catalogue
from model_export.lab.bench import Bench
from model_export.lab.experiment import Finding
from model_export.lab.experiments import gates
from model_export.lab.sentences import (
    PEOPLE,
    after_but,
    countries_of,
    country_known,
    draw_text,
    in_france,
    joined,
    kinds,
    of_a_woman,
    people_so_far,
    pronoun_due,
    vocabulary,
)

_ROOT = Path(__file__).resolve().parents[3]
_WORDS = [
    *("In", "France", ",", "Mary", "ate", "her", "quiche", "but", "Frank", "did", "not", "like", "the", "wine"),
    *("and", "Anna", "ate", "her", "quiche", "."),
]


@pytest.fixture(scope="module")
def finding(tmp_path_factory: pytest.TempPathFactory) -> Finding:
    bench = Bench(_ROOT / "models" / "lab", tmp_path_factory.mktemp("gates"), experiment="gates")
    return catalogue.load("gates").answer(bench, catalogue.load("gates").settings)


def test_what_is_kept_is_told_at_every_word() -> None:
    assert people_so_far(_WORDS).tolist() == [0] * 3 + [1] * 5 + [2] * 7 + [3] * 5
    assert in_france(_WORDS).tolist() == [False] + [True] * 19
    assert of_a_woman(_WORDS).tolist() == [False] * 3 + [True] * 5 + [False] * 7 + [True] * 5
    assert after_but(_WORDS).tolist() == [False] * 7 + [True] * 7 + [False] * 6
    assert country_known(_WORDS).tolist() == in_france(_WORDS).tolist()
    assert [word for word, due in zip(_WORDS, pronoun_due(_WORDS), strict=True) if due] == [
        *("Mary", "ate", "Anna", "ate")
    ]
    assert [word for word, said in zip(_WORDS, joined(_WORDS), strict=True) if said] == ["but", "Frank", "and", "Anna"]


def test_every_sentence_says_how_many_people_were_in_it_and_knows_every_word() -> None:
    generator, words = np.random.default_rng(3), vocabulary()
    for _ in range(50):
        text = draw_text(generator)
        cut = words.cut(text)
        assert len(words.encode(text)) == len(cut)
        assert ("one", "two", "three")[int(people_so_far(cut)[-1]) - 1] == cut[-1]


def test_names_foods_and_drinks_have_one_kind_each() -> None:
    kind_of = kinds()
    assert len(kind_of) == len(PEOPLE) + 9 + 5
    assert (kind_of["Mary"], kind_of["Frank"], kind_of["sushi"], kind_of["wine"]) == ("woman", "man", "food", "drink")
    assert countries_of("wine") == {"France", "Italy"} and countries_of("ramen") == {"Japan"}


def test_neighbours_are_alike_by_kind_and_a_drink_is_no_food() -> None:
    kind_of = kinds()
    itself = {word: [word] for word in kind_of}
    assert gates.measure_neighbours(itself).figure == 1
    foods_near_drinks = {word: ["wine" if kind == "food" else word] for word, kind in kind_of.items()}
    assert gates.measure_neighbours(foods_near_drinks).figure == pytest.approx(11 / 20)


def test_the_sentence_is_read_on_its_page_as_the_network_reads_it(finding: Finding) -> None:
    page = (_ROOT / "docs" / "learn" / "gates.md").read_text(encoding="utf-8")
    for step in finding.details["reading"]:
        expected = ", ".join(f"{word} {100 * share:.0f} %" for word, share in step["expects"].items() if share >= 0.005)
        assert f"| {step['word']} | {step['standard']} | {step['plain']} | {expected} |" in page
    for name, unit in finding.details["units"].items():
        assert f"| {name} | {unit['place']} | {unit['score']:.2f} | {unit['rotated']:.2f} |" in page


def test_the_nearest_words_stand_on_its_page(finding: Finding) -> None:
    page = (_ROOT / "docs" / "learn" / "gates.md").read_text(encoding="utf-8")
    kind_of = kinds()
    for word, kind in kind_of.items():
        assert f"| {word} | {kind} | {', '.join(finding.details['nearest'][word])} |" in page


def test_gates_lie_between_shut_and_open_and_what_is_shown_follows_from_them(finding: Finding) -> None:
    for step in finding.details["reading"]:
        for one in step["signals"].values():
            assert all(0 <= one[gate] <= 1 for gate in "ifo")
            assert one["h"] == pytest.approx(one["o"] * np.tanh(one["c"]), abs=2e-3)
