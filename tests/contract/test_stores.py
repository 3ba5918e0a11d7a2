"""What every store must do. A new store joins by a line in `tests.contract.making.STORES`."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import Fenced, QuotaExceeded
from service.sessions.commands import SessionId, Tenant
from service.sessions.keeping import Keeping
from service.sessions.ports import Store
from service.sessions.records import Checkpoint, EditRecord, Fence, KnownEdit, SessionKey, Splice, StoredSession
from tests.contract.making import STORES, Made, made_store

KEY = SessionKey(Tenant("tenant"), SessionId("session"))


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
@settings(max_examples=25)
@given(writers=st.lists(st.integers(0, 2), max_size=30))
async def test_of_several_writers_who_believe_to_own_a_session_only_the_newest_knowledge_wins(
    name: str, tmp_path_factory: pytest.TempPathFactory, writers: list[int]
) -> None:
    async with made_store(name, tmp_path_factory.mktemp("writers")) as (store, _):
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


async def test_edits_of_one_session_may_be_pipelined_and_the_dependents_of_a_refused_one_are_refused(
    store: Store,
) -> None:
    await store.create(KEY, _checkpoint())
    fences = [*range(1, 20), 25, *range(26, 30)]
    appends = [asyncio.ensure_future(store.append(KEY, Fence(7, one), _record(one + 1))) for one in fences]
    loaded = asyncio.ensure_future(store.load(KEY))
    outcomes = await asyncio.gather(*appends, return_exceptions=True)
    assert outcomes[:19] == [None] * 19
    assert all(isinstance(outcome, Fenced) for outcome in outcomes[19:])
    stored = await loaded
    assert stored is not None
    assert stored.fence == Fence(7, 20)


async def test_who_gave_up_waiting_has_still_written(store: Store) -> None:
    await store.create(KEY, _checkpoint())
    append = asyncio.ensure_future(store.append(KEY, Fence(7, 1), _record(2)))
    await asyncio.sleep(0)
    append.cancel()
    await store.settled(KEY)
    assert await store.load(KEY) == StoredSession(_checkpoint(), (_record(2),))


async def test_settled_returns_once_the_writes_before_it_are_decided(store: Store) -> None:
    await store.settled(KEY)
    await store.create(KEY, _checkpoint())
    append = asyncio.ensure_future(store.append(KEY, Fence(7, 1), _record(2)))
    await asyncio.sleep(0)
    await store.settled(KEY)
    await asyncio.sleep(0)
    assert append.done()


async def test_many_sessions_may_be_written_at_once(store: Store) -> None:
    keys = [SessionKey(Tenant(f"tenant {index % 3}"), SessionId(f"s{index}")) for index in range(60)]
    assert all(await asyncio.gather(*(store.create(key, _checkpoint(incarnation=2**63 - 1)) for key in keys)))

    async def typed(key: SessionKey) -> None:
        for revision in range(2, 12):
            await store.append(key, Fence(2**63 - 1, revision - 1), _record(revision))

    await asyncio.gather(*map(typed, keys))
    for key in keys:
        stored = await store.load(key)
        assert stored is not None
        assert stored.fence == Fence(2**63 - 1, 11)


@pytest.mark.parametrize("text", ["", "\x00", "a\x00b", "\r\n", "é😀\u2028", "'; DROP TABLE sessions --", "\ufeff"])
async def test_every_text_and_every_name_is_given_back_as_it_was(store: Store, text: str) -> None:
    key = SessionKey(Tenant(f"t{{}}/:{text}*"), SessionId("A-z.0_9"))
    known = KnownEdit(f"id {text}", b"\x00\xff" * 8, 2, 2**40, 0)
    record = EditRecord(known, (Splice(0, text, text * 2, 5, 6),))
    await store.create(key, _checkpoint(text=text))
    await store.append(key, Fence(7, 1), record)
    assert await store.load(key) == StoredSession(_checkpoint(text=text), (record,))
    assert [one.id for one in await store.page(key.tenant, None, 5)] == [key.id]


async def test_a_snapshot_is_kept_beside_the_session_and_changes_nothing_of_it(store: Store, made: Made) -> None:
    assert await store.get_snapshot(KEY, 7) is None
    await store.create(KEY, _checkpoint())
    assert await store.get_snapshot(KEY, 7) is None
    before = await store.page(KEY.tenant, None, 9)
    made.now_s += 10_000
    await store.put_snapshot(KEY, 7, b"\x00\xff" * 3000)
    assert await store.get_snapshot(KEY, 7) == b"\x00\xff" * 3000
    assert await store.load(KEY) == StoredSession(_checkpoint())
    assert await store.page(KEY.tenant, None, 9) == before
    await store.put_snapshot(KEY, 7, b"newer")
    store.rest(KEY)
    await store.append(KEY, Fence(7, 1), _record(2), _checkpoint(revision=2))
    assert await store.get_snapshot(KEY, 7) == b"newer"


async def test_a_snapshot_of_another_incarnation_is_neither_kept_nor_given(store: Store) -> None:
    await store.put_snapshot(KEY, 7, b"of nobody")
    await store.create(KEY, _checkpoint())
    assert await store.get_snapshot(KEY, 7) is None
    await store.put_snapshot(KEY, 8, b"of another life")
    assert await store.get_snapshot(KEY, 7) is None
    await store.put_snapshot(KEY, 7, b"mine")
    assert await store.get_snapshot(KEY, 8) is None
    await store.put_snapshot(KEY, 2**63 - 1, b"of another life")
    assert await store.get_snapshot(KEY, 7) == b"mine"
    await store.delete(KEY, 7)
    assert await store.get_snapshot(KEY, 7) is None
    await store.create(KEY, _checkpoint(incarnation=8))
    assert await store.get_snapshot(KEY, 8) is None


@pytest.mark.parametrize("keeping", [Keeping(retention_s=1000, bytes_per_tenant=10)])
async def test_a_snapshot_counts_for_no_quota_and_goes_when_the_session_is_swept(store: Store, made: Made) -> None:
    await store.create(KEY, _checkpoint())
    await store.put_snapshot(KEY, 7, bytes(10_000))
    await store.append(KEY, Fence(7, 1), _record(2))
    assert await _swept(store) == set()
    made.now_s += 2000
    await store.put_snapshot(KEY, 7, bytes(10_000))
    if made.tells_what_is_swept:
        assert await _swept(store) == {KEY}
        assert await store.get_snapshot(KEY, 7) is None


async def test_a_page_lists_the_sessions_of_one_tenant_by_id_after_the_last_one(store: Store, made: Made) -> None:
    for name in ("b", "a", "c.1", "B", "c"):
        await store.create(SessionKey(KEY.tenant, SessionId(name)), _checkpoint(text="é"))
    await store.create(SessionKey(Tenant("other"), SessionId("x")), _checkpoint())
    await store.append(SessionKey(KEY.tenant, SessionId("a")), Fence(7, 1), _record(2))
    first = await store.page(KEY.tenant, None, 3)
    assert [one.id for one in first] == ["B", "a", "b"]
    second = await store.page(KEY.tenant, first[-1].id, 3)
    assert [one.id for one in second] == ["c", "c.1"]
    assert await store.page(KEY.tenant, second[-1].id, 3) == ()
    changed, fresh = first[1], first[2]
    assert (changed.revision, changed.model, fresh.revision, fresh.text_bytes) == (2, "model", 1, 2)
    assert abs(fresh.written_s - made.now_s) <= 60
    await store.delete(SessionKey(KEY.tenant, SessionId("b")), 7)
    assert [one.id for one in await store.page(KEY.tenant, None, 9)] == ["B", "a", "c", "c.1"]
    assert await store.page(Tenant("nobody"), None, 3) == ()


@pytest.mark.parametrize("keeping", [Keeping(retention_s=1000)])
async def test_who_was_not_written_for_the_time_of_retention_is_swept(store: Store, made: Made) -> None:
    names = [SessionId(name) for name in "abcdef"]
    for name in names:
        await store.create(SessionKey(KEY.tenant, name), _checkpoint())
    made.now_s += 900
    await store.append(SessionKey(KEY.tenant, names[2]), Fence(7, 1), _record(2))
    assert await _swept(store) == set()
    made.now_s += 200
    await store.create(SessionKey(KEY.tenant, SessionId("new")), _checkpoint())
    gone = await _swept(store)
    kept = {one.id for one in await store.page(KEY.tenant, None, 9)}
    if made.tells_what_is_swept:
        assert gone == {SessionKey(KEY.tenant, name) for name in names if name != "c"}
        assert kept == {"c", "new"}
        assert await store.load(SessionKey(KEY.tenant, names[0])) is None
        with pytest.raises(Fenced):
            await store.append(SessionKey(KEY.tenant, names[0]), Fence(7, 1), _record(2))


async def _swept(store: Store) -> set[SessionKey]:
    gone: set[SessionKey] = set()
    for _ in range(100):
        swept = await store.sweep(2)
        assert len(swept.keys) <= 2
        gone |= set(swept.keys)
        if not swept.more:
            return gone
    raise AssertionError("there is no end to it")


async def test_without_retention_nothing_is_swept(store: Store, made: Made) -> None:
    await store.create(KEY, _checkpoint())
    made.now_s += 10**9
    assert await _swept(store) == set()
    assert await store.load(KEY) is not None


@pytest.mark.parametrize("keeping", [Keeping(sessions_per_tenant=2)])
async def test_a_tenant_keeps_no_more_sessions_than_its_quota(store: Store) -> None:
    keys = [SessionKey(KEY.tenant, SessionId(name)) for name in "abc"]
    assert await store.create(keys[0], _checkpoint())
    assert await store.create(keys[1], _checkpoint())
    assert not await store.create(keys[1], _checkpoint())
    with pytest.raises(QuotaExceeded, match="2 sessions") as refused:
        await store.create(keys[2], _checkpoint())
    assert refused.value.retry_after_s > 0
    assert await store.load(keys[2]) is None
    assert await store.create(SessionKey(Tenant("other"), SessionId("c")), _checkpoint())
    await store.delete(keys[0], 7)
    assert await store.create(keys[2], _checkpoint())


@pytest.mark.parametrize("keeping", [Keeping(bytes_per_tenant=20)])
async def test_a_tenants_texts_grow_no_larger_than_its_quota(store: Store, made: Made) -> None:
    other = SessionKey(KEY.tenant, SessionId("other"))
    await store.create(KEY, _checkpoint(text="x" * 15))
    with pytest.raises(QuotaExceeded, match="may hold 20"):
        await store.create(other, _checkpoint(text="x" * 6))
    assert await store.create(other, _checkpoint(text="é"))
    if not made.counts_every_edit:
        return
    await store.append(KEY, Fence(7, 1), _changed(2, "", "é"))
    with pytest.raises(QuotaExceeded, match="may hold 20"):
        await store.append(KEY, Fence(7, 2), _changed(3, "", "ab"))
    with pytest.raises(Fenced):
        await store.append(KEY, Fence(7, 1), _changed(2, "", "much too long"))
    await store.append(KEY, Fence(7, 2), _changed(3, "xxxxx", "ab"))
    await store.append(other, Fence(7, 1), _changed(2, "", "1234"))
    assert {one.id: one.text_bytes for one in await store.page(KEY.tenant, None, 9)} == {"session": 14, "other": 6}
    with pytest.raises(QuotaExceeded):
        await store.append(other, Fence(7, 2), _changed(3, "", "1"))
    await store.delete(KEY, 7)
    await store.append(other, Fence(7, 2), _changed(3, "", "1"))


def _changed(revision: int, removed: str, inserted: str) -> EditRecord:
    return EditRecord(_record(revision).known, (Splice(0, removed, inserted, 0, 0),))
