"""What is the SQLite store's own: its file, who may open it, what becomes of a damaged one, and a disk that fails."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest

from service.errors import Fenced, Unavailable
from service.sessions.commands import SessionId, Tenant
from service.sessions.records import Checkpoint, EditRecord, Fence, KnownEdit, SessionKey, Splice
from service.sessions.stores.memory import MemoryStore
from service.sessions.stores.opening import CannotOpen
from service.sessions.stores.sqlite import SqliteStore
from service.sessions.stores.sqlite_schema import NEWEST
from tests.contract.earlier_content import FRESH, KEYS, OTHERS, TYPED, fill, typed

KEY = SessionKey(Tenant("tenant"), SessionId("session"))
SECRET = "correct horse battery staple"
EARLIER = Path(__file__).parent / "earlier_files"


@asynccontextmanager
async def opened(path: Path, acknowledge: Literal["store", "fsync", "memory"] = "store") -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, acknowledge=acknowledge)
    store.opened()
    try:
        yield store
    finally:
        await store.close()


def _checkpoint(text: str = "", incarnation: int = 7) -> Checkpoint:
    return Checkpoint(incarnation, 1, "model", b"made", text, len(text))


def _record(revision: int, text: str = "x") -> EditRecord:
    known = KnownEdit(f"id-{revision}", revision.to_bytes(16), revision, revision, revision)
    return EditRecord(known, (Splice(0, "", text, 0, 1),))


def _content(file: Path) -> bytes:
    return file.read_bytes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "sessions.sqlite"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_nobody_else_may_read_the_file(file: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with opened(file) as store:
            await store.create(KEY, _checkpoint(SECRET))
            for part in file.parent.iterdir():
                assert stat.S_IMODE(part.stat().st_mode) == 0o600, part
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    finally:
        os.umask(before)


def _open_in_another_process(file: Path) -> str:
    code = "import sys; from pathlib import Path; from service.sessions.stores.sqlite import SqliteStore as S\n"
    code += "try: S(Path(sys.argv[1])).opened()\nexcept Exception as error: print(type(error).__name__, error)"
    return subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=60).stdout


async def test_a_second_opener_is_told_who_has_the_file_and_what_to_do(file: Path) -> None:
    async with opened(file):
        with pytest.raises(CannotOpen, match=rf"process {os.getpid()}.*sqlite:PATH.*valkey://"):
            SqliteStore(file).opened()
        other = await asyncio.to_thread(_open_in_another_process, file)
        assert other.startswith(f"CannotOpen {file} is in use by process {os.getpid()}")
    async with opened(file):
        """Whoever held it has let go."""


async def test_who_has_it_open_with_sqlite_itself_keeps_the_server_out_with_a_sentence(file: Path) -> None:
    file.parent.mkdir()
    with sqlite3.connect(file) as other:
        other.execute("PRAGMA user_version = 0")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CannotOpen, match=r"database is locked.*end whoever has it open"):
            SqliteStore(file).opened()
        other.execute("ROLLBACK")
    other.close()


@pytest.mark.parametrize("place", ["/proc/sessions.sqlite", "/dev/null/sessions.sqlite"])
def test_a_place_that_cannot_be_written_is_refused_with_the_way_out(place: str) -> None:
    with pytest.raises(CannotOpen, match=r"name another file .sqlite:PATH., or memory:"):
        SqliteStore(Path(place)).opened()


@pytest.mark.parametrize("version", range(1, NEWEST))
async def test_a_file_of_every_earlier_version_opens_with_all_that_is_in_it(file: Path, version: int) -> None:
    file.parent.mkdir()
    shutil.copy(EARLIER / f"version-{version}.sqlite", file)
    model = MemoryStore()
    asked: list[Any] = []
    fill(lambda *of: asked.append(model.create(*of)), lambda *of: asked.append(model.append(*of)))
    for one in asked:
        await one
    for _ in "the first time, and again":
        async with opened(file) as store:
            for key in KEYS:
                assert await store.load(key) == await model.load(key)
            for tenant in {key.tenant for key in KEYS}:
                page, expected = await store.page(tenant, None, 9), await model.page(tenant, None, 9)
                assert [one[:4] for one in page] == [one[:4] for one in expected]
    async with opened(file) as store:
        await store.append(TYPED, Fence(2**63 - 1, 7), typed(8))
        await store.put_snapshot(TYPED, 2**63 - 1, b"state")
        assert await store.get_snapshot(TYPED, 2**63 - 1) == b"state"
        await store.delete(FRESH, 1)
        await store.delete(OTHERS, 7)


async def test_a_file_of_a_newer_version_is_refused_and_left_as_it_is(file: Path) -> None:
    async with opened(file) as store:
        await store.create(KEY, _checkpoint())
    _change(file, f"PRAGMA user_version = {NEWEST + 1}")
    before = _content(file)
    with pytest.raises(CannotOpen, match=rf"newer Carousel .schema {NEWEST + 1}, this one knows {NEWEST}."):
        SqliteStore(file).opened()
    assert _content(file) == before


async def test_another_programs_database_is_refused_and_left_as_it_is(file: Path) -> None:
    file.parent.mkdir()
    _change(file, "CREATE TABLE bookmarks (url TEXT)")
    with pytest.raises(CannotOpen, match="another program's database"):
        SqliteStore(file).opened()
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("bookmarks",)]
    connection.close()


def _change(file: Path, statement: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute(statement)
    connection.close()


def _truncate(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _overwrite_the_middle(file: Path) -> None:
    with file.open("r+b") as opened_file:
        opened_file.seek(file.stat().st_size // 3)
        opened_file.write(b"\xa5" * (file.stat().st_size // 3))


def _overwrite_the_start(file: Path) -> None:
    with file.open("r+b") as opened_file:
        opened_file.write(b"\x00" * 4096)


def _replace(file: Path) -> None:
    file.write_bytes(b"no database at all " * 1000)


@pytest.mark.parametrize("tear", [_truncate, _overwrite_the_middle, _overwrite_the_start, _replace])
async def test_a_torn_file_is_set_aside_and_an_empty_one_begun(
    file: Path, tear: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(file) as store:
        for index in range(200):
            await store.create(SessionKey(KEY.tenant, SessionId(f"s{index}")), _checkpoint("text " * 100))
    tear(file)
    torn = _content(file)
    with caplog.at_level(logging.ERROR, logger="carousel.store"):
        async with opened(file) as store:
            assert await store.page(KEY.tenant, None, 5) == ()
            assert await store.create(KEY, _checkpoint())
    (aside,) = file.parent.glob("sessions.sqlite.damaged-*Z")
    assert _content(aside)[100:] == torn[100:]  # without the header, which counts openings
    (said,) = caplog.records
    assert "DAMAGED" in said.message
    assert getattr(said, "set_aside_as", "") == str(aside)


async def test_a_file_that_is_damaged_while_it_is_open_is_set_aside_and_the_store_lives_on(file: Path) -> None:
    async with opened(file) as store:
        for index in range(300):
            await store.create(SessionKey(KEY.tenant, SessionId(f"s{index}")), _checkpoint("text " * 4000))
    store = SqliteStore(file)
    store.opened()
    _overwrite_the_middle(file)
    outcomes: list[bool | str] = []
    for index in range(300):
        try:
            outcomes.append(await store.load(SessionKey(KEY.tenant, SessionId(f"s{index}"))) is not None)
        except Unavailable:
            outcomes.append("unavailable")
    assert "unavailable" in outcomes
    assert await store.create(KEY, _checkpoint(SECRET))
    await store.close()
    assert list(file.parent.glob("sessions.sqlite.damaged-*"))
    async with opened(file) as again:
        assert await again.load(KEY) is not None


async def test_what_was_deleted_is_nowhere_in_the_files(file: Path) -> None:
    async with opened(file) as store:
        await store.create(KEY, _checkpoint(f"{SECRET} 1"))
        await store.append(KEY, Fence(7, 1), _record(2, f"{SECRET} 2"))
        await store.put_snapshot(KEY, 7, f"{SECRET} 3".encode() * 100)
        await store.create(SessionKey(KEY.tenant, SessionId("other")), _checkpoint("kept"))
        await store.delete(KEY, 7)
    content = b"".join(_content(part) for part in file.parent.iterdir())
    assert b"kept" in content
    assert SECRET.encode() not in content


async def test_all_that_waits_is_one_transaction(file: Path) -> None:
    async with opened(file) as store:
        keys = [SessionKey(KEY.tenant, SessionId(f"s{index}")) for index in range(50)]
        await asyncio.gather(*(store.create(key, _checkpoint()) for key in keys))
        begun: list[str] = []
        await _on_its_thread(store, lambda connection: connection.set_trace_callback(begun.append))
        await asyncio.gather(*(store.append(key, Fence(7, 1), _record(2)) for key in keys))
        assert begun.count("COMMIT") == 1
        assert sum(statement.startswith("INSERT INTO records") for statement in begun) == 50


async def _on_its_thread(store: SqliteStore, change: Any) -> None:
    """Do something to the store's connection, where that is allowed."""
    file = store._writer._file
    done = threading.Event()
    original = file.load

    def load(key: SessionKey) -> None:
        change(file._connection)
        done.set()

    file.load = load  # type: ignore[method-assign]  # for one call
    await store.load(KEY)
    file.load = original  # type: ignore[method-assign]
    assert done.is_set()


