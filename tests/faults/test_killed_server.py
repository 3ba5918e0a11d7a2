"""kill -9 of real servers under typing clients, at random points and between a commit and its acknowledgement.

After every restart, before anything is asked again, each session holds every edit that was acknowledged, in order and
once. At the end its suggestions are, bit for bit, those of a session that was made with that text at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from service.settings import shipped_model
from tests.contract.valkey_server import ValkeyServer
from tests.faults.conftest import Counting
from tests.faults.crowd import crowd
from tests.faults.history import History
from tests.faults.replicas import (
    PATIENCE_S,
    Replica,
    Replicas,
    create,
    look_at_all,
    serving,
    suggests_as_a_fresh_one,
)
from tests.faults.typist import Manner, Progress, Typist

_COPIES = (1, 1, 1, 2)  # of a request, sent at the same time: as a network may, or a client that is impatient


async def killed_again_and_again(file: Path, kills: int, clients: int, flags: tuple[str, ...]) -> list[History]:
    """One server and its file; every second kill is between a commit and its acknowledgement."""
    chosen = random.Random(7)
    histories = [History(f"s{index}") for index in range(clients)]
    flags = (f"store=sqlite:{file}", *flags)
    running: list[Replica] = []
    progress = Progress()
    typists = [Typist(history, running, progress, manner=_manner(number)) for number, history in enumerate(histories)]
    for kill in range(kills):
        between = kill % 2 == 1
        dies = (f"die_after={chosen.randint(clients + 2, 60)}",) if between else ()
        async with serving(*flags, *dies) as server:
            running[:] = [server]
            if kill == 0:
                await asyncio.gather(*(create(server, history) for history in histories))
            await look_at_all(running, histories)
            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as typing:
                for typist in typists:
                    typing.create_task(typist.type_until(lambda: running[0].gone))
                if not between:
                    await progress.more(chosen.randint(1, 150))
                    server.process.kill()
            assert await server.process.wait() == -signal.SIGKILL
    async with serving(*flags) as server:
        running[:] = [server]
        await look_at_all(running, histories)
        await asyncio.gather(*(typist.finish() for typist in typists))
        await look_at_all(running, histories)
        for history in histories:
            await suggests_as_a_fresh_one(server, history)
    return histories


def _manner(number: int) -> Manner:
    return Manner(copies=_COPIES[number % len(_COPIES)], rests_s=0.002)


@pytest.mark.timeout(300)
async def test_every_acknowledged_edit_survives_20_kills(tmp_path: Path, checked: Counting) -> None:
    histories = await killed_again_and_again(tmp_path / "sessions.sqlite", 20, 8, ())
    said = checked("kill -9, one server and its file", 20, histories)
    assert said.unknown >= 20
    assert said.failed == 0


@pytest.mark.faults
@pytest.mark.timeout(1800)
async def test_every_acknowledged_edit_survives_200_kills_under_32_clients(tmp_path: Path, checked: Counting) -> None:
    kills = int(os.environ.get("CAROUSEL_TEST_KILLS", "200"))
    flags = (f"model={shipped_model()}",)
    histories = await killed_again_and_again(tmp_path / "sessions.sqlite", kills, 32, flags)
    said = checked("kill -9, one server and its file, the shipped model", kills, histories)
    assert said.unknown >= kills
    assert said.failed == 0


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kills", "sessions"), [(1, 3), pytest.param(20, 16, marks=pytest.mark.faults)])
async def test_of_three_replicas_any_may_be_killed_at_any_time(
    tmp_path: Path, checked: Counting, kills: int, sessions: int
) -> None:
    """Two people type into every session: of those who meet one is refused, and types again after the other."""
    chosen = random.Random(7)
    valkey = ValkeyServer(tmp_path, "--appendonly", "yes").start()
    try:
        async with Replicas(3, f"store={valkey.url()}") as replicas, crowd(replicas.running, sessions) as people:
            for _ in range(kills):
                await people.type_some(chosen.randint(1, 5))
                victim = chosen.randrange(3)
                await replicas.running[victim].kill()
                await people.type_some()
                await replicas.restart(victim)
    finally:
        valkey.kill()
    assert checked("kill -9, one of three replicas", kills, people.histories).ok > 0


@pytest.mark.timeout(600)
@pytest.mark.faults
@pytest.mark.parametrize(("kills", "sessions"), [(20, 32)])
async def test_a_replica_may_be_killed_when_the_shared_store_has_an_edit_and_nobody_was_told(
    tmp_path: Path, checked: Counting, kills: int, sessions: int
) -> None:
    """Beside one that stays, which is asked again by whoever was not told."""
    chosen = random.Random(3)
    valkey = ValkeyServer(tmp_path, "--appendonly", "yes").start()
    store = f"store={valkey.url()}"
    try:
        async with AsyncExitStack() as started:
            running = [await started.enter_async_context(serving(store))]
            # One to a session: of two at two replicas, the one at the replica that dies would hardly ever be first.
            async with crowd(running, sessions, each=1) as people:
                for number in range(kills):
                    dying = serving(store, f"die_after={chosen.randint(1, 60)}")
                    dies = await started.enter_async_context(dying)
                    running.insert(number % 2, dies)  # who has left the last one asks this one
                    assert await asyncio.wait_for(dies.process.wait(), PATIENCE_S) == -signal.SIGKILL
                    running.remove(dies)
    finally:
        valkey.kill()
    assert checked("kill -9 between commit and answer, a replica", kills, people.histories).unknown >= kills
