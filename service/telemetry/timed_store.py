"""A store that times every operation of another one, for `carousel_store_duration_seconds{op}`."""

from __future__ import annotations

from prometheus_client import Histogram

from service.sessions.ports import Store
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey, StoredSession


class TimedStore:
    """Passes everything on to `store` and changes nothing: order, results and errors are those of `store`."""

    def __init__(self, store: Store, durations: Histogram) -> None:
        self._store = store
        self._create = durations.labels("create")
        self._append = durations.labels("append")
        self._load = durations.labels("load")
        self._delete = durations.labels("delete")

    async def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        """As `Store.create`."""
        with self._create.time():
            return await self._store.create(key, checkpoint)

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        """As `Store.append`."""
        with self._append.time():
            await self._store.append(key, fence, record, checkpoint)

    async def load(self, key: SessionKey) -> StoredSession | None:
        """As `Store.load`."""
        with self._load.time():
            return await self._store.load(key)

    def rest(self, key: SessionKey) -> None:
        """As `Store.rest`; not timed, as it never waits."""
        self._store.rest(key)

    async def delete(self, key: SessionKey, incarnation: int) -> None:
        """As `Store.delete`."""
        with self._delete.time():
            await self._store.delete(key, incarnation)

    async def close(self) -> None:
        """As `Store.close`."""
        await self._store.close()
