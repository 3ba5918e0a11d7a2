"""The store that replicas share is restarted, slow, full or refuses, and answers of it are lost: while people type.

Edits are refused while it cannot write, with a delay after which to try again; replicas stay up, and nothing that was
acknowledged is gone afterwards. The file of one server is held to the same.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from tests.contract.valkey_server import ValkeyServer
from tests.faults.conftest import Counting
from tests.faults.crowd import crowd
from tests.faults.history import History
from tests.faults.replicas import PATIENCE_S, Replicas, look_at_all, serving
from tests.faults.typist import Progress, Typist
from tests.faults.wire import Carries, Wire

pytestmark = pytest.mark.timeout(600)
_MANY = pytest.param(8, 16, marks=pytest.mark.faults)
SHORT_AND_LONG = pytest.mark.parametrize(("times", "sessions"), [(1, 3), _MANY])
LONG = pytest.mark.parametrize(("times", "sessions"), [_MANY])


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always").start()
    yield server
    server.kill()


@SHORT_AND_LONG
async def test_the_store_is_killed_and_restarted(
    valkey: ValkeyServer, checked: Counting, times: int, sessions: int
) -> None:
    async with Replicas(2, f"store={valkey.url()}", "acknowledge=fsync") as replicas:
        async with crowd(replicas.running, sessions) as people:
            for _ in range(times):
                await people.type_some(3)
                await asyncio.to_thread(valkey.kill)
                await people.progress.more(2 * sessions, "unknown")
                await asyncio.to_thread(valkey.start)
            await people.type_some()
        for replica in replicas.running:
            assert replica.said("THE SESSION STORE DOES NOT ANSWER")
            assert replica.said("the session store answers again")
    checked("the store killed and restarted", times, people.histories)


@LONG
async def test_the_store_is_too_slow(valkey: ValkeyServer, checked: Counting, times: int, sessions: int) -> None:
    """Asleep for longer than it is waited for: what it was sent is made when it wakes, and nobody was told."""
    async with Replicas(2, f"store={valkey.url()}") as replicas, crowd(replicas.running, sessions) as people:
        for _ in range(times):
            await people.type_some(3)
            valkey.freeze()
            await people.progress.more(sessions, "unknown")
            valkey.wake()
        await people.type_some()
    checked("the store frozen for seconds", times, people.histories)


@LONG
async def test_the_store_is_full(valkey: ValkeyServer, checked: Counting, times: int, sessions: int) -> None:
    async with Replicas(2, f"store={valkey.url()}") as replicas, crowd(replicas.running, sessions) as people:
        for _ in range(times):
            await people.type_some(3)
            valkey.ask("CONFIG", "SET", "maxmemory", "1")
            await people.progress.more(2 * sessions, "unknown")
            valkey.ask("CONFIG", "SET", "maxmemory", "0")
        await people.type_some()
    checked("the store full", times, people.histories)


@LONG
async def test_the_store_refuses_to_be_written(
    valkey: ValkeyServer, checked: Counting, times: int, sessions: int
) -> None:
    """It became a replica of another one, which is not there; then it is the first one again."""
    async with Replicas(2, f"store={valkey.url()}") as replicas, crowd(replicas.running, sessions) as people:
        for _ in range(times):
            await people.type_some(3)
            valkey.ask("REPLICAOF", "127.0.0.1", "1")
            await people.progress.more(2 * sessions, "unknown")
            valkey.ask("REPLICAOF", "NO", "ONE")
        await people.type_some()
    checked("the store read-only", times, people.histories)


@SHORT_AND_LONG
async def test_answers_of_the_store_are_lost(
    valkey: ValkeyServer, checked: Counting, times: int, sessions: int
) -> None:
    """The writes went through. One replica's wire is cut, or only seems to be there; the other's is sound."""
    async with Wire(valkey.port) as wire:
        store = f"store=valkey://127.0.0.1:{wire.port}/0"
        async with Replicas(1, store) as behind, Replicas(1, f"store={valkey.url()}") as beside:
            running = [*behind.running, *beside.running]
            async with crowd(running, sessions) as people:
                for number in range(2 * times):
                    await people.type_some(2)
                    wire.lose(Carries.REQUESTS_ALONE)
                    if number % 2:
                        await people.progress.more(1, "unknown")  # who waited for it until it was too slow
                    await wire.cut_once_lost()
                await people.type_some()
    checked("answers of the store lost", 2 * times, people.histories)


@SHORT_AND_LONG
async def test_the_file_cannot_be_written(tmp_path: Path, checked: Counting, times: int, sessions: int) -> None:
    """The system lets the process write no file beyond a size that it has reached; and then it does again."""
    async with Replicas(1, f"store=sqlite:{tmp_path / 'sessions.sqlite'}") as replicas:
        (server,) = replicas.running
        async with crowd(replicas.running, sessions) as people:
            for _ in range(times):
                await people.type_some(3)
                _, most = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, most))
                await people.progress.more(2 * sessions, "unknown")
                resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (most, most))
            await people.type_some()
        assert server.said("THE SESSION FILE CANNOT BE WRITTEN")
        assert server.said("the session file is written again")
    checked("the session file refused by the system", times, people.histories)


async def test_sessions_of_which_nothing_is_to_be_written_go_on_and_begin_without_the_store(
    valkey: ValkeyServer, checked: Counting
) -> None:
    histories = [History(f"s{index}") for index in range(3)]
    async with serving(f"store={valkey.url()}") as server:
        for history in histories:
            made = pb.CreateSessionRequest(id=history.session, store_text=False)
            await server.stub.CreateSession(made, timeout=PATIENCE_S)
        await asyncio.to_thread(valkey.kill)
        typists = [Typist(history, [server], Progress()) for history in histories]
        for _ in range(10):
            await asyncio.gather(*(typist.finish() for typist in typists))
        new = await server.stub.CreateSession(pb.CreateSessionRequest(text="a", store_text=False), timeout=PATIENCE_S)
        assert not new.session.stored
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await server.stub.CreateSession(pb.CreateSessionRequest(text="a"), timeout=PATIENCE_S)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await look_at_all([server], histories)
        await asyncio.to_thread(valkey.start)
    said = checked("the store gone, sessions that are not stored", 1, histories)
    assert said.ok == said.operations
    assert valkey.ask("KEYS", "*") == []
