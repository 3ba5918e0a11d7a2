"""A session file that is torn while its server is dead: the server starts, says so, and shows nobody what is not so.

Of a damaged file nothing is believed: it is set aside whole, and whoever types goes on in sessions that are made anew.
Of a torn log SQLite believes what is whole at its beginning: then every session is as it was at some moment before.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from tests.faults.checking import FIRST_REVISION
from tests.faults.conftest import Counting
from tests.faults.history import History, Seen, typed
from tests.faults.replicas import PATIENCE_S, Replica, create, look, look_at_all, serving, suggests_as_a_fresh_one
from tests.faults.typist import Manner, Progress, Typist

pytestmark = pytest.mark.timeout(600)


def _cut_off(file: Path, chosen: random.Random) -> None:
    os.truncate(file, chosen.randrange(4096, file.stat().st_size))


def _scribbled_over(file: Path, chosen: random.Random) -> None:
    with file.open("r+b") as opened:
        for _ in range(8):
            opened.seek(chosen.randrange(1, file.stat().st_size // 4096) * 4096)
            opened.write(chosen.randbytes(4096))


def _headless(file: Path, chosen: random.Random) -> None:
    with file.open("r+b") as opened:
        opened.write(chosen.randbytes(4096))


TEARS: dict[str, Callable[[Path, random.Random], None]] = {
    "cut off": _cut_off,
    "scribbled over": _scribbled_over,
    "headless": _headless,
}


async def _typed_and_killed(file: Path, histories: list[History], *, tidy: bool) -> None:
    """Each session has some edits; tidy: the log is written into the file, as at the end of a server in order."""
    async with serving(f"store=sqlite:{file}") as server:
        await asyncio.gather(*(create(server, history) for history in histories))
        progress = Progress()
        manner = Manner(rests_s=0.0)
        typists = [Typist(history, [server], progress, manner=manner) for history in histories]
        for _ in range(10):
            await asyncio.gather(*(typist.finish() for typist in typists))
        await look_at_all([server], histories)
        if tidy:
            server.process.terminate()
            assert await asyncio.wait_for(server.process.wait(), PATIENCE_S) == 0
        else:
            await server.kill()


@pytest.mark.parametrize(
    ("tear", "times"), [("scribbled over", 1), *(pytest.param(tear, 4, marks=pytest.mark.faults) for tear in TEARS)]
)
async def test_a_torn_file_is_set_aside_and_the_server_starts_and_says_so(
    tmp_path: Path, checked: Counting, tear: str, times: int
) -> None:
    chosen, kept = random.Random(13), list[History]()
    for number in range(times):
        file = tmp_path / f"{number}" / "sessions.sqlite"
        histories = [History(f"s{number}-{index}") for index in range(8)]
        await _typed_and_killed(file, histories, tidy=True)
        TEARS[tear](file, chosen)
        async with serving(f"store=sqlite:{file}") as server:
            assert server.said("THE SESSION FILE IS DAMAGED")
            (said,) = (entry for entry in server.logged if "set_aside_as" in entry)
            assert await asyncio.to_thread(Path(said["set_aside_as"]).is_file)
            for history in histories:
                assert await _is_gone(server, history)
            anew = [History(history.session) for history in histories]
            await asyncio.gather(*(create(server, history) for history in anew))
            typists = [Typist(history, [server], Progress()) for history in anew]
            await asyncio.gather(*(typist.finish() for typist in typists))
            await look_at_all([server], anew)
            await suggests_as_a_fresh_one(server, anew[0])
        kept += [*histories, *anew]
    checked(f"a session file {tear}", times, kept)


async def _is_gone(server: Replica, history: History) -> bool:
    try:
        await look(server, history)
    except grpc.aio.AioRpcError as error:
        return error.code() is grpc.StatusCode.NOT_FOUND
    return False


@pytest.mark.faults
@pytest.mark.parametrize("times", [10])
async def test_a_torn_log_takes_the_newest_edits_and_leaves_every_session_as_it_was_once(
    tmp_path: Path, checked: Counting, times: int
) -> None:
    """As of a disk that loses power; that `store` does not survive it, and `fsync` does, is what they promise."""
    chosen, kept, lost = random.Random(17), list[History](), 0
    for number in range(times):
        file = tmp_path / f"{number}" / "sessions.sqlite"
        histories = [History(f"s{number}-{index}") for index in range(8)]
        await _typed_and_killed(file, histories, tidy=False)
        log = file.with_name(file.name + "-wal")
        os.truncate(log, chosen.randrange(log.stat().st_size // 2, log.stat().st_size))
        async with serving(f"store=sqlite:{file}") as server:
            assert not server.said("DAMAGED")
            for history in histories:
                before = len(history.operations)
                after = History(history.session)
                revision = await look(server, after)
                (seen,) = after.events
                assert isinstance(seen, Seen)
                assert seen.text == "".join(map(typed, range(revision - FIRST_REVISION)))
                lost += before - (revision - FIRST_REVISION)
                await suggests_as_a_fresh_one(server, history)
        kept += histories
    assert lost > 0
    checked("a log cut off", times, kept)
