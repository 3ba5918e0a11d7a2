"""Which tensors make a request, and what each row of them is."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import InvalidArgument
from service.transport.kserve.refusals import InferRefusals
from service.transport.kserve.rows import check_declared, read_rows
from service.transport.kserve.tensors import BYTES, Tensor, tensor

REFUSALS = InferRefusals("m")
TEXT = Tensor("TEXT", BYTES, (2, 2), (b"a", "é".encode(), b"", b"c"))


def declared_fault(name: str, datatype: str, *shape: int) -> str:
    with pytest.raises(InvalidArgument) as refused:
        check_declared(name, datatype, shape, REFUSALS)
    return str(refused.value)


def test_the_pieces_of_a_row_are_joined_in_order() -> None:
    rows = read_rows([TEXT], REFUSALS)
    assert (rows.input, rows.pieces, rows.whole) == ("TEXT", ["aé".encode(), b"c"], True)


def test_tokens_are_bytes_and_need_not_be_whole_characters() -> None:
    rows = read_rows([tensor("TOKENS", np.array([[0xC3, 65]], np.int64))], REFUSALS)
    assert (rows.pieces, rows.whole) == ([b"\xc3A"], False)


def test_an_empty_row_adds_nothing() -> None:
    assert read_rows([tensor("TOKENS", np.empty((2, 0), np.int64))], REFUSALS).pieces == [b"", b""]
    assert read_rows([Tensor("TEXT", BYTES, (1, 0), ())], REFUSALS).pieces == [b""]


def test_a_token_that_is_no_byte_is_refused_with_its_place() -> None:
    for token in (-1, 256, 2**40):
        with pytest.raises(InvalidArgument, match=r"^inputs\.TOKENS\[1\]\[0\]: .* 0 to 255"):
            read_rows([tensor("TOKENS", np.array([[1], [token]], np.int64))], REFUSALS)


def test_text_that_is_no_utf_8_is_refused_with_its_place_even_if_its_pieces_together_are() -> None:
    with pytest.raises(InvalidArgument, match=r"^inputs\.TEXT\[0\]\[1\]: byte 0 \(0xC3\)"):
        read_rows([Tensor("TEXT", BYTES, (1, 3), (b"a", b"\xc3", b"\xa9"))], REFUSALS)


def test_there_is_one_input_neither_none_nor_both() -> None:
    tokens = tensor("TOKENS", np.zeros((1, 1), np.int64))
    for inputs, said in (
        ([], "expected 1 inputs but got 0 inputs for model 'm'. Got input(s) [], but missing required input(s) "),
        ([TEXT, tokens], "expected 1 inputs but got 2 inputs for model 'm'. Got input(s) ['TEXT','TOKENS']"),
        ([tokens, tokens], "input 'TOKENS' already exists in request"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            read_rows(inputs, REFUSALS)
        assert str(refused.value).startswith(f"[request id: <id_unknown>] {said}")


def test_what_is_declared_wrongly_is_refused_in_triton_s_words() -> None:
    assert declared_fault("X", "INT64", 1, 1) == "unexpected inference input 'X' for model 'm'"
    unknown = "[request id: <id_unknown>] "
    assert declared_fault("TOKENS", "INT32", 1, 1) == (
        f"{unknown}inference input 'TOKENS' data-type is 'INT32', but model 'm' expects 'INT64'"
    )
    assert declared_fault("TEXT", "BYTES", 65, 1) == (f"{unknown}inference request batch-size must be <= 64 for 'm'")
    assert declared_fault("TEXT", "BYTES", 2).startswith(
        f"{unknown}unexpected shape for input 'TEXT' for model 'm'. Expected [-1,-1], got [2]. NOTE: "
    )
    for shape in ((1, 1, 1), (), (1, -1), (-1, 1)):
        assert "unexpected shape" in declared_fault("TEXT", "BYTES", *shape)
    assert "batch-size must be >= 1" in declared_fault("TEXT", "BYTES", 0, 1)
