"""Characters as they are seen, and the words that an arrow takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.terminal.words import first_word, length_after, length_before

FAMILY = "👩\u200d👩\u200d👧"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("walk(path):", "walk"),
        ("(path)", "("),
        (" in os.walk", " in"),
        ("):\n    return", "):"),
        ("\n    return x", "\n    return"),
        ("été 2", "été"),
        ("日本 x", "日本"),
        ("   ", "   "),
        ("x", "x"),
    ],
)
def test_a_word_has_the_white_space_before_it(text: str, word: str) -> None:
    assert first_word(text) == word


@given(st.text(min_size=1))
def test_a_text_taken_word_by_word_is_the_text_and_every_word_takes_something(text: str) -> None:
    taken = ""
    while len(taken) < len(text):
        word = first_word(text[len(taken) :])
        assert word
        taken += word
    assert taken == text


@pytest.mark.parametrize("seen", ["a", "日", "é", "e\u0301", "👍🏽", FAMILY, "🇪🇺"])
def test_one_seen_character_is_one_step_either_way(seen: str) -> None:
    text = f"x{seen}y"
    assert length_after(text, 1) == len(seen)
    assert length_before(text, 1 + len(seen)) == len(seen)


def test_there_is_nothing_before_the_start_and_after_the_end() -> None:
    assert (length_before("ab", 0), length_after("ab", 2)) == (0, 0)
