"""What every store must do. A new store joins by a line in `STORES`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from service.errors import Fenced
from service.sessions.commands import SessionId, Tenant
from service.sessions.ports import Store
from service.sessions.records import Checkpoint, EditRecord, Fence, KnownEdit, SessionKey, Splice, StoredSession
from service.sessions.stores.memory import MemoryStore

STORES: dict[str, Callable[[], Store]] = {"memory": MemoryStore}

KEY = SessionKey(Tenant("tenant"), SessionId("session"))


@pytest_asyncio.fixture(params=list(STORES))
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    made = STORES[request.param]()
    yield made
    await made.close()


def _checkpoint(incarnation: int = 7, revision: int = 1, text: str = "a😀") -> Checkpoint:
    return Checkpoint(incarnation, revision, "model", b"creation", text, len(text))


def _record(revision: int) -> EditRecord:
    known = KnownEdit(f"id-{revision}", bytes([revision]) * 16, revision, revision, revision)
    return EditRecord(known, (Splice(0, "", "é", 0, 1), Splice(1, "", "", 1, 0)))


async def test_a_created_session_is_loaded_as_it_was_created(store: Store) -> None:
    assert await store.load(KEY) is None
    assert await store.create(KEY, _checkpoint())
    assert await store.load(KEY) == StoredSession(_checkpoint())


async def test_a_key_that_is_taken_cannot_be_created_again(store: Store) -> None:
    await store.create(KEY, _checkpoint())
    assert not await store.create(KEY, _checkpoint(incarnation=8, text="other"))
    assert await store.load(KEY) == StoredSession(_checkpoint())


async def test_the_same_id_of_two_tenants_is_two_sessions(store: Store) -> None:
    other = SessionKey(Tenant("other"), KEY.id)
    assert await store.create(KEY, _checkpoint())
    assert await store.create(other, _checkpoint(text="other"))
    assert await store.load(other) == StoredSession(_checkpoint(text="other"))


async def test_records_are_loaded_in_the_order_in_which_they_were_appended(store: Store) -> None:
    await store.create(KEY, _checkpoint())
    for revision in (2, 3, 4):
        await store.append(KEY, Fence(7, revision - 1), _record(revision))
    assert await store.load(KEY) == StoredSession(_checkpoint(), (_record(2), _record(3), _record(4)))


async def test_a_checkpoint_replaces_everything_before_it(store: Store) -> None:
    await store.create(KEY, _checkpoint())
    await store.append(KEY, Fence(7, 1), _record(2))
    newer = Checkpoint(7, 3, "model", b"creation", "éé", 1, (_record(2).known, _record(3).known), (_record(3),))
    await store.append(KEY, Fence(7, 2), _record(3), newer)
    assert await store.load(KEY) == StoredSession(newer)
    await store.append(KEY, Fence(7, 3), _record(4))
    assert await store.load(KEY) == StoredSession(newer, (_record(4),))


async def test_what_nobody_asks_for_is_loaded_and_written_as_ever(store: Store) -> None:
    store.rest(KEY)
    assert await store.load(KEY) is None
    newer = Checkpoint(7, 3, "model", b"creation", "éé", 1, (_record(2).known, _record(3).known), (_record(3),))
    await store.create(KEY, _checkpoint())
    store.rest(KEY)
    await store.append(KEY, Fence(7, 1), _record(2))
    store.rest(KEY)
    await store.append(KEY, Fence(7, 2), _record(3), newer)
    store.rest(KEY)
    await store.append(KEY, Fence(7, 3), _record(4))
    store.rest(KEY)
    assert not await store.create(KEY, _checkpoint(incarnation=8))
    with pytest.raises(Fenced):
        await store.append(KEY, Fence(7, 3), _record(4))
    store.rest(KEY)
    assert await store.load(KEY) == StoredSession(newer, (_record(4),))
    store.rest(KEY)
    await store.delete(KEY, 7)
    assert await store.load(KEY) is None


@pytest.mark.parametrize("fence", [Fence(7, 1), Fence(7, 3), Fence(8, 2), Fence(6, 1)])
async def test_a_write_based_on_anything_but_the_newest_is_fenced_and_changes_nothing(
    store: Store, fence: Fence
) -> None:
    await store.create(KEY, _checkpoint())
    await store.append(KEY, Fence(7, 1), _record(2))
    kept = await store.load(KEY)
    with pytest.raises(Fenced):
        await store.append(KEY, fence, _record(3), _checkpoint(revision=3))
    assert await store.load(KEY) == kept


async def test_a_write_to_a_session_that_is_gone_is_fenced(store: Store) -> None:
    with pytest.raises(Fenced):
        await store.append(KEY, Fence(7, 1), _record(2))
    assert await store.load(KEY) is None


async def test_a_deleted_session_is_gone_and_its_writers_are_kept_out_of_the_next_one(store: Store) -> None:
    await store.create(KEY, _checkpoint())
    await store.delete(KEY, 7)
    assert await store.load(KEY) is None
    assert await store.create(KEY, _checkpoint(incarnation=8))
    with pytest.raises(Fenced):
        await store.append(KEY, Fence(7, 1), _record(2))
    assert await store.load(KEY) == StoredSession(_checkpoint(incarnation=8))


async def test_deleting_another_incarnation_or_nothing_does_nothing(store: Store) -> None:
    await store.delete(KEY, 7)
    await store.create(KEY, _checkpoint())
    await store.delete(KEY, 6)
    assert await store.load(KEY) == StoredSession(_checkpoint())


@pytest.mark.parametrize("name", list(STORES))
@given(writers=st.lists(st.integers(0, 2), max_size=30))
async def test_of_several_writers_who_believe_to_own_a_session_only_the_newest_knowledge_wins(
    name: str, writers: list[int]
) -> None:
    store = STORES[name]()
    await store.create(KEY, _checkpoint())
    known, accepted = [1, 1, 1], 1
    for writer in writers:
        try:
            await store.append(KEY, Fence(7, known[writer]), _record(known[writer] + 1))
        except Fenced:
            assert known[writer] != accepted
            known[writer] = accepted
        else:
            assert known[writer] == accepted
            accepted = known[writer] = accepted + 1
    stored = await store.load(KEY)
    assert stored is not None
    assert [record.revision for record in stored.records] == list(range(2, accepted + 1))
    await store.close()
