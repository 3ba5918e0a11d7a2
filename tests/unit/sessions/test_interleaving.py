"""Requests that wait for a slow store, in every order; some fail there, some callers go away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from service.errors import CarouselError, NotFound, Unavailable
from service.sessions.commands import CreateSession, DeleteSession, EditSession, GetSession, Insert, SessionId
from service.sessions.limits import Limits
from tests.unit.sessions.rooms import TENANT, Room
from tests.unit.sessions.waiting_store import LastingWaiting, Pause, Running, WaitingStore

SESSION = SessionId("s")
EAGER = Limits(max_awake=1, snapshot_gain=1, snapshot_every=1, snapshot_before_cursor=0)


async def _pause() -> None:
    await Pause()


def _finish(running: list[Running]) -> None:
    while not all(request.done for request in running):  # in turns: one may wait for another's write
        for request in running:
            if not request.done:
                request.step()
    for request in running:
        if request.error is not None and not isinstance(request.error, CarouselError):
            raise request.error


def _choose(data: st.DataObject, running: list[Running]) -> Running:
    waiting = [request for request in running if not request.done]
    return data.draw(st.sampled_from(waiting))


def _start(room: Room, what: int, index: int, name: SessionId = SESSION) -> Running:
    sessions = room.sessions
    choices: list[Callable[[], Running]] = [
        lambda: Running(sessions.create(TENANT, CreateSession("a", name))),
        lambda: Running(sessions.commit(TENANT, EditSession(name, 1, (Insert(f"<{index}>"),)))),
        lambda: Running(sessions.commit(TENANT, EditSession(name, 2, (Insert(f"<{index}>"),)))),
        lambda: Running(sessions.get(TENANT, GetSession(name))),
        lambda: Running(sessions.delete(TENANT, DeleteSession(name))),
        lambda: Running(sessions.write_snapshots(_pause, last=index % 2 == 0)),
    ]
    return choices[what]()


@given(st.lists(st.integers(0, 5), min_size=2, max_size=10), st.data())
def test_whatever_overlaps_the_sessions_held_are_those_of_the_store_with_a_path_each(
    requests: list[int], data: st.DataObject
) -> None:
    store = LastingWaiting(lambda: data.draw(st.integers(0, 5)) == 0)
    room = Room(replace(EAGER, max_awake=9), store)
    running: list[Running] = []
    for index, what in enumerate(requests):
        running.append(_start(room, what, index))
        running[-1].step()
        for _ in range(data.draw(st.integers(0, 3))):
            if all(request.done for request in running):
                break
            request = _choose(data, running)
            if data.draw(st.integers(0, 9)) == 0:
                request.cancel()
            else:
                request.step()
    _finish(running)

    held = room.sessions.held
    assert len(room.suggester.paths) == held
    if held:
        read = [
            Running(reader.sessions.get(TENANT, GetSession(SESSION, include_text=True)))
            for reader in (room, Room(EAGER, store))
        ]
        _finish(read)
        assert read[0].result == read[1].result is not None


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 1)), min_size=2, max_size=12), st.data())
def test_whatever_overlaps_with_rests_the_sessions_held_are_those_of_the_store_with_a_path_each(
    requests: list[tuple[int, int]], data: st.DataObject
) -> None:
    store = LastingWaiting(lambda: data.draw(st.integers(0, 5)) == 0)
    room = Room(EAGER, store)
    names = [SessionId("s"), SessionId("other")]
    for name in names:
        _finish([Running(room.sessions.create(TENANT, CreateSession("a", name)))])
    running: list[Running] = []
    for index, (what, who) in enumerate(requests):
        running.append(_start(room, what, index, names[who]))
        running[-1].step()
        while data.draw(st.booleans()) and not all(request.done for request in running):
            _choose(data, running).step()
    _finish(running)

    assert len(room.suggester.paths) == room.sessions.held
    for name in names:
        read = [
            Running(reader.sessions.get(TENANT, GetSession(name, include_text=True)))
            for reader in (room, Room(EAGER, store))
        ]
        _finish(read)
        assert read[0].result == read[1].result
    assert len(room.suggester.paths) == room.sessions.held


@given(st.integers(1, 2), st.data())
def test_a_pipelined_edit_is_in_the_text_if_it_was_acknowledged_and_is_not_if_it_was_refused(
    processes: int, data: st.DataObject
) -> None:
    store = WaitingStore(lambda: data.draw(st.integers(0, 9)) == 0)
    rooms = [Room(store=store) for _ in range(processes)]
    _finish([Running(rooms[0].sessions.create(TENANT, CreateSession("", SESSION)))])
    running: list[Running] = []
    for index in range(data.draw(st.integers(1, 12))):
        sessions = data.draw(st.sampled_from(rooms)).sessions
        base = data.draw(st.sampled_from([1 + index, 1 + index // 2]))
        command = EditSession(SESSION, base, (Insert(f"<{index}>"),), edit_id=f"id-{index}")
        running.append(Running(sessions.commit(TENANT, command)))
        running[-1].step()
        while data.draw(st.booleans()) and not all(request.done for request in running):
            _choose(data, running).step()
    _finish(running)

    final = Running(Room(store=store).sessions.get(TENANT, GetSession(SESSION, include_text=True)))
    _finish([final])
    text = getattr(final.result, "text", "")
    for index, request in enumerate(running):
        if request.error is None:
            assert text.count(f"<{index}>") == 1
        elif isinstance(request.error, Unavailable):
            assert text.count(f"<{index}>") <= 1
        else:
            assert f"<{index}>" not in text


def _committed(room: Room, *edit_ids: str) -> list[Running]:
    """A session, and an edit under way for each id, based on the one before or a repetition of it."""
    _finish([Running(room.sessions.create(TENANT, CreateSession("", SESSION)))])
    running = []
    for edit_id in edit_ids:
        base = 1 + list(dict.fromkeys(edit_ids)).index(edit_id)
        command = EditSession(SESSION, base, (Insert(edit_id),), edit_id)
        running.append(Running(room.sessions.commit(TENANT, command)))
        running[-1].step()
    return running


def test_a_retry_of_what_is_being_written_is_answered_when_that_is_written() -> None:
    room = Room(store=WaitingStore())
    first, retry = _committed(room, "a", "a")
    for _ in range(5):
        retry.step()
    assert not retry.done
    _finish([first, retry])
    assert getattr(retry.result, "replayed", False)


def test_what_depends_on_an_edit_that_cannot_be_written_fails_like_it_and_is_fine_when_it_is_sent_again() -> None:
    down = [True]
    room = Room(store=WaitingStore(lambda: down[0]))
    requests = _committed(room, "a", "a", "b")
    looked = [
        Running(room.sessions.get(TENANT, GetSession(SESSION))),
        Running(room.sessions.commit(TENANT, EditSession(SESSION, 3))),
    ]
    for request in looked:
        request.step()
    down[0] = False
    _finish([*requests, *looked])
    assert [type(request.error) for request in (*requests, *looked)] == [Unavailable] * 5
    again = [Running(room.sessions.commit(TENANT, EditSession(SESSION, 1, (Insert("a"),), "a")))]
    _finish(again)
    assert again[0].error is None


def test_a_read_that_a_delete_overtakes_does_not_bring_the_session_back() -> None:
    store = WaitingStore()
    _finish([Running(Room(store=store).sessions.create(TENANT, CreateSession("a", SESSION)))])
    room = Room(store=store)
    read = Running(room.sessions.get(TENANT, GetSession(SESSION)))
    read.step()
    _finish([Running(room.sessions.delete(TENANT, DeleteSession(SESSION)))])
    _finish([read])
    assert isinstance(read.error, NotFound)
    assert room.sessions.held == 0


def test_a_create_that_a_delete_overtakes_is_told_to_try_again() -> None:
    room = Room(store=WaitingStore())
    created = Running(room.sessions.create(TENANT, CreateSession("a", SESSION)))
    for _ in ("it looks whether the session exists", "it has created it, and waits to hear so"):
        created.step()
    _finish([Running(room.sessions.delete(TENANT, DeleteSession(SESSION)))])
    _finish([created])
    assert isinstance(created.error, Unavailable)
    assert room.sessions.held == 0


def test_a_delete_whose_caller_goes_away_still_takes_the_session_out_of_memory() -> None:
    room = Room(store=WaitingStore())
    _finish([Running(room.sessions.create(TENANT, CreateSession("a", SESSION)))])
    deleted = Running(room.sessions.delete(TENANT, DeleteSession(SESSION)))
    deleted.step()
    deleted.cancel()
    assert room.sessions.held == 0
