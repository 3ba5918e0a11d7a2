"""Creating, reading, deleting and bringing back sessions."""

from __future__ import annotations

import pytest

from service.engine.requests import SuggestSpec
from service.errors import Fenced, NotFound, RevisionConflict
from service.sessions.commands import Delete, Insert, MoveCursor, Units
from service.sessions.limits import Limits
from service.sessions.records import SessionKey
from tests.unit.sessions.rooms import TENANT, Room, now


def test_a_new_session_is_at_revision_one_with_its_cursor_at_the_end() -> None:
    room = Room()
    view = room.create("a😀", units=Units.UTF16)
    assert (view.revision, view.length, view.cursor, view.text) == (1, 3, 3, None)
    assert view.model == room.suggester.identity
    assert view.suggestions is None


@pytest.mark.parametrize(
    ("units", "length", "cursor"), [(Units.CODEPOINT, 3, 2), (Units.UTF16, 4, 3), (Units.UTF8, 7, 5)]
)
def test_a_session_is_read_in_the_units_of_the_request_with_its_text_if_asked(
    units: Units, length: int, cursor: int
) -> None:
    room = Room()
    session = room.create("a😀é").id
    room.edit(session, 1, MoveCursor(2))
    view = room.get(session, units=units)
    assert (view.length, view.cursor, view.text) == (length, cursor, "a😀é")
    assert room.get(session, text=False).text is None


def test_the_first_model_is_the_default_and_others_are_named() -> None:
    room = Room()
    assert [model.name for model in room.sessions.models] == ["first", "second"]
    assert room.create().model.name == "first"
    view = room.create(model="second")
    assert view.model.name == "second"
    room.edit(view.id, 1, Insert("x"))
    assert [advance.text for advance in room.other_suggester.advances] == [b"", b"x"]


def test_creating_again_with_the_same_id_text_and_model_answers_the_session_as_it_is() -> None:
    room = Room()
    room.create("text", "mine")
    room.edit(room.newest, 1, Insert("!"))
    again = room.create("text", "mine", model="first", suggest=SuggestSpec(1))
    assert (again.id, again.revision, again.length) == ("mine", 2, 5)
    assert [found.text for found in again.suggestions or ()] == ["0text!"]
    assert room.sessions.held == 1


@pytest.mark.parametrize(("text", "model"), [("other", None), ("text", "second")])
def test_creating_again_from_something_else_is_a_conflict_with_the_current_revision(
    text: str, model: str | None
) -> None:
    room = Room()
    room.create("text", "mine")
    room.edit(room.newest, 1, Insert("!"))
    with pytest.raises(RevisionConflict, match="'mine' exists and was created with another text, model") as refused:
        room.create(text, "mine", model=model)
    assert refused.value.current == 2


def test_a_deleted_session_is_gone_and_its_path_given_up() -> None:
    room = Room()
    session = room.create("text", "mine").id
    room.delete(session)
    with pytest.raises(NotFound):
        room.get(session)
    assert room.suggester.paths == {}
    assert room.sessions.held == 0
    assert room.create("anew", "mine").revision == 1


def test_closing_gives_up_every_path() -> None:
    room = Room()
    room.create("a")
    room.create("b", model="second")
    room.close()
    assert room.suggester.paths == room.other_suggester.paths == {}


def test_a_session_comes_back_from_the_store_as_its_last_commit_left_it() -> None:
    room = Room(Limits(checkpoint_every=3))
    session = room.create("start", "mine").id
    for revision in range(1, 9):
        room.edit(session, revision, MoveCursor(2), Insert("é"), edit_id=f"id-{revision}")
    before = room.get(session)

    revived = Room(store=room.store)
    assert revived.get(session) == before
    assert revived.commit(session, 5, MoveCursor(2), Insert("é"), edit_id="id-5").replayed
    view = revived.edit(session, 9, Delete(1), suggest=SuggestSpec(1))
    assert view.revision == 10
    assert revived.told() == ["st"]


@pytest.mark.parametrize("limits", [Limits(checkpoint_every=4), Limits(history_bytes=2_000)])
def test_the_store_gets_a_checkpoint_before_the_records_after_the_last_one_are_many_or_large(limits: Limits) -> None:
    room = Room(limits)
    session = room.create().id
    for revision in range(1, 20):
        room.edit(session, revision, Insert("x" * 100))
        stored = now(room.store.load(SessionKey(TENANT, session)))
        assert stored is not None
        assert len(stored.records) <= 4
        assert stored.checkpoint.revision + len(stored.records) == revision + 1


def test_a_writer_that_was_overtaken_is_fenced_and_then_reads_the_truth() -> None:
    room = Room()
    session = room.create("a", "mine").id
    elsewhere = Room(store=room.store)
    elsewhere.edit(session, 1, Insert("b"))
    with pytest.raises(Fenced):
        room.edit(session, 1, Insert("c"))
    assert room.text(session) == "ab"
    assert room.edit(session, 2, Insert("c")).revision == 3
    assert room.sessions.held == 1


def test_a_writer_of_a_session_that_was_deleted_and_made_anew_is_fenced() -> None:
    room = Room()
    session = room.create("a", "mine").id
    elsewhere = Room(store=room.store)
    elsewhere.create("skip an incarnation")
    elsewhere.delete(elsewhere.create("a", "mine").id)
    elsewhere.create("a", "mine")
    with pytest.raises(Fenced):
        room.edit(session, 1, Insert("c"))
    assert room.text(session) == "a"


def test_no_model_at_all_is_a_mistake_of_the_program() -> None:
    room = Room()
    with pytest.raises(ValueError, match="at least one model"):
        type(room.sessions)({}, room.store, new_id=str, new_incarnation=int)


def test_a_stored_session_whose_model_is_no_longer_served_says_so() -> None:
    room = Room()
    room.create("a", "mine", model="second")
    without = Room(store=room.store, models=1)
    with pytest.raises(NotFound, match="no model 'second'"):
        without.get(room.newest)
