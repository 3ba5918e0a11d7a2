"""The replay's one rule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.replay.typist import Key, Keystroke, next_keystroke
from carousel_client import Accept, FinishReason, Insert, Suggestion


def suggestion(text: str) -> Suggestion:
    return Suggestion("id", text, 0.5, FinishReason.STOP)


def test_a_suggestion_that_is_right_is_taken_whole() -> None:
    assert next_keystroke("walk(path)", [suggestion("walk(")]) == Keystroke(Key.WHOLE, Accept("id"), 5)


def test_of_a_suggestion_that_goes_wrong_the_first_word_is_taken_if_it_is_right() -> None:
    assert next_keystroke(" in os.walk", [suggestion(" in range")]) == Keystroke(Key.WORD, Accept("id", 3), 3)


def test_a_beginning_of_a_word_is_not_taken() -> None:
    assert next_keystroke("walk", [suggestion("wait")]) == Keystroke(Key.CHARACTER, Insert("w"), 1)


def test_a_word_of_one_character_is_typed() -> None:
    assert next_keystroke("(a", [suggestion("(b")]).key is Key.CHARACTER


def test_only_the_first_suggestion_is_looked_at() -> None:
    assert next_keystroke("b", [suggestion("a"), suggestion("b")]).key is Key.CHARACTER


def test_a_suggestion_beyond_the_end_of_the_text_is_not_right() -> None:
    assert next_keystroke("x", [suggestion("x = 1")]).key is Key.CHARACTER


@given(text=st.text(min_size=1, max_size=40), suggested=st.lists(st.text(min_size=1, max_size=10), max_size=3))
def test_whatever_is_suggested_every_key_makes_the_text_that_was_to_come(text: str, suggested: list[str]) -> None:
    made = ""
    while made != text:
        coming = text[len(made) :]
        key = next_keystroke(coming, [suggestion(one) for one in suggested])
        match key.edit:
            case Insert(inserted):
                made += inserted
            case Accept(_, length):
                made += suggested[0][:length]
        assert text.startswith(made)
        assert key.length == len(made) - (len(text) - len(coming))
