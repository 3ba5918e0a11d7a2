"""What runs beside the requests: states are kept beside texts while the server runs, and once more at its end."""

from __future__ import annotations

import asyncio

from service.errors import Unavailable
from service.sessions.commands import CreateSession, SessionId
from service.sessions.records import SessionKey
from service.storing import last_snapshots, snapshot_for_ever
from tests.unit.sessions.rooms import TENANT, Room
from tests.unit.sessions.test_parking import LastingMemory

TEXT = "import os\n" * 500


class FailingAtFirst(LastingMemory):
    """Fails with its first snapshots: with a bug, then because it is down."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[Exception] = [RuntimeError("a bug"), Unavailable("down", 1.0)]
        self.put: set[str] = set()
        self.all_kept = asyncio.Event()

    async def put_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.put.add(key.id)
        if len(self.put) == 3:
            self.all_kept.set()


async def _created(room: Room) -> None:
    for name in "abc":
        await room.sessions.create(TENANT, CreateSession(TEXT, SessionId(name)))


async def test_states_are_kept_while_the_server_runs_whatever_goes_wrong_with_some() -> None:
    store = FailingAtFirst()
    room = Room(store=store)
    await _created(room)
    keeping = asyncio.create_task(snapshot_for_ever(room.sessions, every_s=0.0))
    await asyncio.wait_for(store.all_kept.wait(), 10)
    assert not keeping.done()
    keeping.cancel()


class Hanging(LastingMemory):
    """Never says that it has kept a snapshot."""

    async def put_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        await asyncio.Event().wait()


async def test_the_end_waits_no_longer_than_it_may_for_what_is_a_shortcut_only() -> None:
    room = Room(store=Hanging())
    await _created(room)
    await asyncio.wait_for(last_snapshots(room.sessions, within_s=0.05), 10)
