"""Compressed bodies: as clients send and want them, and never larger than what is taken."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from service.errors import InvalidArgument
from service.transport.http.kserve.compression import compressed, decompressed, wanted_encoding

BODY = b"x" * 1000


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_a_body_comes_back_from_either_encoding(body: bytes, encoding: str) -> None:
    assert decompressed(compressed(body, encoding), encoding, 200) == body


def test_python_s_own_readers_take_what_is_sent() -> None:
    assert gzip.decompress(compressed(BODY, "gzip")) == zlib.decompress(compressed(BODY, "deflate")) == BODY


def test_a_small_body_that_unpacks_to_a_large_one_is_too_large_and_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 10_000_000, mtime=0)
    with pytest.raises(HTTPException) as refused:
        decompressed(bomb, "gzip", 1000)
    assert refused.value.status_code == 413


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"abc", "gzip"), (b"abc", "deflate"), (gzip.compress(BODY, mtime=0)[:-9], "gzip"), (BODY, "br"), (b"", "gzip")],
)
def test_what_is_not_of_its_encoding_is_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(InvalidArgument):
        decompressed(body, encoding, 10_000)


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        (None, None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("gzip;q=0", None),
        ("identity", None),
        ("gzip;q=x", None),
    ],
)
def test_an_answer_is_compressed_as_its_caller_accepts(accepted: str | None, wanted: str | None) -> None:
    assert wanted_encoding(accepted, BODY) == wanted


def test_a_small_answer_is_not_worth_it() -> None:
    assert wanted_encoding("gzip", b"x" * 100) is None
