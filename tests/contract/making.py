"""The stores that are held to the contract, one for each test: real files, real servers, the test's own clock."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from service.sessions.keeping import Keeping
from service.sessions.ports import Store
from service.sessions.stores.memory import MemoryStore
from service.sessions.stores.sqlite import SqliteStore


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


STORES: dict[str, Making] = {"memory": _memory, "sqlite": _sqlite}


@asynccontextmanager
async def made_store(name: str, folder: Path, keeping: Keeping | None = None) -> AsyncIterator[tuple[Store, Made]]:
    """An empty store of that name, closed when it is left."""
    made = Made()
    async with STORES[name](folder, made, keeping or Keeping()) as store:
        yield store, made
