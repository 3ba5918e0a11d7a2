"""How a file is cut into what a server takes at once, and how its score is shown."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carousel_client import Model, Score, Surprise, Units
from service.terminal.scoring import Cutting, FileScore, FileScorer, Place, parts_of
from service.terminal.scoring_view import coloured, described, style_of, summary

MODEL = Model("m", "d", "n")
SMALL = Cutting(part_bytes=40, most_bytes=100, context_bytes=20, within_bytes=10)


@given(text=st.text(alphabet="ab\n é日👍", min_size=1, max_size=400))
def test_a_text_is_cut_between_characters_into_parts_that_fit_and_every_byte_is_scored_once(text: str) -> None:
    content = text.encode()
    parts = list(parts_of(content, SMALL))
    assert b"".join(content[part.start : part.end] for part in parts) == content
    for part in parts:
        assert 0 < part.end - part.begin <= 100 + 4
        assert content[part.begin : part.end].decode()
        assert part.begin == 0 or part.start - part.begin >= 20


def test_a_part_ends_with_a_line_where_there_is_one() -> None:
    content = (b"x" * 99 + b"\n") * 1000
    parts = list(parts_of(content))
    assert len(parts) == 2
    assert [part.end % 100 for part in parts] == [0, 0]


class Bytewise:
    """A client whose bits for a byte are its number; its surprises are all the bytes `!`."""

    def score(self, text: str, *, start: int, surprises: int, units: Units, model: str | None) -> Score:
        assert units is Units.UTF8
        content = text.encode()
        found = [index for index in range(start, len(content)) if content[index] == ord("!")]
        told = [Surprise(index, 1, "!", 30.0, "?", 0.5) for index in found[:surprises]]
        bits = array("f", list(content[start:]))
        return Score(MODEL, None, start, array("f"), bits, 0.0, tuple(told), ())


@given(text=st.text(alphabet="ab\n é日!", min_size=1, max_size=300))
def test_a_text_in_parts_has_every_byte_s_bits_and_every_surprise_where_it_is(text: str) -> None:
    content = text.encode()
    scorer = FileScorer(Bytewise(), content, 64, SMALL)
    for part in scorer.parts:
        scorer.score(part)
    result = scorer.result()
    assert result.bits.tolist() == [float(byte) for byte in content]
    places = {(place.line, place.column) for place in result.places}
    lines = text.split("\n")
    assert places <= {(n + 1, c + 1) for n, line in enumerate(lines) for c, one in enumerate(line) if one == "!"}
    assert len(places) == min(text.count("!"), 64)


def test_a_place_is_told_as_compilers_do() -> None:
    place = Place(3, 8, 40, "def f", "oo", 12.34, "or", 0.5)
    assert described(place, "a.py") == "a.py:3:8: 12.3 bits: 'oo' after 'def f', expected 'or' (50%)"
    end = Place(1, 1, 0, "", "x", 5.0, "", 0.25)
    assert described(end, "a.py") == "a.py:1:1: 5.0 bits: 'x', expected the end (25%)"


def test_the_whole_is_the_mean_of_its_bytes() -> None:
    score = FileScore(array("f", [1.0, 2.0, 6.0]), (), MODEL)
    assert summary(b"abc", score, "a.py") == "a.py: 3.000 bits per byte, 3 bytes, model m"


def test_a_character_stands_out_by_the_bits_of_all_its_bytes() -> None:
    content = "aé\nb".encode()
    lines = list(coloured(content, FileScore(array("f", [0.5, 2.0, 6.0, 0.0, 20.0]), (), MODEL)))
    assert [line.plain for line in lines] == ["aé", "b"]
    assert [(span.start, span.end, span.style) for span in lines[0].spans] == [(1, 2, style_of(8.0))]
    assert [span.style for span in lines[1].spans] == [style_of(20.0)]


@pytest.mark.parametrize(("bits", "stands_out"), [(0.0, False), (3.9, False), (4.0, True), (100.0, True)])
def test_what_was_expected_is_shown_as_it_is(bits: float, stands_out: bool) -> None:
    assert bool(style_of(bits)) == stands_out
