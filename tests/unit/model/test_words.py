"""Words: cut as the shipped tokenizers cut them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from service.model.words import UnknownWord, Words, cut

_GATES = Path(__file__).resolve().parents[3] / "models" / "lab" / "gates"
_PIECES = st.text(st.sampled_from("abÀ .,!?'-—_$+<€\n\t·"), max_size=20)


def test_a_text_is_the_numbers_of_its_words_and_back() -> None:
    words = Words(("", ",", "In", "France"))
    assert words.encode(" In France,In") == [2, 3, 1, 2]
    assert words.decode([0, 3]) == ["", "France"]
    assert words.encode("") == []
    with pytest.raises(UnknownWord) as refused:
        words.encode("In Spain, In")
    assert refused.value.word == "Spain"


@given(_PIECES)
@settings(max_examples=100)
def test_a_text_is_cut_as_the_tokenizer_in_the_folder_cuts_it(text: str) -> None:
    tokenizer = Tokenizer.from_file(str(_GATES / "tokenizer.json"))
    assert cut(text) == [text[start:end] for start, end in tokenizer.encode(text).offsets]


def test_the_numbers_are_those_of_the_tokenizer_in_the_folder() -> None:
    tokenizer = Tokenizer.from_file(str(_GATES / "tokenizer.json"))
    words = Words(json.loads((_GATES / "manifest.json").read_text(encoding="utf-8"))["words"])
    sentence = "In France, Mary ate her croissant but Frank did not like the wine"
    assert words.encode(sentence) == tokenizer.encode(sentence).ids
