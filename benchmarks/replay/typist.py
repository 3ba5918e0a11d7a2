"""The typist of a replay: which key is pressed next, given the text to come and the first suggestion.

The rule, the same keys as in `carousel type`: if the whole suggestion is how the text goes on, Tab takes it; otherwise,
if its first word is (with the white space before it) and has two characters or more, the right arrow takes that word;
otherwise the next character is typed. Each is one keystroke. Only the first suggestion is looked at, nothing that was
accepted is ever taken back, and the typist reads every suggestion: keystroke savings are what the model offers, not
what a hurried person takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from carousel_client import Accept, Edit, Insert, Suggestion
from service.terminal.words import first_word

_WORTH_A_KEY = 2  # characters; taking one costs as much as typing it


class Key(StrEnum):
    """What a keystroke was."""

    CHARACTER = "character"
    WHOLE = "whole"
    WORD = "word"


@dataclass(frozen=True, slots=True)
class Keystroke:
    """One key: the edit that it sends, and how many characters of the text to come it makes."""

    key: Key
    edit: Edit
    length: int


def next_keystroke(coming: str, suggestions: Sequence[Suggestion]) -> Keystroke:
    """What is pressed when `coming` (not empty) is still to be typed."""
    for first in suggestions[:1]:
        if coming.startswith(first.text):
            return Keystroke(Key.WHOLE, Accept(first.id), len(first.text))
        word = first_word(first.text)
        if len(word) >= _WORTH_A_KEY and coming.startswith(word):
            return Keystroke(Key.WORD, Accept(first.id, len(word)), len(word))
    return Keystroke(Key.CHARACTER, Insert(coming[0]), 1)
