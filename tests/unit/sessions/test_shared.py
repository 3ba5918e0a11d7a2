"""Several processes that serve the same sessions from one store, without anybody saying which of them serves whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Fenced, NotFound
from service.sessions.commands import CreateSession, EditSession, GetSession, Insert, SessionId, SetText
from service.sessions.records import SessionKey
from service.sessions.stores.memory import MemoryStore
from tests.unit.sessions.rooms import TENANT, Room, now
from tests.unit.sessions.waiting_store import Running, WaitingStore

SESSION = SessionId("s")


class SharedMemory(MemoryStore):
    """Stands for a store that several processes write."""

    @property
    def shared(self) -> bool:
        return True

    def durable(self, key: SessionKey) -> bool:
        return True


class SharedWaiting(WaitingStore):
    """The same, and it takes its time."""

    @property
    def shared(self) -> bool:
        return True


def _rooms(count: int = 2) -> list[Room]:
    store = SharedMemory()
    rooms = [Room(store=store) for _ in range(count)]
    rooms[0].create("", "s")
    return rooms


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["edit", "retry", "get", "set", "suggest"])), max_size=40))
def test_whoever_is_asked_next_goes_on_from_what_the_last_one_answered(asked: list[tuple[int, str]]) -> None:
    rooms = _rooms(3)
    revision, text, last = 1, "", ""
    for number, (who, what) in enumerate(asked):
        room = rooms[who]
        if what == "edit":
            last = f"<{number}>"
            answer = room.edit(SESSION, revision, Insert(last), edit_id=last)
            revision, text = revision + 1, text + last
            assert (answer.revision, answer.length) == (revision, len(text))
        elif what == "retry" and last and text.endswith(last):
            again = room.commit(SESSION, revision - 1, Insert(last), edit_id=last)
            assert (again.replayed, again.view.revision) == (True, revision)
        elif what == "set":
            text, last = f"set {number}", ""
            answer = now(room.sessions.set_text(TENANT, SetText(SESSION, revision, text)))
            revision += 1
            assert answer.revision == revision
        elif what == "suggest":
            assert room.commit(SESSION, revision).view.length == len(text)
        else:
            view = room.get(SESSION)
            assert (view.revision, view.text) == (revision, text)


def test_of_two_who_edit_the_same_revision_one_is_refused() -> None:
    one, other = _rooms()
    other.get(SESSION)
    one.edit(SESSION, 1, Insert("a"), edit_id="a")
    with pytest.raises(Fenced):
        other.edit(SESSION, 1, Insert("b"), edit_id="b")
    assert one.text(SESSION) == other.text(SESSION) == "a"


def test_who_was_deleted_at_one_is_gone_at_the_other_and_a_later_life_is_another() -> None:
    one, other = _rooms()
    other.edit(SESSION, 1, Insert("old"))
    one.delete(SESSION)
    with pytest.raises(NotFound):
        other.edit(SESSION, 2, Insert("!"))
    with pytest.raises(NotFound):
        other.get(SESSION)
    one.create("new", "s")
    assert other.text(SESSION) == "new"
    other.delete(SESSION)
    with pytest.raises(NotFound):
        one.get(SESSION)


def test_a_process_that_slept_cannot_write_what_it_believed_to_be_next() -> None:
    sleeper, owner = _rooms()
    sleeper.get(SESSION)
    owner.edit(SESSION, 1, Insert("owner"), edit_id="e1")
    with pytest.raises(Fenced):
        sleeper.edit(SESSION, 1, Insert("sleeper"), edit_id="e2")
    assert owner.text(SESSION) == "owner"
    assert sleeper.edit(SESSION, 2, Insert("!"), edit_id="e3").revision == 3


def _finish(running: Running) -> None:
    while not running.done:
        running.step()
    assert running.error is None


@given(st.data())
def test_edits_that_two_processes_are_sent_at_once_are_made_once_or_not_at_all(data: st.DataObject) -> None:
    store = SharedWaiting()
    rooms = [Room(store=store) for _ in range(2)]
    _finish(Running(rooms[0].sessions.create(TENANT, CreateSession("", SESSION))))
    running = []
    for index in range(data.draw(st.integers(1, 10))):
        sessions = data.draw(st.sampled_from(rooms)).sessions
        base = data.draw(st.sampled_from([1 + index, 1 + index // 2]))
        command = EditSession(SESSION, base, (Insert(f"<{index}>"),), edit_id=f"id-{data.draw(st.integers(0, index))}")
        running.append((index, Running(sessions.commit(TENANT, command))))
        running[-1][1].step()
        while data.draw(st.booleans()) and not all(one.done for _, one in running):
            data.draw(st.sampled_from([one for _, one in running if not one.done])).step()
    while not all(one.done for _, one in running):
        for _, one in running:
            if not one.done:
                one.step()
    read = Running(Room(store=store).sessions.get(TENANT, GetSession(SESSION, include_text=True)))
    _finish(read)
    text = getattr(read.result, "text", "")
    for index, one in running:
        assert text.count(f"<{index}>") == (1 if one.error is None else 0), one.error


def test_who_reads_while_an_edit_is_on_its_way_that_is_fenced_then_is_shown_what_there_is() -> None:
    store = SharedWaiting()
    rooms = [Room(store=store) for _ in range(2)]
    _finish(Running(rooms[0].sessions.create(TENANT, CreateSession("", SESSION))))
    _finish(Running(rooms[1].sessions.get(TENANT, GetSession(SESSION))))
    _finish(Running(rooms[0].sessions.commit(TENANT, EditSession(SESSION, 1, (Insert("a"),), edit_id="e1"))))
    refused = Running(rooms[1].sessions.commit(TENANT, EditSession(SESSION, 1, (Insert("b"),), edit_id="e2")))
    refused.step()
    read = Running(rooms[1].sessions.get(TENANT, GetSession(SESSION, include_text=True)))
    read.step()
    while not refused.done:
        refused.step()
    assert isinstance(refused.error, Fenced)
    _finish(read)
    assert (getattr(read.result, "revision", 0), getattr(read.result, "text", "")) == (2, "a")
