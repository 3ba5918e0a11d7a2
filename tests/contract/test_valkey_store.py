"""What is the shared store's own: a server that is restarted, slow, full, refusing or older, and two replicas."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.errors import CarouselError, Fenced, QuotaExceeded, Unavailable
from service.sessions.commands import SessionId, Tenant
from service.sessions.keeping import Keeping
from service.sessions.records import Checkpoint, EditRecord, Fence, KnownEdit, SessionKey, Splice
from service.sessions.stores.valkey import ValkeyStore
from service.sessions.stores.valkey_scripts import session_keys, tenant_keys
from tests.contract.valkey_server import ValkeyServer

KEY = SessionKey(Tenant("tenant"), SessionId("session"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    """One that a test may break; it keeps what it is told, as it has an append-only file."""
    server = ValkeyServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always").start()
    yield server
    server.kill()


@asynccontextmanager
async def opened(server: ValkeyServer, **settings: Any) -> AsyncIterator[ValkeyStore]:
    url = settings.pop("url", server.url())
    store = ValkeyStore(url, **{"timeout_s": 2.0, **settings})
    try:
        yield store
    finally:
        await store.close()


def _checkpoint(text: str = "") -> Checkpoint:
    return Checkpoint(7, 1, "model", b"made", text, len(text))


def _record(revision: int, text: str = "x") -> EditRecord:
    known = KnownEdit(f"id-{revision}", revision.to_bytes(16), revision, revision, revision)
    return EditRecord(known, (Splice(0, "", text, 0, 1),))


async def _until_it_succeeds(store: ValkeyStore, revision: int) -> None:
    """Append as a client would that knows nothing but the errors: after each, what is stored decides."""
    for _ in range(100):
        try:
            await store.append(KEY, Fence(7, revision - 1), _record(revision))
        except Unavailable:
            continue
        except Fenced:
            stored = await store.load(KEY)
            assert stored is not None
            assert stored.fence.revision == revision  # it had been written, only the answer was lost
        return
    raise AssertionError("it never came back")


async def test_after_a_restart_it_connects_again_and_every_acknowledged_edit_is_there(server: ValkeyServer) -> None:
    async with opened(server) as store:
        await store.create(KEY, _checkpoint())
        await store.append(KEY, Fence(7, 1), _record(2))
        server.kill()
        with pytest.raises(Unavailable, match="does not answer") as refused:
            await store.append(KEY, Fence(7, 2), _record(3))
        assert refused.value.retry_after_s > 0
        with pytest.raises(Unavailable):
            await store.load(KEY)
        await asyncio.to_thread(server.start)
        await _until_it_succeeds(store, 3)
        stored = await store.load(KEY)
        assert stored is not None
        assert [record.revision for record in stored.records] == [2, 3]


async def test_a_server_that_never_was_there_is_unavailable_and_not_a_failed_start(tmp_path: Path) -> None:
    async with opened(ValkeyServer(tmp_path)) as store:
        with pytest.raises(Unavailable, match="does not answer"):
            await store.create(KEY, _checkpoint())


async def test_one_that_takes_too_long_is_given_up_and_an_edit_is_never_made_twice(server: ValkeyServer) -> None:
    async with opened(server, timeout_s=0.2) as store:
        await store.create(KEY, _checkpoint())
        server.ask("CLIENT", "PAUSE", 600, "ALL")
        with pytest.raises(Unavailable, match="too slow"):
            await store.append(KEY, Fence(7, 1), _record(2))
        await _until_it_succeeds(store, 2)
        await _until_it_succeeds(store, 3)
        stored = await store.load(KEY)
        assert stored is not None
        assert [record.revision for record in stored.records] == [2, 3]


async def test_a_full_one_refuses_edits_changes_nothing_and_goes_on_when_there_is_room(server: ValkeyServer) -> None:
    async with opened(server) as store:
        await store.create(KEY, _checkpoint("text"))
        server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(Unavailable, match="full"):
            await store.append(KEY, Fence(7, 1), _record(2))
        with pytest.raises(Unavailable, match="full"):
            await store.create(SessionKey(KEY.tenant, SessionId("other")), _checkpoint())
        stored = await store.load(KEY)
        assert stored is not None
        assert (stored.checkpoint.text, stored.records) == ("text", ())
        server.ask("CONFIG", "SET", "maxmemory", "0")
        await store.append(KEY, Fence(7, 1), _record(2))


async def test_scripts_that_are_flushed_go_along_again(server: ValkeyServer) -> None:
    async with opened(server) as store:
        await store.create(KEY, _checkpoint())
        server.ask("SCRIPT", "FLUSH")
        appends = [store.append(KEY, Fence(7, revision), _record(revision + 1)) for revision in range(1, 6)]
        await asyncio.gather(*appends)
        stored = await store.load(KEY)
        assert stored is not None
        assert stored.fence == Fence(7, 6)


async def test_a_password_is_given_from_the_url_or_beside_it_and_a_wrong_one_is_told_without_it(
    tmp_path: Path,
) -> None:
    server = ValkeyServer(tmp_path, "--requirepass", "hunter2").start()
    try:
        address = f"127.0.0.1:{server.port}/0"
        async with opened(server, url=f"redis://:hunter2@{address}") as store:
            assert await store.create(KEY, _checkpoint())
        async with opened(server, password="hunter2") as store:
            assert await store.load(KEY) is not None
        for settings in ({"password": "wrong-secret"}, {}):
            async with opened(server, **settings) as store:
                with pytest.raises(Unavailable) as refused:
                    await store.load(KEY)
                assert "wrong-secret" not in str(refused.value)
    finally:
        server.kill()


async def test_fsync_is_acknowledged_when_the_servers_disk_has_it_and_refused_by_a_server_without_one(
    server: ValkeyServer,
) -> None:
    async with opened(server, acknowledge="fsync") as store:
        await store.create(KEY, _checkpoint())
        await store.append(KEY, Fence(7, 1), _record(2))
        server.kill()
        await asyncio.to_thread(server.start)
        stored = await _loaded(store)
        assert stored.fence == Fence(7, 2)
        server.ask("CONFIG", "SET", "appendonly", "no")
        with pytest.raises(Unavailable, match="appendonly"):
            await store.append(KEY, Fence(7, 2), _record(3))


async def _loaded(store: ValkeyStore) -> Any:
    for _ in range(100):
        try:
            return await store.load(KEY)
        except Unavailable:
            continue
    raise AssertionError("it never came back")


async def test_of_two_replicas_that_write_one_session_each_revision_is_one_replicas(server: ValkeyServer) -> None:
    async with opened(server) as one, opened(server) as other:
        await one.create(KEY, _checkpoint())
        acknowledged: list[tuple[str, int]] = []

        async def type_(store: ValkeyStore, name: str) -> None:
            for _ in range(60):
                stored = await store.load(KEY)
                assert stored is not None
                fence = stored.fence
                pipelined = [_record(fence.revision + 1 + index, name) for index in range(3)]
                appends = (store.append(KEY, Fence(7, record.revision - 1), record) for record in pipelined)
                for record, outcome in zip(
                    pipelined, await asyncio.gather(*appends, return_exceptions=True), strict=True
                ):
                    if outcome is None:
                        acknowledged.append((name, record.revision))
                    else:
                        assert isinstance(outcome, Fenced)

        await asyncio.gather(type_(one, "a"), type_(other, "b"))
        stored = await one.load(KEY)
        assert stored is not None
        kept = [(record.splices[0].inserted, record.revision) for record in stored.records]
        assert kept == sorted(acknowledged, key=lambda pair: pair[1])
        assert {name for name, _ in kept} == {"a", "b"}


async def test_a_session_of_a_newer_form_is_refused(server: ValkeyServer) -> None:
    async with opened(server) as store:
        await store.create(KEY, _checkpoint())
        server.ask("HSET", session_keys(KEY)[0], "v", 2)
        with pytest.raises(Unavailable, match="newer Carousel"):
            await store.load(KEY)


async def test_sessions_expire_by_themselves_and_are_swept_from_the_lists(server: ValkeyServer) -> None:
    now = [1000.0]
    async with opened(server, keeping=Keeping(retention_s=3600, sessions_per_tenant=2), clock=lambda: now[0]) as store:
        for name in ("old", "new"):
            await store.create(SessionKey(KEY.tenant, SessionId(name)), _checkpoint("text"))
        old = session_keys(SessionKey(KEY.tenant, SessionId("old")))
        assert 3590_000 < server.ask("PTTL", old[0]) <= 3600_000
        now[0] += 4000
        server.ask("DEL", *old)  # as it does by itself when the time has come
        gone: set[SessionKey] = set()
        for _ in range(10):
            swept = await store.sweep(1)
            gone |= set(swept.keys)
        assert gone == {SessionKey(KEY.tenant, SessionId("old"))}
        assert server.ask("ZCARD", tenant_keys(KEY.tenant)[0]) == 1
        assert int(server.ask("GET", tenant_keys(KEY.tenant)[3])) == 4
        assert await store.create(KEY, _checkpoint())


async def test_a_tenant_whose_sessions_have_grown_beyond_its_quota_is_told_so_within_some_kilobytes(
    server: ValkeyServer,
) -> None:
    async with opened(server, keeping=Keeping(bytes_per_tenant=10_000), clock=lambda: 0.0) as store:
        await store.create(KEY, _checkpoint())
        revision = 1
        refused: QuotaExceeded | None = None
        while refused is None:
            try:
                await store.append(KEY, Fence(7, revision), _record(revision + 1, "x" * 500))
                revision += 1
                await store.settled(KEY)
            except QuotaExceeded as error:
                refused = error
        assert "may hold 10000" in str(refused)
        assert 20 <= revision <= 24
        shrinking = EditRecord(_record(revision + 1).known, (Splice(0, "x" * 5000, "", 0, 0),))
        await store.append(KEY, Fence(7, revision), shrinking)


async def test_one_that_may_evict_sessions_is_warned_of(server: ValkeyServer, caplog: pytest.LogCaptureFixture) -> None:
    server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with caplog.at_level(logging.WARNING, logger="carousel.store"):
        async with opened(server) as store:
            await store.load(KEY)
    assert any("noeviction" in record.message for record in caplog.records)


async def test_waiting_calls_end_with_an_answer_when_the_store_is_closed(server: ValkeyServer) -> None:
    store = ValkeyStore(server.url())
    calls = [asyncio.ensure_future(store.load(KEY)) for _ in range(20)]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*calls) == [None] * 20


@pytest.mark.parametrize("kills", [int(os.environ.get("CAROUSEL_TEST_STORE_KILLS", "3"))])
async def test_whatever_is_acknowledged_between_kills_of_the_server_is_kept_in_order_and_once(
    server: ValkeyServer, kills: int
) -> None:
    counts = {"ok": 0, "failed": 0, "unknown": 0}
    async with opened(server, acknowledge="fsync") as store:
        await store.create(KEY, _checkpoint())
        typing = asyncio.create_task(_type(store, counts))
        for _ in range(kills):
            await _typed(counts, 20)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        await _typed(counts, 20)
        typing.cancel()
        stored = await _loaded(store)
        revisions = [record.revision for record in stored.records]
        assert revisions == list(range(2, 2 + len(revisions)))
        assert counts["ok"] <= len(revisions) <= counts["ok"] + counts["unknown"] + 1
    print(counts)


async def _typed(counts: dict[str, int], more: int) -> None:
    """Wait until so many more edits were acknowledged."""
    enough = counts["ok"] + more
    while counts["ok"] < enough:  # noqa: ASYNC110  the typist is not told of an event for every number
        await asyncio.sleep(0.001)


async def _type(store: ValkeyStore, counts: dict[str, int]) -> None:
    revision = 1
    while True:
        try:
            await store.append(KEY, Fence(7, revision), _record(revision + 1))
            counts["ok"] += 1
            revision += 1
        except Unavailable:
            counts["unknown"] += 1
            stored = await _loaded(store)
            assert stored.fence.revision in (revision, revision + 1)
            revision = stored.fence.revision
        except CarouselError:
            counts["failed"] += 1
            raise
