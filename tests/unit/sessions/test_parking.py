"""Sessions that this process forgets because a store keeps them, and those that it must not forget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.requests import SuggestSpec
from service.errors import CarouselError, InvalidArgument, Overloaded, RevisionConflict
from service.sessions.commands import CreateSession, Insert, ListSessions, SessionId, Tenant
from service.sessions.keeping import Keeping
from service.sessions.limits import Limits
from service.sessions.records import SessionKey
from service.sessions.stores.memory import MemoryStore
from service.sessions.stores.unstored import UnstoredApart
from tests.unit.sessions.rooms import TENANT, Room, now


class LastingMemory(MemoryStore):
    """Stands for a store that survives: it may be asked again for whatever it was given."""

    def durable(self, key: SessionKey) -> bool:
        return True


def _room(max_sessions: int, max_awake: int = 1, most_unstored: int = 2) -> Room:
    limits = Limits(max_sessions=max_sessions, max_awake=max_awake)
    return Room(limits, UnstoredApart(LastingMemory(), most_unstored=most_unstored))


def _create_unstored(room: Room, name: str, text: str = "") -> bool | None:
    view = now(room.sessions.create(TENANT, CreateSession(text, SessionId(name), store_text=False)))
    return view.stored


def test_where_a_store_keeps_them_more_sessions_live_than_may_be_held() -> None:
    room = _room(3)
    names = [f"s{index}" for index in range(20)]
    for name in names:
        assert room.create(name, name).stored
        assert room.sessions.held <= 3
    for name in names:
        assert room.edit(SessionId(name), 1, Insert("!"), edit_id=name).revision == 2
        assert len(room.suggester.paths) == room.sessions.held <= 3
    for name in names:
        assert room.text(SessionId(name)) == f"{name}!"
        assert room.commit(SessionId(name), 1, Insert("!"), edit_id=name).replayed


def test_the_one_that_was_not_asked_for_the_longest_time_is_parked() -> None:
    room = _room(3)
    for name in "abc":
        room.create(name, name)
    room.get(SessionId("a"))
    room.create("d", "d")
    assert sorted(room.told()) == ["a", "c", "d"]


def test_who_holds_most_gives_way_to_a_stranger_and_not_the_other_way_round() -> None:
    room = _room(10)
    small = Tenant("small")
    room.create("small", "s", tenant=small)
    for index in range(100):
        room.create("large", f"s{index}")
    assert room.told().count("small") == 1


def test_without_any_at_rest_one_that_is_awake_is_parked() -> None:
    room = _room(3, max_awake=9)
    for name in "abcd":
        room.create(name, name)
    assert sorted(room.told()) == ["b", "c", "d"]


def test_without_a_store_that_keeps_them_new_sessions_are_refused_and_old_ones_served() -> None:
    room = Room(Limits(max_sessions=2, max_awake=1))
    assert room.create("a", "a").stored is False
    room.create("b", "b")
    with pytest.raises(Overloaded, match="holds its 2 sessions"):
        room.create("c", "c")
    assert room.text(SessionId("a")) == "a"


def test_of_a_session_that_is_not_to_be_stored_nothing_reaches_the_store_and_it_is_never_parked() -> None:
    lasting = LastingMemory()
    room = Room(Limits(max_sessions=3, max_awake=1), UnstoredApart(lasting, most_unstored=2))
    assert _create_unstored(room, "secret", "pass") is False
    room.edit(SessionId("secret"), 1, Insert("word"))
    for index in range(10):
        room.create("", f"s{index}")
    assert room.text(SessionId("secret")) == "password"
    assert now(lasting.load(SessionKey(TENANT, SessionId("secret")))) is None
    page = now(room.sessions.page(TENANT, ListSessions(limit=4)))
    assert [one.id for one in page.sessions] == ["s0", "s1", "s2", "s3"]
    assert page.after == "s3"
    assert [one.id for one in now(room.sessions.page(TENANT, ListSessions(SessionId("s8")))).sessions] == [
        "s9",
        "secret",
    ]


def test_only_so_many_sessions_are_held_that_cannot_be_parked() -> None:
    room = _room(3)
    for name in "ab":
        _create_unstored(room, name)
    with pytest.raises(Overloaded, match="2 sessions of which nothing is written"):
        _create_unstored(room, "c")
    room.delete(SessionId("a"))
    _create_unstored(room, "c")
    assert room.create("d", "d").stored


def test_whether_a_session_is_stored_is_part_of_what_it_was_created_from() -> None:
    room = _room(3)
    room.create("text", "s")
    with pytest.raises(RevisionConflict, match="store_text"):
        _create_unstored(room, "s", "text")
    _create_unstored(room, "secret")
    with pytest.raises(RevisionConflict, match="store_text"):
        room.create("", "secret")
    assert _create_unstored(room, "secret") is False


@pytest.mark.parametrize("limit", [0, 1001])
def test_a_list_of_no_or_too_many_is_refused(limit: int) -> None:
    with pytest.raises(InvalidArgument, match="limit"):
        now(_room(1).sessions.page(TENANT, ListSessions(limit=limit)))


def test_who_is_swept_is_held_no_longer() -> None:
    clock = [0.0]
    room = Room(Limits(max_awake=1), MemoryStore(Keeping(retention_s=10), lambda: clock[0]))
    for name in "abc":
        room.create(name, name)
    clock[0] = 9
    room.edit(SessionId("b"), 1, Insert("!"))
    clock[0] = 15
    while now(room.sessions.sweep()):
        ...
    now(room.sessions.sweep())
    assert room.told() == ["b!"]
    assert room.sessions.held == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.booleans()), max_size=60), st.integers(1, 3))
def test_whatever_is_parked_every_session_goes_on_as_if_it_had_been_held(
    requests: list[tuple[int, int, bool]], max_sessions: int
) -> None:
    room, texts = _room(max_sessions), dict[str, str]()
    roomy, lists = Room(), dict[str, int]()
    for who, tenant_number, suggests in requests:
        tenant, name = Tenant(f"t{tenant_number}"), f"s{who}"
        key = f"{tenant}/{name}"
        for one in (room, roomy):
            if key not in texts:
                one.create("x", name, tenant=tenant)
        revision = lists.setdefault(key, 1)
        texts.setdefault(key, "x")
        answers = [
            one.edit(
                SessionId(name),
                revision,
                Insert(f"{who}"),
                edit_id=f"{revision}",
                suggest=SuggestSpec(1) if suggests else None,
                tenant=tenant,
            )
            for one in (room, roomy)
        ]
        assert answers[0] == answers[1]
        lists[key] = revision + 1
        assert len(room.suggester.paths) == room.sessions.held <= max_sessions


def test_the_errors_of_a_full_server_are_told_as_such() -> None:
    room = _room(1, most_unstored=1)
    _create_unstored(room, "a")
    with pytest.raises(CarouselError) as refused:
        room.create("b", "b")
    assert isinstance(refused.value, Overloaded)
