"""Texts as words: Hugging Face's `tokenizers` cuts them and knows each word's number; the end is number 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Punctuation, WhitespaceSplit
from tokenizers.pre_tokenizers import Sequence as InTurn

from model_export.lab.symbols import END, Symbols, UnknownSymbol

TOKENIZER_FILE = "tokenizer.json"
_END_WORD = "<end>"
_UNKNOWN = "<unknown>"


def tokenizer(symbols: Symbols) -> Tokenizer:
    """Cuts at spaces and around punctuation; the numbers are those of the symbols."""
    numbers = {_END_WORD: END, **{word: number for number, word in enumerate(symbols.entries, start=1)}}
    made = Tokenizer(WordLevel({**numbers, _UNKNOWN: symbols.size}, unk_token=_UNKNOWN))
    made.pre_tokenizer = InTurn([WhitespaceSplit(), Punctuation()])
    return made


class Words:
    """The words of a network: text to numbers."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self._tokenizer = tokenizer(symbols)

    def cut(self, text: str) -> list[str]:
        """The words and the punctuation of a text, as they stand."""
        encoded = self._tokenizer.encode(text)
        return [text[start:end] for start, end in encoded.offsets]

    def encode(self, text: str) -> NDArray[np.int64]:
        """The numbers of a text's words, int64 [words]. Raises UnknownSymbol that names the first unknown one."""
        encoded = self._tokenizer.encode(text)
        for number, (start, end) in zip(encoded.ids, encoded.offsets, strict=True):
            if number >= self.symbols.size:
                self.symbols.number(text[start:end])  # raises
        return np.array(encoded.ids, np.int64)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Words:
        """All the words of some texts, in the order of the alphabet. Raises UnknownSymbol where there are none."""
        cutter = tokenizer(Symbols(("a",))).pre_tokenizer
        found = sorted({word for text in texts for word, _ in cutter.pre_tokenize_str(text)})
        if not found:
            raise UnknownSymbol("there are no words in the texts")
        return cls(Symbols(tuple(found)))