async def test_no_more_calls_wait_than_may_and_the_others_are_refused_at_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.sessions.stores.sqlite._MOST_WAITING", 10)
    async with opened(file) as store:
        outcomes = await asyncio.gather(*(store.load(KEY) for _ in range(15)), return_exceptions=True)
        assert outcomes[:10] == [None] * 10
        assert [type(outcome) for outcome in outcomes[10:]] == [Unavailable] * 5
        assert await store.load(KEY) is None


# SQLite's own limits, which fail as a disk does: how to set one, how to take it back, and what is said.
FAULTS = {
    "full": ("PRAGMA max_page_count = 1", "PRAGMA max_page_count = 1073741823", "full"),
    "read-only": ("PRAGMA query_only = ON", "PRAGMA query_only = OFF", "readonly"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
async def test_while_the_disk_fails_edits_are_refused_and_texts_still_read_and_then_all_goes_on(
    file: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    breaks, mends, said = FAULTS[fault]
    large = "y" * 20_000
    async with opened(file) as store:
        await store.create(KEY, _checkpoint(SECRET))
        await _on_its_thread(store, lambda connection: connection.execute(breaks))
        with pytest.raises(Unavailable, match=said) as refused:
            await store.append(KEY, Fence(7, 1), _record(2, large))
        assert refused.value.retry_after_s > 0
        pipelined = [store.append(KEY, Fence(7, revision), _record(revision + 1, large)) for revision in (1, 2, 3)]
        outcomes = await asyncio.gather(*pipelined, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
        stored = await store.load(KEY)
        assert stored is not None
        assert (stored.checkpoint.text, stored.records) == (SECRET, ())
        await _on_its_thread(store, lambda connection: connection.execute(mends))
        await store.append(KEY, Fence(7, 1), _record(2, large))
    async with opened(file) as store:
        stored = await store.load(KEY)
        assert stored is not None
        assert stored.fence == Fence(7, 2)
    assert sum("CANNOT BE WRITTEN" in record.message for record in caplog.records) == 1


async def test_edits_that_were_acknowledged_in_memory_are_written_when_the_disk_can_again(file: Path) -> None:
    breaks, mends, _ = FAULTS["full"]
    async with opened(file, "memory") as store:
        await store.create(KEY, _checkpoint())
        await _on_its_thread(store, lambda connection: connection.execute(breaks))
        for revision in (1, 2, 3):
            await store.append(KEY, Fence(7, revision), _record(revision + 1, "z" * 20_000))
        with pytest.raises(Unavailable):
            await store.create(SessionKey(KEY.tenant, SessionId("other")), _checkpoint())
        await _mended(store, mends)
        stored = await store.load(KEY)
        assert stored is not None
        assert [record.revision for record in stored.records] == [2, 3, 4]


async def _mended(store: SqliteStore, statement: str) -> None:
    """Run a statement on the store's thread before whatever it tries next."""
    writer, original = store._writer, store._writer._transact

    def transact(calls: Any) -> Any:
        writer._file._connection.execute(statement)
        writer._transact = original  # type: ignore[method-assign]  # once
        return original(calls)

    writer._transact = transact  # type: ignore[method-assign]


async def test_an_edit_that_was_acknowledged_in_memory_and_refused_is_told_of_by_the_next(file: Path) -> None:
    async with opened(file, "memory") as store:
        await store.create(KEY, _checkpoint())
        await store.append(KEY, Fence(7, 5), _record(6))
        await store.page(KEY.tenant, None, 1)
        with pytest.raises(Fenced):
            await store.append(KEY, Fence(7, 6), _record(7))
        assert await store.load(KEY) is not None


@pytest.mark.parametrize(("acknowledge", "synchronous"), [("store", 1), ("fsync", 2), ("memory", 1)])
async def test_the_log_is_synced_at_every_commit_for_fsync_alone(
    file: Path, acknowledge: Literal["store", "fsync", "memory"], synchronous: int
) -> None:
    async with opened(file, acknowledge) as store:
        found: list[int] = []
        await _on_its_thread(
            store, lambda connection: found.append(connection.execute("PRAGMA synchronous").fetchone()[0])
        )
        assert found == [synchronous]
