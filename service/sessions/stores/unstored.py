"""Sessions of which nothing is to be written, beside a store that writes."""

from __future__ import annotations

import logging

from service.errors import Overloaded, Unavailable
from service.sessions.commands import SessionId, Tenant
from service.sessions.keeping import Keeping
from service.sessions.ports import Store
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey, StoredSession, StoredSummary, Swept
from service.sessions.stores.memory import MemoryStore

_RETRY_AFTER_S = 1.0

_log = logging.getLogger("carousel.store")


class UnstoredApart:
    """A `Store` that keeps who wishes it in this process's memory alone, and all others in `lasting`.

    Only this process knows of the former: they are lost with it, no other replica serves or lists them. At most
    `most_unstored` are kept, so that there are others who can be parked.
    """

    def __init__(self, lasting: Store, *, most_unstored: int, keeping: Keeping | None = None) -> None:
        """keeping: of the former; the latter have their own."""
        self._lasting, self._most_unstored = lasting, most_unstored
        self._passing = MemoryStore(keeping)

    @property
    def shared(self) -> bool:
        """As `Store.shared`."""
        return self._lasting.shared

    def durable(self, key: SessionKey) -> bool:
        """As `Store.durable`."""
        return not self._passing.holds(key) and self._lasting.durable(key)

    async def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        """As `Store.create`. Raises Overloaded if too many sessions of which nothing is written are there."""
        if self._passing.holds(key):
            return False
        if checkpoint.store_text:
            return await self._lasting.create(key, checkpoint)
        if self._passing.kept >= self._most_unstored:
            raise Overloaded(
                f"this server holds its {self._most_unstored} sessions of which nothing is written: delete some, or "
                "let this one be stored",
                _RETRY_AFTER_S,
            )
        try:
            if await self._lasting.load(key) is not None:
                return False
        except Unavailable:  # nothing is to be written there: whether the id is taken there can wait until it is back
            _log.info("a session of which nothing is written begins while the store is away", extra={"session": key.id})
        return await self._passing.create(key, checkpoint)

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        """As `Store.append`."""
        await self._of(key).append(key, fence, record, checkpoint)

    async def settled(self, key: SessionKey) -> None:
        """As `Store.settled`."""
        await self._of(key).settled(key)

    async def load(self, key: SessionKey) -> StoredSession | None:
        """As `Store.load`."""
        return await self._of(key).load(key)

    def rest(self, key: SessionKey) -> None:
        """As `Store.rest`."""
        self._of(key).rest(key)

    async def delete(self, key: SessionKey, incarnation: int) -> None:
        """As `Store.delete`."""
        await self._of(key).delete(key, incarnation)

    async def put_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        """As `Store.put_snapshot`."""
        await self._of(key).put_snapshot(key, incarnation, snapshot)

    async def get_snapshot(self, key: SessionKey, incarnation: int) -> bytes | None:
        """As `Store.get_snapshot`."""
        return await self._of(key).get_snapshot(key, incarnation)

    async def page(self, tenant: Tenant, after: SessionId | None, limit: int) -> tuple[StoredSummary, ...]:
        """As `Store.page`: of both, in one order."""
        both = (*await self._passing.page(tenant, after, limit), *await self._lasting.page(tenant, after, limit))
        return tuple(sorted(both, key=lambda summary: summary.id)[:limit])

    async def sweep(self, limit: int) -> Swept:
        """As `Store.sweep`."""
        passing, lasting = await self._passing.sweep(limit), await self._lasting.sweep(limit)
        return Swept(passing.keys + lasting.keys, more=passing.more or lasting.more)

    async def close(self) -> None:
        """As `Store.close`."""
        await self._passing.close()
        await self._lasting.close()

    def _of(self, key: SessionKey) -> Store:
        return self._passing if self._passing.holds(key) else self._lasting
