"""Forks: a second session from one text, that knows its past and nothing of its future."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidArgument, NotFound, RevisionConflict
from service.sessions.commands import (
    DeleteSession,
    Edit,
    ForkSession,
    Insert,
    MoveCursor,
    SessionId,
    SessionView,
    UndoTo,
)
from tests.unit.sessions.rooms import TENANT, Room, now

SOURCE = SessionId("source")


def fork(room: Room, id_: str | None = None, revision: int | None = None) -> SessionView:
    chosen = None if id_ is None else SessionId(id_)
    return now(room.sessions.fork(TENANT, ForkSession(SOURCE, chosen, revision)))


def grown(room: Room) -> Room:
    """A session at revision 4 that was typed into and whose cursor was moved."""
    room.create("a", "source", model="second")
    edits: list[Edit] = [Insert("b"), Insert("é"), MoveCursor(1)]
    for revision, edit in enumerate(edits, start=1):
        room.edit(SOURCE, revision, edit, edit_id=f"edit {revision}")
    return room


def test_a_fork_is_the_session_as_it_is_and_goes_its_own_way() -> None:
    room = grown(Room())
    forked = fork(room)
    assert (forked.revision, forked.length, forked.cursor, forked.model.name) == (4, 3, 1, "second")
    room.edit(forked.id, 4, Insert("X"))
    room.edit(SOURCE, 4, Insert("Y"))
    assert (room.text(forked.id), room.text(SOURCE)) == ("aXbé", "aYbé")


def test_a_fork_undoes_what_was_typed_before_it_was_made() -> None:
    forked = fork(room := grown(Room()))
    room.edit(forked.id, 4, UndoTo(2))
    assert room.text(forked.id) == "ab"


def test_an_earlier_revision_may_be_forked_and_undone_further() -> None:
    room = grown(Room())
    forked = fork(room, revision=3)
    assert (forked.revision, forked.length, forked.cursor) == (3, 3, 3)
    room.edit(forked.id, 3, UndoTo(1))
    assert room.text(forked.id) == "a"
    for revision in (0, 5):
        with pytest.raises(InvalidArgument, match="revision: revision"):
            fork(room, revision=revision)


@pytest.mark.parametrize("restart", [False, True])
def test_the_same_fork_is_made_once_whatever_happened_to_either_since(restart: bool) -> None:
    room = grown(Room())
    fork(room, "copy")
    room.edit(SessionId("copy"), 4, Insert("X"))
    room.edit(SOURCE, 4, Insert("Y"))
    if restart:
        room = Room(store=room.store)
    assert fork(room, "copy").revision == 5
    now(room.sessions.delete(TENANT, DeleteSession(SOURCE)))
    assert fork(room, "copy").revision == 5
    for other in (ForkSession(SOURCE, SessionId("copy"), 4), ForkSession(SessionId("another"), SessionId("copy"))):
        with pytest.raises(RevisionConflict):
            now(room.sessions.fork(TENANT, other))


def test_an_id_that_is_taken_is_not_taken_over() -> None:
    room = grown(Room())
    room.create("mine", "taken")
    for taken in ("taken", "source"):
        with pytest.raises(RevisionConflict, match="is no fork"):
            fork(room, taken)
    with pytest.raises(InvalidArgument, match="id: "):
        fork(room, "no id!")
    with pytest.raises(NotFound):
        now(room.sessions.fork(TENANT, ForkSession(SessionId("nobody"))))


def test_an_edit_id_means_an_edit_of_one_session() -> None:
    room = grown(Room())
    forked = fork(room)
    assert room.edit(forked.id, 4, Insert("X"), edit_id="edit 1").revision == 5


def test_a_fork_stands_where_its_source_stands_and_the_engine_is_told_what_differs() -> None:
    room = grown(Room())
    before = set(room.other_suggester.paths)
    forked = fork(room)
    (path,) = set(room.other_suggester.paths) - before
    assert (room.other_suggester.advances[-1].path, room.other_suggester.advances[-1].kept) == (path, 1)
    fork(room, revision=3)  # the cursor is at the end there
    assert room.other_suggester.advances[-1].text == "abé".encode()
    assert room.other_suggester.advances[-1].kept == 1
    room.edit(forked.id, 4, Insert("é"))
    assert room.other_suggester.advances[-1].text == "aé".encode()
    assert len(room.other_suggester.paths) == 3  # of the source and two forks
    now(room.sessions.delete(TENANT, DeleteSession(forked.id)))
    assert len(room.other_suggester.paths) == 2


@given(st.lists(st.tuples(st.integers(0, 9), st.text("aé\U0001f600", max_size=3)), max_size=6), st.data())
def test_what_a_fork_tells_the_engine_is_true_whatever_it_was_told_before(
    typed: list[tuple[int, str]], data: st.DataObject
) -> None:
    """The fake refuses a `kept` that is not."""
    room = Room()
    view = room.create("é", "source")
    for position, text in typed:
        view = room.edit(SOURCE, view.revision, MoveCursor(min(position, view.length)), Insert(text))
    forked = fork(room, revision=data.draw(st.integers(1, view.revision)))
    for position, text in typed:
        forked = room.edit(forked.id, forked.revision, MoveCursor(min(position, forked.length)), Insert(text))
        view = room.edit(SOURCE, view.revision, Insert(text))
