"""A store that times every operation of another one, for `carousel_store_duration_seconds{op}`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol

from service.sessions.commands import SessionId, Tenant
from service.sessions.ports import Store
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey, StoredSession, StoredSummary, Swept


class StoreObserver(Protocol):
    """Called on the event loop's thread, once for every operation, whether it succeeded or not."""

    def stored(self, operation: str, seconds: float) -> None:
        """`operation` is the name of the store's method."""


class TimedStore:
    """Passes everything on to `store` and changes nothing: order, results and errors are those of `store`."""

    def __init__(self, store: Store, observer: StoreObserver, clock: Callable[[], float] = perf_counter) -> None:
        self._store, self._observer, self._clock = store, observer, clock

    @property
    def shared(self) -> bool:
        """As `Store.shared`."""
        return self._store.shared

    def durable(self, key: SessionKey) -> bool:
        """As `Store.durable`."""
        return self._store.durable(key)

    async def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        """As `Store.create`."""
        with self._timed("create"):
            return await self._store.create(key, checkpoint)

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        """As `Store.append`."""
        began_s = self._clock()  # by hand, because every keystroke passes here
        try:
            await self._store.append(key, fence, record, checkpoint)
        finally:
            self._observer.stored("append", self._clock() - began_s)

    async def settled(self, key: SessionKey) -> None:
        """As `Store.settled`; not timed, as it is another operation's time."""
        await self._store.settled(key)

    async def load(self, key: SessionKey) -> StoredSession | None:
        """As `Store.load`."""
        with self._timed("load"):
            return await self._store.load(key)

    def rest(self, key: SessionKey) -> None:
        """As `Store.rest`; not timed, as it never waits."""
        self._store.rest(key)

    async def delete(self, key: SessionKey, incarnation: int) -> None:
        """As `Store.delete`."""
        with self._timed("delete"):
            await self._store.delete(key, incarnation)

    async def put_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        """As `Store.put_snapshot`."""
        with self._timed("put_snapshot"):
            await self._store.put_snapshot(key, incarnation, snapshot)

    async def get_snapshot(self, key: SessionKey, incarnation: int) -> bytes | None:
        """As `Store.get_snapshot`."""
        with self._timed("get_snapshot"):
            return await self._store.get_snapshot(key, incarnation)

    async def page(self, tenant: Tenant, after: SessionId | None, limit: int) -> tuple[StoredSummary, ...]:
        """As `Store.page`."""
        with self._timed("page"):
            return await self._store.page(tenant, after, limit)

    async def sweep(self, limit: int) -> Swept:
        """As `Store.sweep`."""
        with self._timed("sweep"):
            return await self._store.sweep(limit)

    async def close(self) -> None:
        """As `Store.close`."""
        await self._store.close()

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        began_s = self._clock()
        try:
            yield
        finally:
            self._observer.stored(operation, self._clock() - began_s)
