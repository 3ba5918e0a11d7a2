"""The store that survives nothing: sessions last as long as the process. The default, and what the tests start from."""

from __future__ import annotations

from service.errors import Fenced
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey, StoredSession


class _Entry:
    __slots__ = ("checkpoint", "fence", "records")

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.records: list[EditRecord] = []
        self.fence = Fence(checkpoint.incarnation, checkpoint.revision)


class MemoryStore:
    """A `Store` in a dictionary. Keeps references to the records, never copies. No method ever waits."""

    def __init__(self) -> None:
        self._entries: dict[SessionKey, _Entry] = {}

    async def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        """As `Store.create`."""
        if key in self._entries:
            return False
        self._entries[key] = _Entry(checkpoint)
        return True

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        """As `Store.append`."""
        entry = self._entries.get(key)
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
        entry = self._entries.get(key)
        return None if entry is None else StoredSession(entry.checkpoint, tuple(entry.records))

    async def delete(self, key: SessionKey, incarnation: int) -> None:
        """As `Store.delete`."""
        entry = self._entries.get(key)
        if entry is not None and entry.fence.incarnation == incarnation:
            del self._entries[key]

    async def close(self) -> None:
        """As `Store.close`."""
        self._entries.clear()
