"""Tensors cross the wire in both of its forms and come back as they were; what is cut or too long is refused."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from service.errors import InvalidArgument
from service.transport.kserve.refusals import InferRefusals
from service.transport.kserve.tensors import BYTES, DTYPES, Tensor, from_raw, from_values, strings, tensor, to_raw

REFUSALS = InferRefusals("m", "7")
SHAPES = st_numpy.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
TEXTS = st.lists(st.binary(max_size=9), max_size=9)


@st.composite
def arrays(draw: st.DrawFn) -> tuple[str, np.ndarray[Any, Any]]:
    datatype = draw(st.sampled_from(sorted(DTYPES)))
    return datatype, draw(st_numpy.arrays(DTYPES[datatype], SHAPES))


def same(one: Tensor, array: np.ndarray[Any, Any]) -> bool:
    assert isinstance(one.elements, np.ndarray)
    return one.shape == array.shape and one.elements.tobytes() == np.ascontiguousarray(array).tobytes()


@given(arrays())
@settings(max_examples=80)
def test_an_array_comes_back_from_its_bytes_bit_for_bit(given_array: tuple[str, np.ndarray[Any, Any]]) -> None:
    datatype, array = given_array
    sent = tensor("X", array)
    assert (sent.datatype, to_raw(sent.elements)) == (datatype, array.tobytes())
    assert same(from_raw("X", datatype, array.shape, to_raw(sent.elements), REFUSALS), array)


@given(arrays())
@settings(max_examples=80)
def test_an_array_comes_back_from_its_values_bit_for_bit(given_array: tuple[str, np.ndarray[Any, Any]]) -> None:
    datatype, array = given_array
    if np.isnan(array).any():  # the payload of a NaN is no value
        array = np.zeros_like(array)
    assert same(from_values("X", datatype, array.shape, array.reshape(-1).tolist(), REFUSALS), array)


def test_what_is_big_endian_or_not_contiguous_goes_out_little_endian_and_row_by_row() -> None:
    array = np.arange(6, dtype=">i8").reshape(2, 3).T
    assert to_raw(tensor("X", array.astype("<i8")).elements) == struct.pack("<6q", 0, 3, 1, 4, 2, 5)


@given(TEXTS)
def test_strings_come_back_from_their_bytes_whatever_is_in_them(texts: list[bytes]) -> None:
    sent = strings("X", texts)
    assert sent.shape == (len(texts), 1)
    assert from_raw("X", BYTES, sent.shape, to_raw(sent.elements), REFUSALS).elements == tuple(texts)


@given(TEXTS.filter(bool), st.data())
def test_strings_that_are_cut_off_anywhere_are_refused(texts: list[bytes], data: st.DataObject) -> None:
    raw = to_raw(tuple(texts))
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(InvalidArgument) as refused:
        from_raw("X", BYTES, (len(texts),), raw[:cut], REFUSALS)
    assert refused.value.field == "inputs.X"


def test_more_or_fewer_elements_than_the_shape_says_are_refused_in_triton_s_words() -> None:
    raw = struct.pack("<2q", 1, 2)
    for shape, expected in (((1,), 8), ((1, 3), 24), ((0,), 0)):
        with pytest.raises(InvalidArgument) as refused:
            from_raw("X", "INT64", shape, raw, REFUSALS)
        sentence = f"[request id: 7] input byte size mismatch for input 'X' for model 'm'. Expected {expected}, got 16"
        assert str(refused.value) == sentence
        with pytest.raises(InvalidArgument, match=f"Expected {expected}, got 16"):
            from_values("X", "INT64", shape, [1, 2], REFUSALS)
    with pytest.raises(InvalidArgument, match="unexpected number of string elements 2"):
        from_values("X", BYTES, (1, 3), [b"a", b"b"], REFUSALS)


def test_a_number_that_the_datatype_cannot_say_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="no INT64"):
        from_values("X", "INT64", (1,), [2**63], REFUSALS)
    with pytest.raises(InvalidArgument, match="no UINT8"):
        from_values("X", "UINT8", (1,), [-1], REFUSALS)
