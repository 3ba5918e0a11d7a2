"""The vocabulary of a model of words: a text as the numbers of its words, and back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cached_property


class UnknownWord(ValueError):
    """A text holds a word that the model does not know; `word` is it."""

    def __init__(self, word: str) -> None:
        super().__init__(f"{word!r} is no word of this model")
        self.word = word


class Words:
    """entries: what each token stands for; the first begins and ends a text and is written as nothing."""

    def __init__(self, entries: Sequence[str], start_token: int = 0) -> None:
        self.entries, self.start_token = tuple(entries), start_token

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self.entries)

    @property
    def first_word(self) -> str:
        """The first entry that is a word and no punctuation mark, if there is one, or else the first."""
        written = [one for one in self.entries if one]
        return next((one for one in written if one.isalnum()), written[0])

    @cached_property
    def _tokens(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self.entries) if word}

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, cut at spaces and around each punctuation mark. Raises UnknownWord.

        As `tokenizer.json` of the folder does it, for those who use Hugging Face's `tokenizers`.
        """
        tokens = []
        for word in cut(text):
            if word not in self._tokens:
                raise UnknownWord(word)
            tokens.append(self._tokens[word])
        return tokens

    def decode(self, tokens: Iterable[int]) -> list[str]:
        """The word of each token."""
        return [self.entries[token] for token in tokens]


def cut(text: str) -> list[str]:
    """The words and the punctuation marks of a text, in order."""
    found: list[str] = []
    for piece in text.split():
        word = ""
        for character in piece:
            if _is_punctuation(character):
                found += [word] if word else []
                found.append(character)
                word = ""
            else:
                word += character
        found += [word] if word else []
    return found


_ASCII_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")


def _is_punctuation(character: str) -> bool:
    return bool(_ASCII_PUNCTUATION.match(character)) or unicodedata.category(character).startswith("P")
