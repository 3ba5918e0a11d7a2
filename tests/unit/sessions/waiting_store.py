"""A store that takes its time, and a way to let several requests wait for it in any order, without an event loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from service.errors import Unavailable
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey, StoredSession
from service.sessions.stores.memory import MemoryStore


class Pause:
    """Awaiting it waits until the coroutine is continued."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class WaitingStore(MemoryStore):
    """What is asked takes effect at once, in call order, and is answered a pause later.

    fails: called at every append; True makes it fail, before it takes effect or after.
    """

    def __init__(self, fails: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self._fails = fails
        self._appending: Counter[SessionKey] = Counter()

    async def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        created = await super().create(key, checkpoint)
        await Pause()
        return created

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        self._appending[key] += 1
        try:
            if self._fails():
                await Pause()
                raise Unavailable("the store is down, nothing was written", 1.0)
            try:
                await super().append(key, fence, record, checkpoint)
            finally:
                await Pause()
            if self._fails():
                raise Unavailable("the store went down before it could answer", 1.0)
        finally:
            self._appending[key] -= 1

    async def settled(self, key: SessionKey) -> None:
        while self._appending[key]:
            await Pause()

    async def load(self, key: SessionKey) -> StoredSession | None:
        stored = await super().load(key)
        await Pause()
        return stored

    async def delete(self, key: SessionKey, incarnation: int) -> None:
        await super().delete(key, incarnation)
        await Pause()


class LastingWaiting(WaitingStore):
    """The same, and it stands for a store that survives, which may fail with snapshots as with edits."""

    def durable(self, key: SessionKey) -> bool:
        return True

    async def put_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        await Pause()
        if self._fails():
            raise Unavailable("the store is down, nothing was written", 1.0)
        await super().put_snapshot(key, incarnation, snapshot)
        await Pause()

    async def get_snapshot(self, key: SessionKey, incarnation: int) -> bytes | None:
        snapshot = await super().get_snapshot(key, incarnation)
        await Pause()
        if self._fails():
            raise Unavailable("the store went down before it could answer", 1.0)
        return snapshot


class Running:
    """A request under way: `step` continues it to its next wait or until it is `done`."""

    def __init__(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self._coroutine = coroutine
        self.done = False
        self.steps = 0
        self.result: object = None
        self.error: Exception | None = None

    def step(self) -> None:
        self.steps += 1
        try:
            self._coroutine.send(None)
        except StopIteration as finished:
            self.done, self.result = True, finished.value
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.done, self.error = True, error

    def cancel(self) -> None:
        self._coroutine.close()
        self.done = True
