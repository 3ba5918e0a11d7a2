"""How values are read: from text or as TOML has them, and what is said about those that are refused."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.setting_kinds import Kind, folders, one_of, origins, seconds, size, switch, text, whole

KINDS = [text(), whole(0, 9), seconds(0, 9), size(), switch(), one_of("a"), folders(), origins()]


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (text(), "a", "a"),
        (whole(0, 9), "7", 7),
        (whole(0, 9), 7, 7),
        (whole(0), "+7", 7),
        (seconds(0, 9), "1.5", 1.5),
        (seconds(0, 9), 2, 2.0),
        (size(), "65536", 65536),
        (size(), 65536, 65536),
        (size(), "256MiB", 256 << 20),
        (size(), "1.5 gb", 1_500_000_000),
        (size(), "3B", 3),
        (switch(), "Yes", True),
        (switch(), "0", False),
        (switch(), True, True),
        (one_of("a", "b"), "b", "b"),
        (folders(), "a/b", (Path("a/b"),)),
        (folders(), "a/b, /c", (Path("a/b"), Path("/c"))),
        (folders(), ["a", "b"], (Path("a"), Path("b"))),
        (origins(), "", ()),
        (origins(), ["https://a.example/"], ("https://a.example",)),
    ],
)
def test_a_value_that_fits_is_read(kind: Kind[Any], value: object, read: object) -> None:
    found = kind.read(value)
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (text(), "", "'' is not a text"),
        (text(), 3, "3 is not a text"),
        (whole(1, 9), "10", "'10' is not a whole number from 1 to 9"),
        (whole(1), 0, "0 is not a whole number of at least 1"),
        (whole(1), True, "True is not a whole number"),
        (whole(1), 1.0, "1.0 is not a whole number"),
        (whole(1), "tcp://10.0.0.1:50051", "'tcp://10.0.0.1:50051' is not a whole number"),
        (seconds(0, 9), "nan", "'nan' is not a number of seconds from 0 to 9"),
        (seconds(0, 9), "soon", "'soon' is not a number of seconds"),
        (size(), "0", "not a number of bytes of at least 1"),
        (size(), "-1", "not a number of bytes"),
        (size(), "12 parsecs", "such as 65536 or 256MiB"),
        (size(), True, "not a number of bytes"),
        (switch(), "maybe", "'maybe' is neither true nor false"),
        (one_of("a", "b"), "c", "'c' is none of a, b"),
        (folders(), " , ", "names no folder"),
        (origins(), 3, "3 is not a text with commas"),
        (origins(), [3], "is not a text with commas"),
    ],
)
def test_a_value_that_does_not_fit_is_quoted_with_what_does(kind: Kind[Any], value: object, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        kind.read(value)


@given(st.sampled_from(KINDS), st.text())
def test_any_text_is_read_or_refused_with_a_value_error(kind: Kind[Any], value: str) -> None:
    with suppress(ValueError):
        kind.read(value)
