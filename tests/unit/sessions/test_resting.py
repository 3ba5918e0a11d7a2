"""Sessions at rest: what nobody asks for takes little memory, and goes on as if it had never rested."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.requests import PathId, SuggestSpec
from service.errors import InvalidArgument, NotFound, RevisionConflict
from service.sessions.commands import (
    Accept,
    CreateSession,
    EditSession,
    GetSession,
    Insert,
    MoveCursor,
    SessionId,
    Suggested,
    UndoTo,
)
from service.sessions.edits import PlainEdit
from service.sessions.limits import Limits
from service.sessions.records import Fence, SessionKey
from service.sessions.resting import Resting, pack, unpack
from service.sessions.stores.memory import MemoryStore
from tests.unit.sessions.rooms import TENANT, Room
from tests.unit.sessions.strategies import edits, texts
from tests.unit.sessions.waiting_store import Running, WaitingStore


class RecordingStore(MemoryStore):
    """Says who was put to rest."""

    def __init__(self) -> None:
        super().__init__()
        self.rested: list[SessionId] = []

    def rest(self, key: SessionKey) -> None:
        super().rest(key)
        self.rested.append(key.id)


def _room(max_awake: int = 1) -> tuple[Room, RecordingStore]:
    store = RecordingStore()
    return Room(Limits(max_awake=max_awake), store), store


def _typed(room: Room, session: SessionId, edits_: int, text: str = "x") -> None:
    for revision in range(1, edits_ + 1):
        room.edit(session, revision, Insert(text), edit_id=f"{session}-{revision}")


def test_those_rest_who_were_not_asked_for_the_longest_time() -> None:
    room, store = _room(max_awake=2)
    one, two = room.create("1", "one").id, room.create("2", "two").id
    room.get(one)
    room.create("3", "three")
    assert store.rested == [two]
    assert room.text(two) == "2"
    assert store.rested == [two, one]
    assert room.sessions.held == 3


def test_who_rested_is_told_of_in_full_only_where_it_has_changed() -> None:
    room, store = _room()
    session = room.create("été and 😀", "s").id
    room.create("", "other")
    room.edit(session, 1, Insert("!"))
    assert store.rested == ["s", "other"]
    last = room.suggester.advances[-1]
    assert (last.text, last.kept) == ("été and 😀!".encode(), len("été and 😀".encode()))


def test_what_was_suggested_before_the_rest_can_be_accepted_after_it() -> None:
    room, store = _room()
    view = room.create("word", "s", suggest=SuggestSpec(2))
    room.create("", "other")
    assert store.rested == ["s"]
    second = list(view.suggestions or ())[1]
    assert room.edit(view.id, 1, Accept(second.id)).revision == 2
    assert room.text(view.id) == "word1word"


def test_suggestions_that_come_while_it_rests_can_be_accepted_too() -> None:
    room, store = _room()
    session = room.create("word", "s").id
    committed = room.commit(session, 1, Insert(" more"), suggest=SuggestSpec(1))
    room.create("", "other")
    assert store.rested == ["s"]
    collected = Running(committed.suggestions())
    collected.step()
    assert isinstance(collected.result, Suggested)
    (found,) = collected.result.suggestions
    assert found.text == "0more"
    assert room.edit(session, 2, Accept(found.id)).cursor == len("word more0more")


def test_suggestions_for_a_text_that_changed_before_it_rested_are_superseded() -> None:
    room, _ = _room()
    session = room.create("word", "s").id
    committed = room.commit(session, 1, Insert("a"), suggest=SuggestSpec(1))
    room.edit(session, 2, Insert("b"))
    room.create("", "other")
    collected = Running(committed.suggestions())
    collected.step()
    assert getattr(collected.result, "finish_reason", None) == "superseded"


def test_retries_conflicts_and_undo_are_answered_after_a_rest_as_before() -> None:
    room, store = _room()
    session = room.create("", "s").id
    _typed(room, session, 10)
    other = room.create("", "other").id
    assert store.rested == ["s"]
    repeated = room.commit(session, 3, Insert("x"), edit_id="s-3")
    assert (repeated.replayed, repeated.view.revision, repeated.view.length) == (True, 4, 3)
    room.get(other)
    with pytest.raises(RevisionConflict, match="was used for another request"):
        room.commit(session, 11, Insert("y"), edit_id="s-3")
    room.get(other)
    room.edit(session, 11, UndoTo(4))
    assert room.text(session) == "xxx"


def _finish(running: Running) -> None:
    while not running.done:
        running.step()
    assert running.error is None


def test_no_session_rests_while_a_write_of_it_is_under_way() -> None:
    sessions = Room(Limits(max_awake=1), WaitingStore()).sessions
    other, name = (CreateSession("", SessionId(name)) for name in ("other", "s"))
    _finish(Running(sessions.create(TENANT, other)))
    _finish(Running(sessions.create(TENANT, name)))
    commit = Running(sessions.commit(TENANT, EditSession(SessionId("s"), 1, (Insert("a"),))))
    commit.step()
    _finish(Running(sessions.get(TENANT, GetSession(SessionId("other")))))
    pipelined = Running(sessions.commit(TENANT, EditSession(SessionId("s"), 2, (Insert("b"),))))
    pipelined.step()
    _finish(pipelined)
    assert pipelined.steps == 2  # its one wait was for its own write: it did not have to be read from the store
    _finish(commit)


def test_who_was_edited_elsewhere_while_it_rested_is_read_anew_and_told_anew() -> None:
    room, store = _room()
    session = room.create("abc", "s").id
    room.create("", "other")
    Room(store=store).edit(session, 1, MoveCursor(0), Insert("z"))
    assert room.text(session) == "zabc"
    room.edit(session, 2, Insert("y"))
    last = room.suggester.advances[-1]
    assert (last.text, last.kept) == (b"zy", 0)
    assert len(room.suggester.paths) == room.sessions.held == 2


def test_who_was_deleted_elsewhere_while_it_rested_is_gone_with_its_path() -> None:
    room, store = _room()
    session = room.create("abc", "s").id
    room.create("", "other")
    Room(store=store).delete(session)
    with pytest.raises(NotFound):
        room.get(session)
    assert len(room.suggester.paths) == room.sessions.held == 1
    room.create("new", "s", model="second")
    assert room.text(session) == "new"


def test_who_rests_is_deleted_and_closed_like_anybody() -> None:
    room, _ = _room()
    session = room.create("abc", "s").id
    room.create("", "other")
    room.create("", "third")
    room.delete(session)
    assert len(room.suggester.paths) == 2
    room.close()
    assert not room.suggester.paths


def test_putting_long_histories_to_rest_is_paid_for_by_many_requests() -> None:
    room, store = _room()
    one, other = room.create("", "one").id, room.create("", "other").id
    for session in (one, other):
        _typed(room, session, 100)
    store.rested.clear()
    for _ in range(20):  # they take turns: every request finds one session too many awake
        room.get(one)
        room.get(other)
    assert 4 <= len(store.rested) <= 8


@given(texts, st.lists(st.lists(edits(), min_size=1, max_size=3), max_size=8), st.integers(1, 5))
def test_what_a_store_packs_is_what_it_gives_back(text: str, requests: list[list[PlainEdit]], every: int) -> None:
    room = Room(Limits(checkpoint_every=every, history_revisions=3, known_edits=4))
    session = room.create(text, "s").id
    revision = 1
    for request in requests:
        try:
            revision = room.edit(session, revision, *request).revision
        except InvalidArgument:
            continue
    key = SessionKey(TENANT, session)
    load = Running(room.store.load(key))
    load.step()
    room.store.rest(key)
    again = Running(room.store.load(key))
    again.step()
    assert again.result == load.result is not None


def test_what_is_held_of_a_session_at_rest_is_given_back() -> None:
    resting = Resting(PathId(2**40), "model", Fence(2**62, 7), 3, ("é", "b"))
    assert unpack(pack(resting)) == resting


def test_a_session_at_rest_takes_little_memory_beside_its_text() -> None:
    room = Room(Limits(max_awake=1))
    room.create("warm", "warm", suggest=SuggestSpec(1))
    count = 500
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for index in range(count):
            room.create(f"text {index}", suggest=SuggestSpec(1))
            room.suggester.advances.clear()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / count <= 800  # with a path of the fake engine; awake, it would be more than twice that
