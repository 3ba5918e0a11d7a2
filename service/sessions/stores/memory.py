"""The store that survives nothing: sessions last as long as the process. What the others are held against."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator

from service.errors import Fenced
from service.sessions.by_session import BySession
from service.sessions.commands import SessionId, Tenant
from service.sessions.keeping import Keeping
from service.sessions.records import (
    Checkpoint,
    EditRecord,
    Fence,
    SessionKey,
    StoredSession,
    StoredSummary,
    Swept,
    added_bytes,
    utf8_size,
)
from service.sessions.stores.packed import pack, unpack


class _Entry:
    __slots__ = ("checkpoint", "fence", "records", "text_bytes", "written_s")

    def __init__(self, stored: StoredSession, text_bytes: int, written_s: int) -> None:
        self.checkpoint = stored.checkpoint
        self.records = list(stored.records)
        self.fence = stored.fence
        self.text_bytes = text_bytes
        self.written_s = written_s


class MemoryStore:
    """A `Store` in a dictionary. Keeps references to the records, and bytes of what rests. No method ever waits."""

    def __init__(self, keeping: Keeping | None = None, clock: Callable[[], float] = time.time) -> None:
        """clock: seconds since 1970."""
        self._keeping, self._clock = keeping or Keeping(), clock
        self._entries: BySession[_Entry | bytes] = BySession()
        self._snapshots: BySession[bytes] = BySession()
        self._usage: dict[Tenant, list[int]] = {}  # sessions and bytes of text; empty without a quota
        self._sweeping: Iterator[SessionKey] = iter(())

    @property
    def kept(self) -> int:
        """How many sessions there are."""
        return len(self._entries)

    def holds(self, key: SessionKey) -> bool:
        """Whether there is such a session."""
        return self._entries.get(key) is not None

    @property
    def shared(self) -> bool:
        """As `Store.shared`."""
        return False

    def durable(self, key: SessionKey) -> bool:
        """As `Store.durable`."""
        return False

    async def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        """As `Store.create`."""
        if self._entries.get(key) is not None:
            return False
        size = utf8_size(checkpoint.text)
        self._charge(key.tenant, 1, size)
        self._entries.put(key, _Entry(StoredSession(checkpoint), size, int(self._clock())))
        return True

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        """As `Store.append`."""
        entry = self._entry(key)
        if entry is None or entry.fence != fence:
            raise Fenced(f"session {key.id!r} was changed or deleted elsewhere: read it and send the edits anew")
        added = added_bytes(record)
        self._charge(key.tenant, 0, added)
        entry.fence = Fence(fence.incarnation, record.revision)
        entry.text_bytes += added
        entry.written_s = int(self._clock())
        if checkpoint is None:
            entry.records.append(record)
            return
        entry.checkpoint = checkpoint
        entry.records = []

    async def settled(self, key: SessionKey) -> None:
        """As `Store.settled`: every write was decided when it was called."""

    async def load(self, key: SessionKey) -> StoredSession | None:
        """As `Store.load`."""
        entry = self._entry(key)
        return None if entry is None else StoredSession(entry.checkpoint, tuple(entry.records))

    def rest(self, key: SessionKey) -> None:
        """As `Store.rest`: what is kept of the session becomes one piece of bytes."""
        entry = self._entries.get(key)
        if isinstance(entry, _Entry):
            stored = StoredSession(entry.checkpoint, tuple(entry.records))
            self._entries.put(key, pack(stored, (entry.text_bytes, entry.written_s)))

    async def delete(self, key: SessionKey, incarnation: int) -> None:
        """As `Store.delete`."""
        entry = self._entry(key)
        if entry is not None and entry.fence.incarnation == incarnation:
            self._forget(key, entry)

    async def put_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        """As `Store.put_snapshot`."""
        entry = self._read(key)
        if entry is not None and entry.fence.incarnation == incarnation:
            self._snapshots.put(key, snapshot)

    async def get_snapshot(self, key: SessionKey, incarnation: int) -> bytes | None:
        """As `Store.get_snapshot`."""
        entry = self._read(key)
        return self._snapshots.get(key) if entry is not None and entry.fence.incarnation == incarnation else None

    async def page(self, tenant: Tenant, after: SessionId | None, limit: int) -> tuple[StoredSummary, ...]:
        """As `Store.page`. Python orders strings by code points, which is the order of their UTF-8."""
        ids = (id_ for id_ in self._entries.of_tenant(tenant) if after is None or id_ > after)
        summaries = []
        for id_ in heapq.nsmallest(limit, ids):
            entry = self._read(SessionKey(tenant, id_))
            if entry is not None:
                revision, model = entry.fence.revision, entry.checkpoint.model
                summaries.append(StoredSummary(id_, revision, model, entry.text_bytes, entry.written_s))
        return tuple(summaries)

    async def sweep(self, limit: int) -> Swept:
        """As `Store.sweep`, but in no order: `limit` sessions are looked at."""
        if self._keeping.retention_s is None:
            return Swept((), more=False)
        before_s = self._clock() - self._keeping.retention_s
        swept = []
        for looked_at, key in enumerate(self._sweeping, start=1):
            entry = self._read(key)
            if entry is not None and entry.written_s < before_s:
                self._forget(key, entry)
                swept.append(key)
            if looked_at >= limit:
                return Swept(tuple(swept), more=True)
        self._sweeping = iter(list(self._entries))  # of the next round
        return Swept(tuple(swept), more=False)

    async def close(self) -> None:
        """As `Store.close`."""
        self._entries.clear()
        self._snapshots.clear()

    def _entry(self, key: SessionKey) -> _Entry | None:
        entry = self._entries.get(key)
        if isinstance(entry, bytes):
            stored, (text_bytes, written_s) = unpack(entry)
            entry = _Entry(stored, text_bytes, written_s)
            self._entries.put(key, entry)
        return entry

    def _read(self, key: SessionKey) -> _Entry | None:
        """The entry, packed again if it was packed: nobody asks for the session itself."""
        entry = self._entries.get(key)
        if isinstance(entry, bytes):
            stored, (text_bytes, written_s) = unpack(entry)
            return _Entry(stored, text_bytes, written_s)
        return entry

    def _forget(self, key: SessionKey, entry: _Entry) -> None:
        self._entries.remove(key)
        if self._snapshots.get(key) is not None:
            self._snapshots.remove(key)
        self._charge(key.tenant, -1, -entry.text_bytes)

    def _charge(self, tenant: Tenant, sessions: int, text_bytes: int) -> None:
        """Count what is added to a tenant's. Raises QuotaExceeded, and nothing was counted, if that is too much."""
        if not self._keeping.has_quota:
            return
        used = self._usage.setdefault(tenant, [0, 0])
        if sessions > 0 or text_bytes > 0:
            self._keeping.check(used[0] + sessions if sessions > 0 else 0, used[1] + text_bytes)
        used[0] += sessions
        used[1] += text_bytes
