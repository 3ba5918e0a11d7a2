"""The stores that are held to the contract, one for each test: real files, real servers, the test's own clock."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from service.sessions.keeping import Keeping
from service.sessions.ports import Store
from service.sessions.stores.memory import MemoryStore
from service.sessions.stores.sqlite import SqliteStore
from service.sessions.stores.valkey import ValkeyStore
from tests.contract.valkey_server import DATABASES, ValkeyServer


@dataclass
class Made:
    """What a test may know and change of a store.

    tells_what_is_swept: whether it sweeps by our clock and names who is gone; a shared store lets its keys expire.
    counts_every_edit: whether a quota of bytes is exact; a shared store counts a session's growth now and then.
    """

    now_s: float = 1_700_000_000.0
    tells_what_is_swept: bool = True
    counts_every_edit: bool = True


Making = Callable[[Path, Made, Keeping], AbstractAsyncContextManager[Store]]


@asynccontextmanager
async def _memory(folder: Path, made: Made, keeping: Keeping) -> AsyncIterator[Store]:
    store = MemoryStore(keeping, lambda: made.now_s)
    yield store
    await store.close()


@asynccontextmanager
async def _sqlite(folder: Path, made: Made, keeping: Keeping) -> AsyncIterator[Store]:
    store = SqliteStore(folder / "sessions.sqlite", keeping=keeping, clock=lambda: made.now_s)
    store.opened()
    yield store
    await store.close()


class SharedValkey:
    """One server for all tests, started by the first that wants it; every folder has a database of its own there."""

    server: ValkeyServer | None = None
    kept: Path
    databases: ClassVar[dict[Path, int]] = {}

    @classmethod
    def url(cls, folder: Path) -> str:
        """Of the database of that folder, which is empty when the folder is first named."""
        if cls.server is None:
            cls.kept = Path(tempfile.mkdtemp(prefix="carousel-valkey-"))
            cls.server = ValkeyServer(cls.kept).start()
        if folder not in cls.databases:
            cls.databases[folder] = len(cls.databases) % DATABASES
            cls.server.ask("FLUSHDB", database=cls.databases[folder])
        return cls.server.url(cls.databases[folder])

    @classmethod
    def end(cls) -> None:
        if cls.server is not None:
            cls.server.kill()
            cls.server = None
            shutil.rmtree(cls.kept)


@asynccontextmanager
async def _valkey(folder: Path, made: Made, keeping: Keeping) -> AsyncIterator[Store]:
    made.tells_what_is_swept = made.counts_every_edit = False
    store = ValkeyStore(SharedValkey.url(folder), keeping=keeping, clock=lambda: made.now_s, timeout_s=20)
    yield store
    await store.close()


STORES: dict[str, Making] = {"memory": _memory, "sqlite": _sqlite, "valkey": _valkey}


@asynccontextmanager
async def made_store(name: str, folder: Path, keeping: Keeping | None = None) -> AsyncIterator[tuple[Store, Made]]:
    """An empty store of that name, closed when it is left."""
    made = Made()
    async with STORES[name](folder, made, keeping or Keeping()) as store:
        yield store, made
