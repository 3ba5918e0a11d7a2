"""The store that survives nothing: sessions last as long as the process. The default, and what the tests start from."""

from __future__ import annotations

from service.errors import Fenced
from service.sessions.by_session import BySession
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey, StoredSession
from service.sessions.stores.packed import pack, unpack


class _Entry:
    __slots__ = ("checkpoint", "fence", "records")

    def __init__(self, stored: StoredSession) -> None:
        self.checkpoint = stored.checkpoint
        self.records = list(stored.records)
        self.fence = stored.fence


class MemoryStore:
    """A `Store` in a dictionary. Keeps references to the records, and bytes of what rests. No method ever waits."""

    def __init__(self) -> None:
        self._entries: BySession[_Entry | bytes] = BySession()

    async def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        """As `Store.create`."""
        if self._entries.get(key) is not None:
            return False
        self._entries.put(key, _Entry(StoredSession(checkpoint)))
        return True

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        """As `Store.append`."""
        entry = self._entry(key)
        if entry is None or entry.fence != fence:
            raise Fenced(f"session {key.id!r} was changed or deleted elsewhere: read it and send the edits anew")
        entry.fence = Fence(fence.incarnation, record.revision)
        if checkpoint is None:
            entry.records.append(record)
            return
        entry.checkpoint = checkpoint
        entry.records = []

    async def load(self, key: SessionKey) -> StoredSession | None:
        """As `Store.load`."""
        entry = self._entry(key)
        return None if entry is None else StoredSession(entry.checkpoint, tuple(entry.records))

    def rest(self, key: SessionKey) -> None:
        """As `Store.rest`: what is kept of the session becomes one piece of bytes."""
        entry = self._entries.get(key)
        if isinstance(entry, _Entry):
            self._entries.put(key, pack(StoredSession(entry.checkpoint, tuple(entry.records))))

    async def delete(self, key: SessionKey, incarnation: int) -> None:
        """As `Store.delete`."""
        entry = self._entry(key)
        if entry is not None and entry.fence.incarnation == incarnation:
            self._entries.remove(key)

    async def close(self) -> None:
        """As `Store.close`."""
        self._entries.clear()

    def _entry(self, key: SessionKey) -> _Entry | None:
        entry = self._entries.get(key)
        if isinstance(entry, bytes):
            entry = _Entry(unpack(entry))
            self._entries.put(key, entry)
        return entry
