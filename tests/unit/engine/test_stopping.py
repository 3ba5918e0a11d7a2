"""Where a suggestion is cut back: at the first stop string, or where its block ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.requests import Stop, SuggestSpec
from service.engine.stopping import Cut


def cut(text: str, suggestion: str, stop: Stop = Stop.BLOCK, *stop_strings: str) -> str | None:
    """What is left of a suggestion after a text; None if it has not ended."""
    rule = Cut.of(SuggestSpec(stop=stop, stop_strings=tuple(s.encode() for s in stop_strings)), text.encode())
    assert rule is not None
    data = suggestion.encode()
    length = rule.at(data, len(data))
    return None if length is None else data[:length].decode()


@pytest.mark.parametrize(
    ("text", "suggestion", "left"),
    [
        ("def f(", "x):\n    return x\n", None),  # the next line may belong to it
        ("def f(", "x):\n    return x\n\n\nd", "x):\n    return x"),
        ("def f(", "x):\n    if x:\n        y()\n    return x\nz", "x):\n    if x:\n        y()\n    return x"),
        ("def f(", "x): return x\nz = 1\n", None),  # a line at the same depth goes on with the block
        ("    x = ", "1\n    y = 2\n", None),
        ("    x = ", "1\n    y = 2\n  ", None),  # it may be indented deeper yet
        ("    x = ", "1\n    y = 2\n  z", "1\n    y = 2"),
        ("    x = ", "1\nz", "1"),
        ("    x = 1\n    ", "\nz", ""),
        ("\tif x:\n\t", "\ty()\n\t\tz()\n\tw", "\ty()\n\t\tz()"),  # the suggestion indents the cursor's own line
        ("if x:\r\n    ", "y()\r\n\r\nz", "y()\r"),
    ],
)
def test_a_block_ends_before_the_first_line_that_leaves_it(text: str, suggestion: str, left: str | None) -> None:
    assert cut(text, suggestion) == left


def test_a_stop_string_ends_a_suggestion_where_it_begins_and_the_longer_one_wins() -> None:
    assert cut("", "abc;;d", Stop.NONE, ";", ";;") == "abc"
    assert cut("", "abc--", Stop.NONE, "-", "c--") == "abc"  # known a byte earlier
    assert cut("", "abc", Stop.NONE, "x") is None


@given(st.text("ab \n", max_size=20), st.lists(st.text("ab \n", min_size=1, max_size=3), min_size=1, max_size=3))
def test_looking_byte_by_byte_and_at_all_bytes_at_once_cut_alike(suggestion: str, stops: list[str]) -> None:
    for stop in (Stop.NONE, Stop.BLOCK):
        rule = Cut.of(SuggestSpec(stop=stop, stop_strings=tuple(s.encode() for s in stops)), b"  x")
        assert rule is not None
        data = suggestion.encode()
        one_by_one = next((at for end in range(1, len(data) + 1) if (at := rule.at(data[:end], 1)) is not None), None)
        assert rule.at(data, len(data)) == one_by_one


def test_what_is_never_cut_back_has_no_rule() -> None:
    assert Cut.of(SuggestSpec(stop=Stop.LINE), b"") is None
