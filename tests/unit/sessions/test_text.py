"""Edits become splices, splices change texts, and one splice takes many back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidArgument
from service.sessions.commands import Units
from service.sessions.edits import PlainEdit, splice_of
from service.sessions.history import undo
from service.sessions.records import Splice
from service.sessions.text import Text, kept_left
from service.sessions.units import measure
from tests.unit.sessions.naive import NaiveRefusal, NaiveText
from tests.unit.sessions.strategies import edits, texts, units


def _play(start: str, steps: list[tuple[PlainEdit, Units]]) -> list[tuple[Text, Splice, Text]]:
    """Every edit that can be done, as (text before, splice, text after); checked against the naive model."""
    text, naive = Text.of(start), NaiveText.of(start)
    played = []
    for edit, unit in steps:
        try:
            naive.apply(edit, unit)
        except NaiveRefusal:
            try:
                splice_of(edit, text, unit, "edits[0]")
            except InvalidArgument:
                continue
            raise AssertionError(f"{edit} in {unit} was not refused") from None
        splice = splice_of(edit, text, unit, "edits[0]")
        played.append((text, splice, text.after(splice)))
        text = text.after(splice)
        assert (text.content, text.cursor) == (naive.text, naive.cursor)
    return played


_steps = st.lists(st.tuples(edits(), units), max_size=12)


@given(texts, _steps)
def test_any_edits_in_any_units_give_what_the_naive_model_gives(
    start: str, steps: list[tuple[PlainEdit, Units]]
) -> None:
    for _, _, text in _play(start, steps):
        assert text.left_extent == measure(text.left)
        assert text.right_extent == measure(text.right)
        assert text.extent == measure(text.content)


@given(texts, _steps)
def test_a_splice_says_what_it_removes_and_where_the_cursor_was(
    start: str, steps: list[tuple[PlainEdit, Units]]
) -> None:
    for before, splice, after in _play(start, steps):
        assert before.slice(splice.start, splice.start + len(splice.removed)) == splice.removed
        assert after.slice(splice.start, splice.start + len(splice.inserted)) == splice.inserted
        assert (splice.cursor_before, splice.cursor_after) == (before.cursor, after.cursor)


@given(texts, _steps)
def test_what_is_said_to_be_kept_left_of_the_cursor_is_kept(start: str, steps: list[tuple[PlainEdit, Units]]) -> None:
    for before, splice, after in _play(start, steps):
        kept = kept_left(splice)
        assert kept <= min(before.cursor, after.cursor)
        assert before.left[:kept] == after.left[:kept]


@given(texts, _steps, st.data())
def test_one_splice_takes_back_any_number_of_splices(
    start: str, steps: list[tuple[PlainEdit, Units]], data: st.DataObject
) -> None:
    played = _play(start, steps)
    if not played:
        return
    since = data.draw(st.integers(0, len(played) - 1))
    now = played[-1][2]
    back = undo(now, [splice for _, splice, _ in reversed(played[since:])])
    assert now.after(back) == played[since][0]
    assert now.slice(back.start, back.start + len(back.removed)) == back.removed


@given(texts, st.data())
def test_a_slice_across_the_cursor_is_the_slice_of_the_text(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    assert Text.of(text, cut).slice(start, end) == text[start:end]
