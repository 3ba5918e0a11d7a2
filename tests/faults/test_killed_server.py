"""kill -9 of real servers under typing clients, at random points and between a commit and its acknowledgement.

After every restart, before anything is asked again, each session holds every edit that was acknowledged, in order and
once. At the end its suggestions are, bit for bit, those of a session that was made with that text at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from service.settings import shipped_model
from tests.contract.valkey_server import ValkeyServer
from tests.faults.conftest import Counting
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


async def replicas_killed(replicas: Replicas, kills: int, histories: Sequence[History]) -> None:
    """One of several replicas after the other, while the others go on; what one asked there is asked elsewhere."""
    chosen = random.Random(7)
    over, progress = list[bool](), Progress()
    await asyncio.gather(*(create(replicas.running[0], history) for history in histories))
    typists = [
        Typist(history, replicas.running, progress, seed=seed, manner=Manner(gives_up=0.2))
        for history in histories
        for seed in range(2)
    ]
    async with asyncio.TaskGroup() as typing:
        for typist in typists:
            typing.create_task(typist.type_until(lambda: bool(over)))
        for _ in range(kills):
            await progress.more(chosen.randint(len(typists), 5 * len(typists)))
            victim = chosen.randrange(len(replicas.running))
            await replicas.running[victim].kill()
            await progress.more(len(typists))
            await replicas.restart(victim)
        over.append(True)
    await asyncio.gather(*(typist.finish() for typist in typists))
    await look_at_all(replicas.running, histories)
    for number, history in enumerate(histories):
        await suggests_as_a_fresh_one(replicas.running[number % len(replicas.running)], history)


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
@pytest.mark.parametrize(("kills", "sessions"), [(2, 3), pytest.param(30, 16, marks=pytest.mark.faults)])
async def test_of_three_replicas_any_may_be_killed_at_any_time(
    tmp_path: Path, checked: Counting, kills: int, sessions: int
) -> None:
    """Two people type into every session: of those who meet one is refused, and types again after the other."""
    valkey = ValkeyServer(tmp_path, "--appendonly", "yes").start()
    histories = [History(f"s{index}") for index in range(sessions)]
    try:
        async with Replicas(3, f"store={valkey.url()}") as replicas:
            await replicas_killed(replicas, kills, histories)
    finally:
        valkey.kill()
    assert checked("kill -9, one of three replicas", kills, histories).unknown > 0
