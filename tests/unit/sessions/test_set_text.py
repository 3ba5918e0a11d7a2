"""A text that replaces another: the smallest edit that does it, as safe to repeat as any edit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidArgument, RevisionConflict
from service.sessions.commands import SessionView, SetText, UndoTo, Units
from service.sessions.differences import difference
from service.sessions.limits import Limits
from service.sessions.text import Text
from tests.unit.sessions.rooms import TENANT, Room, now

texts = st.text("abé\U0001f600\n", max_size=12)


def set_text(
    room: Room, revision: int, text: str, cursor: int | None = None, edit_id: str | None = None
) -> SessionView:
    command = SetText(room.newest, revision, text, cursor, edit_id)
    return now(room.sessions.set_text(TENANT, command))


@given(texts, texts, st.integers(0, 12))
def test_a_difference_makes_the_wanted_text_and_touches_no_end_that_both_share(
    before: str, wanted: str, cursor: int
) -> None:
    text = Text.of(before, min(cursor, len(before)))
    splice = difference(text, wanted)
    if splice is None:
        assert before == wanted
        return
    after = text.after(splice)
    assert after.content == wanted
    assert after.cursor == splice.start + len(splice.inserted)
    if splice.removed and splice.inserted:
        assert splice.removed[0] != splice.inserted[0]
        assert splice.removed[-1] != splice.inserted[-1]


@given(texts, st.lists(texts, max_size=5))
def test_texts_that_are_set_are_read_back_and_undone(first: str, others: list[str]) -> None:
    room = Room()
    view = room.create(first)
    seen = [first]
    for text in others:
        after = set_text(room, view.revision, text)
        assert after.revision == view.revision + (text != seen[-1])
        assert room.text(view.id) == text
        if text != seen[-1]:
            seen.append(text)
        view = after
    for revision in range(len(seen), 0, -1):
        view = room.edit(view.id, view.revision, UndoTo(revision))
        assert room.text(view.id) == seen[revision - 1]


def test_what_changed_is_all_that_the_engine_and_the_store_hear_of() -> None:
    room = Room()
    room.create("def f(x):\n    return x\n")
    set_text(room, 1, "def f(y):\n    return x\n")
    assert room.suggester.advances[-1].text == b"def f(y"
    assert room.suggester.advances[-1].kept == len(b"def f(")


def test_a_retry_is_answered_as_then_and_the_id_is_taken_for_anything_else() -> None:
    room = Room()
    room.create("abc")
    first = set_text(room, 1, "abd", edit_id="one")
    set_text(room, 2, "other")
    assert set_text(room, 1, "abd", edit_id="one") == first
    with pytest.raises(RevisionConflict):
        set_text(room, 1, "abe", edit_id="one")
    with pytest.raises(RevisionConflict) as refused:
        set_text(room, 1, "abe", edit_id="two")
    assert refused.value.current == 3


def test_the_cursor_goes_where_it_is_asked_to_in_any_units() -> None:
    room = Room()
    room.create("a\U0001f600b")
    view = now(room.sessions.set_text(TENANT, SetText(room.newest, 1, "a\U0001f600bc", 3, units=Units.UTF16)))
    assert (view.cursor, view.length, view.revision) == (3, 5, 2)
    assert set_text(room, 2, "a\U0001f600bc", 0).revision == 3  # the cursor alone is an edit, too
    with pytest.raises(InvalidArgument, match="cursor: 9 is outside"):
        set_text(room, 3, "a", 9)
    with pytest.raises(InvalidArgument, match="cursor: offset 2 lies inside a surrogate pair"):
        now(room.sessions.set_text(TENANT, SetText(room.newest, 3, "a\U0001f600b", 2, units=Units.UTF16)))


def test_a_text_may_be_as_large_as_a_session_and_no_larger() -> None:
    room = Room(Limits(max_text_bytes=100_000))
    room.create()
    assert set_text(room, 1, "x" * 100_000).revision == 2
    with pytest.raises(InvalidArgument, match="text: 100001 bytes"):
        set_text(room, 2, "x" * 100_001)
    with pytest.raises(InvalidArgument, match="text: lone surrogate"):
        set_text(room, 2, "\ud800")
