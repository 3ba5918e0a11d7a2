"""Offsets in three units, against characters counted one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidArgument
from service.sessions.commands import Units
from service.sessions.units import Extent, check_text, measure, prefix_length, suffix_length
from tests.unit.sessions.naive import NaiveRefusal, NaiveText
from tests.unit.sessions.strategies import offsets, texts, units


@given(texts, units)
def test_a_text_measures_what_its_characters_add_up_to(text: str, unit: Units) -> None:
    assert measure(text).count_in(unit) == NaiveText.of(text).length(unit)


@given(texts, texts)
def test_extents_add_and_subtract_as_texts_are_joined_and_cut(first: str, second: str) -> None:
    assert measure(first).plus(measure(second)) == measure(first + second)
    assert measure(first + second).less(measure(second)) == measure(first)
    assert measure("") == Extent()


@given(texts, offsets, units)
def test_an_offset_is_a_character_or_it_is_refused(text: str, offset: int, unit: Units) -> None:
    try:
        expected = NaiveText.of(text).index(offset, unit)
    except NaiveRefusal:
        with pytest.raises(InvalidArgument) as refused:
            prefix_length(text, measure(text), offset, unit, "field")
        assert refused.value.field == "field"
    else:
        assert prefix_length(text, measure(text), offset, unit, "field") == expected


@given(texts, st.integers(-2, 40), units)
def test_a_count_from_the_end_is_the_offset_counted_from_the_start(text: str, count: int, unit: Units) -> None:
    naive = NaiveText.of(text)
    try:
        if count < 0:
            raise NaiveRefusal
        expected = len(text) - naive.index(naive.length(unit) - count, unit)
    except NaiveRefusal:
        with pytest.raises(InvalidArgument):
            suffix_length(text, measure(text), count, unit, "field")
    else:
        assert suffix_length(text, measure(text), count, unit, "field") == expected


@pytest.mark.parametrize(
    ("unit", "offset", "where"), [(Units.UTF16, 2, "a surrogate pair"), (Units.UTF8, 3, "a UTF-8 sequence")]
)
def test_an_offset_inside_a_character_is_told_what_it_is_inside_of(unit: Units, offset: int, where: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"inside {where}: move it to a character's edge"):
        prefix_length("a😀", measure("a😀"), offset, unit, "cursor")


@pytest.mark.parametrize("text", ["\ud83d", "ok\udc00", "😀\ud83d"])
def test_a_lone_surrogate_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"text: lone surrogate U\+D[8C][03][0D] at code point {len(text) - 1}"):
        check_text(text, "text")


@given(texts)
def test_valid_text_is_counted_in_bytes(text: str) -> None:
    assert check_text(text, "text") == len(text.encode())
