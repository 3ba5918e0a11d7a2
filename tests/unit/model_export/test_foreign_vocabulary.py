"""Character models become byte models: every token moves to its byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_export.errors import ExportError
from model_export.foreign_vocabulary import NEVER, read_vocabulary, to_bytes
from model_export.state_dicts import TorchTensors

_ENTRIES = ["a", "\n", "<0xC3>", "<s>"]


def _tensors(size: int) -> TorchTensors:
    def numbers(*shape: int) -> NDArray[np.float32]:
        return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1

    return TorchTensors(numbers(size, 3), (), numbers(size, 5), numbers(size))


def test_tokens_move_to_their_bytes_and_the_start_to_0xff(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text(json.dumps(_ENTRIES))
    before = _tensors(4)
    after = to_bytes(before, read_vocabulary(tmp_path / "v.json"), start="<s>")
    for byte, token in ((ord("a"), 0), (ord("\n"), 1), (0xC3, 2), (0xFF, 3)):
        assert np.array_equal(after.embedding[byte], before.embedding[token])
        assert np.array_equal(after.head[byte], before.head[token])
        assert after.head_bias[byte] == before.head_bias[token]
    assert not after.embedding[ord("b")].any() and after.head_bias[ord("b")] == NEVER


def test_a_byte_that_also_begins_texts_is_predicted_once() -> None:
    after = to_bytes(_tensors(2), {"a": 0, "\n": 1}, start="\n")
    assert np.array_equal(after.embedding[0xFF], after.embedding[ord("\n")])
    assert after.head_bias[0xFF] == NEVER and after.head_bias[ord("\n")] == 2


def test_numbers_in_a_list_are_bytes(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text(json.dumps([10, 97]))
    assert read_vocabulary(tmp_path / "v.json") == {"<0x0A>": 0, "<0x61>": 1}


def test_entries_that_are_no_byte_are_listed_and_may_be_dropped() -> None:
    vocabulary = {"a": 0, "é": 1, "<unk>": 2}
    with pytest.raises(ExportError, match=r"2 entries are no single byte of UTF-8: 'é', '<unk>'"):
        to_bytes(_tensors(3), vocabulary)
    assert to_bytes(_tensors(3), vocabulary, drop=["é", "<unk>"]).head_bias[ord("a")] == 1


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({"a": 0}, "1 entries, the embedding 2 tokens"),
        ({"a": 0, "b": 5}, "each token from 0 to 1"),
        ({"a": 0, "b": 0}, "each"),
    ],
)
def test_a_vocabulary_that_does_not_fit_the_embedding_is_refused(vocabulary: dict[str, int], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        to_bytes(_tensors(2), vocabulary)


def test_flags_that_name_no_entry_are_refused() -> None:
    with pytest.raises(ExportError, match="no entry '<bos>'"):
        to_bytes(_tensors(1), {"a": 0}, start="<bos>")


@pytest.mark.parametrize("content", ["{", '"text"', '{"a": "b"}', '{"a": true}'])
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(ExportError):
        read_vocabulary(tmp_path / "v.json")
