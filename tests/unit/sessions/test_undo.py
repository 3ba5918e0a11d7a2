"""Undo to a revision restores it exactly, as far back as the history reaches, which is bounded."""

from __future__ import annotations

import tracemalloc

import pytest

from service.errors import InvalidArgument
from service.sessions.commands import Delete, Insert, MoveCursor, Replace, UndoTo
from service.sessions.history import History, memory_of
from service.sessions.limits import Limits
from service.sessions.records import EditRecord, KnownEdit, Splice
from tests.unit.sessions.rooms import Room


def test_undo_makes_a_new_revision_with_the_text_and_cursor_of_an_old_one_and_can_be_undone() -> None:
    room = Room()
    session = room.create("one two").id
    room.edit(session, 1, MoveCursor(3))
    room.edit(session, 2, Insert("😀"))
    room.edit(session, 3, Replace(0, 3, "1"), Insert("!"))
    undone = room.edit(session, 4, UndoTo(2))
    assert (undone.revision, undone.cursor, room.text(session)) == (5, 3, "one two")
    redone = room.edit(session, 5, UndoTo(4))
    assert (redone.revision, redone.cursor, room.text(session)) == (6, 2, "1!😀 two")
    assert room.edit(session, 6, UndoTo(1)).cursor == 7
    assert room.text(session) == "one two"


def test_undo_to_the_current_revision_is_an_edit_that_changes_nothing() -> None:
    room = Room()
    session = room.create("text").id
    assert room.edit(session, 1, UndoTo(1)).revision == 2
    assert room.text(session) == "text"


def test_a_revision_that_fell_out_of_the_history_is_refused_and_the_oldest_named() -> None:
    room = Room(Limits(history_revisions=3))
    session = room.create().id
    for revision in range(1, 8):
        room.edit(session, revision, Insert(str(revision)))
    with pytest.raises(InvalidArgument) as refused:
        room.edit(session, 8, UndoTo(4))
    assert refused.value.field == "edits[0].undo_to"
    assert refused.value.message == "revision 4 cannot be restored: 5 is the oldest and 8 the newest"
    room.edit(session, 8, UndoTo(5))
    assert room.text(session) == "1234"


def test_undo_also_takes_back_the_edits_before_it_in_its_request() -> None:
    room = Room()
    session = room.create("one two").id
    room.edit(session, 1, Insert("!"))
    view = room.edit(session, 2, Replace(0, 3, "1"), Insert("."), MoveCursor(5), Delete(2), UndoTo(1), Insert("?"))
    assert (view.revision, room.text(session)) == (3, "one two?")


@pytest.mark.parametrize("revision", [-1, 0, 3])
def test_a_revision_that_never_was_is_refused(revision: int) -> None:
    room = Room()
    session = room.create().id
    room.edit(session, 1, Insert("a"))
    with pytest.raises(InvalidArgument, match=r"edits\[1\].undo_to: .*1 is the oldest and 2 the newest"):
        room.edit(session, 2, Insert("b"), UndoTo(revision))
    assert room.text(session) == "a"


def test_the_newest_edit_can_be_undone_however_large_it_was() -> None:
    room = Room(Limits(history_bytes=1_000))
    session = room.create("x" * 100_000).id
    room.edit(session, 1, Insert("y"))
    room.edit(session, 2, Delete(100_001))
    assert room.text(session) == ""
    with pytest.raises(InvalidArgument, match="2 is the oldest"):
        room.edit(session, 3, UndoTo(1))
    room.edit(session, 3, UndoTo(2))
    assert room.text(session) == "x" * 100_000 + "y"


def test_undoing_again_and_again_does_not_grow_the_history() -> None:
    """An undo is one splice, not the list of all that it takes back: that list would double with every undo."""
    room = Room()
    session = room.create().id
    revision = 1
    for word in ("first ", "second ", "third "):
        revision = room.edit(session, revision, Insert(word)).revision
    for _ in range(60):
        revision = room.edit(session, revision, UndoTo(1)).revision
        revision = room.edit(session, revision, UndoTo(4)).revision
    assert room.text(session) == "first second third "


def _record(revision: int, text: str = "x") -> EditRecord:
    known = KnownEdit(f"edit-{revision}", bytes(16), revision, revision + 10_000, revision + 10_000)
    return EditRecord(known, (Splice(revision + 300, "", text, revision + 300, revision + 301),))


def test_the_history_forgets_the_oldest_when_it_takes_too_much_memory() -> None:
    history = History(max_records=100, max_bytes=10 * memory_of(_record(2)))
    for revision in range(2, 50):
        history.append(_record(revision))
    assert [record.revision for record in history] == list(range(40, 50))
    assert history.reaches(49) == 39


def test_the_memory_that_a_record_is_counted_as_is_what_it_takes() -> None:
    count = 2_000
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        records = [_record(revision, f"text {revision}") for revision in range(count)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    counted = sum(map(memory_of, records))
    assert 0.7 <= counted / (after - before) <= 1.5
