"""The input of a model of tensors: read as it is meant, or refused with its place; nothing in between."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.requests import ModelIdentity
from service.errors import InvalidArgument
from service.model.words import Words
from service.tensors.fake_reader import FakeReader, fake_series
from service.tensors.ports import TensorModel
from service.transport.kserve.metadata import model_config
from service.transport.kserve.refusals import InferRefusals
from service.transport.kserve.repository import ServedVersion
from service.transport.kserve.rows import check_declared
from service.transport.kserve.signatures import config_of_tensors, signature_of
from service.transport.kserve.tensor_inputs import read_inputs
from service.transport.kserve.tensors import BYTES, Tensor, from_values

_REFUSALS = InferRefusals("m", "7")
_SERIES = fake_series(width=2)
_WORDS = TensorModel(FakeReader("words"), Words(("", "a", "b", ".")))
_FLOATS = st.floats() | st.integers(-5, 5) | st.integers()
_SIZES = st.integers(0, 3)


@given(st.lists(_FLOATS, max_size=18), _SIZES, _SIZES)
@settings(max_examples=150)
def test_any_numbers_are_a_series_or_refused(values: list[float], rows: int, steps: int) -> None:
    shape = (rows, steps, 2)
    try:
        check_declared("VALUES", "FP32", shape, _REFUSALS, signature_of(_SERIES).inputs)
        given_tensor = from_values("VALUES", "FP32", shape, values, _REFUSALS)
        (chunk,) = read_inputs(_SERIES, [given_tensor], _REFUSALS)
    except InvalidArgument:
        fits = rows >= 1 and len(values) == rows * steps * 2
        assert not fits or any(not math.isfinite(one) or abs(one) > 3.4e38 for one in values)
        return
    assert chunk.shape == (steps, rows, 2)
    assert np.isfinite(chunk).all()
    assert chunk.transpose(1, 0, 2).reshape(-1).tolist() == np.array(values, np.float32).tolist()


@pytest.mark.parametrize(
    "shape", [(), (2,), (2, 2), (2, 1, 1), (2, 1, 3), (2, -1, 2), (-1, 1, 2), (65, 1, 2), (0, 1, 2)]
)
def test_a_shape_that_is_not_the_model_s_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match=r"shape|batch-size"):
        check_declared("VALUES", "FP32", shape, _REFUSALS, signature_of(_SERIES).inputs)


def test_words_of_rows_that_differ_in_length_are_read_each_by_itself() -> None:
    def read(*pieces: bytes, rows: int) -> list[list[list[int]]]:
        tensor = Tensor("TEXT", BYTES, (rows, len(pieces) // rows), pieces)
        return [chunk.tolist() for chunk in read_inputs(_WORDS, [tensor], _REFUSALS)]

    assert read(b"a b", b"b.", rows=2) == [[[1, 2], [2, 3]]]
    assert read(b"a b", b"b", rows=2) == [[[1], [2]], [[2]]]
    assert read(b"a", b"b .", rows=1) == [[[1], [2], [3]]]
    assert read(b"", rows=1) == [[]]


def test_what_the_vocabulary_has_not_is_refused_with_its_place() -> None:
    with pytest.raises(InvalidArgument, match=r"inputs.TEXT\[1\]\[0\]: 'c' is no word .*: a, b, \."):
        read_inputs(_WORDS, [Tensor("TEXT", BYTES, (2, 1), (b"a", b"b c"))], _REFUSALS)
    with pytest.raises(InvalidArgument, match=r"inputs.TEXT\[0\]\[1\]: byte 0 is no UTF-8"):
        read_inputs(_WORDS, [Tensor("TEXT", BYTES, (1, 2), (b"a", b"\xff"))], _REFUSALS)
    for token in (-1, 4, 2**62):
        with pytest.raises(InvalidArgument, match=r"inputs.TOKENS\[0\]\[1\].* 0 to 3"):
            read_inputs(_WORDS, [Tensor("TOKENS", "INT64", (1, 2), np.array([1, token]))], _REFUSALS)


def test_a_configuration_tells_what_a_client_must_know() -> None:
    version = ServedVersion("words", "1", ModelIdentity("words", "1" * 64, "numbers"))
    config = config_of_tensors(_WORDS, model_config(version, ["1"], None))
    assert json.loads(config["parameters"]["vocabulary"]["string_value"]) == ["", "a", "b", "."]
    assert config["parameters"]["numerics_id"] == {"string_value": "numbers"}
    assert [one["name"] for one in config["input"]] == ["TEXT", "TOKENS"]
    series = config_of_tensors(_SERIES, model_config(version, ["1"], None))
    assert (series["input"][0]["dims"], series["input"][0]["optional"]) == ([-1, 2], False)
