"""kill -9 of a real server under typing clients, at random points and between a commit and its acknowledgement.

After every restart, before anything is asked again, each session holds every edit that was acknowledged, in order and
once. At the end its suggestions are, bit for bit, those of a session that was made with that text at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from service.settings import shipped_model
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from tests.faults.history import History, Operation, Outcome, counts, typed

if TYPE_CHECKING:  # a class for type checkers alone
    from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteAsyncStub

_TIMEOUT_S = 30.0
_COPIES = (1, 1, 1, 2)  # of a request, sent at the same time: as a network may, or a client that is impatient
_SUGGEST = pb.SuggestOptions(count=3, max_bytes=12, stop=pb.STOP_NONE)


@dataclass
class Server:
    """A process that serves, and a channel to it."""

    process: asyncio.subprocess.Process
    stub: AutocompleteAsyncStub
    acknowledged: int = 0

    @property
    def gone(self) -> bool:
        return self.process.returncode is not None


@asynccontextmanager
async def serving(*flags: str) -> AsyncIterator[Server]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.serve_until_killed", *flags, stderr=subprocess.PIPE
    )
    try:
        port = await asyncio.wait_for(_port(process), _TIMEOUT_S)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Server(process, AutocompleteStub(channel))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _port(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    said = []
    async for line in process.stderr:
        said.append(line.decode())
        entry: dict[str, Any] = json.loads(line) if line.startswith(b"{") else {}
        if entry.get("event") == "serving":
            return int(entry["grpc_port"])
    raise AssertionError("".join(said))


async def type_until_killed(server: Server, history: History, most: int) -> None:
    """Type edit after edit; what was not answered before is asked again with its id. Ends when the server is gone."""
    operations = history.operations
    while len(operations) < most or not operations[-1].acknowledged:
        if not operations or operations[-1].acknowledged:
            operations.append(Operation(len(operations), 1 + len(operations)))
        operation = operations[-1]
        request = pb.EditRequest(
            session_id=history.session,
            revision=operation.base,
            edit_id=f"{history.session}-{operation.number}",
            edits=[pb.EditOperation(insert=typed(operation.number))],
        )
        copies = _COPIES[operation.number % len(_COPIES)]
        operation.outcomes.extend(["invoked"] * copies)
        outcomes = await asyncio.gather(*(ask(server, request) for _ in range(copies)))
        operation.outcomes.extend(outcomes)
        assert "failed" not in outcomes
        if not operation.acknowledged:
            return
        server.acknowledged += 1


async def ask(server: Server, request: pb.EditRequest) -> Outcome:
    """Send it once. A copy of a request that is kept is answered as that was."""
    try:
        answer = await server.stub.Edit(request, timeout=_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        lost = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        return "unknown" if lost else "failed"
    assert answer.session.revision == request.revision + 1
    return "ok"


async def check_recovered(server: Server, history: History) -> None:
    read = await server.stub.GetSession(pb.GetSessionRequest(session_id=history.session, include_text=True))
    history.check(read.session.revision, read.text)


async def check_suggestions(server: Server, history: History) -> None:
    """Those of the session that was killed, and of one that was made with its text: the same, to the last bit."""
    edits = len(history.operations)
    asked = pb.EditRequest(session_id=history.session, revision=1 + edits, suggest=_SUGGEST)
    recovered = await server.stub.Edit(asked, timeout=_TIMEOUT_S)
    fresh = await server.stub.CreateSession(pb.CreateSessionRequest(text=history.text(edits), suggest=_SUGGEST))
    shown = [[(one.text, one.probability, one.finish_reason) for one in of.suggestions] for of in (recovered, fresh)]
    assert shown[0] == shown[1]
    assert shown[0]


async def run(file: Path, kills: int, clients: int, flags: tuple[str, ...], seed: int = 7) -> None:
    chosen = random.Random(seed)
    histories = [History(f"s{index}") for index in range(clients)]
    flags = (f"store=sqlite:{file}", *flags)
    for kill in range(kills):
        between = kill % 2 == 1
        dies = (f"die_after={chosen.randint(clients + 2, 60)}",) if between else ()
        async with serving(*flags, *dies) as server:
            for history in histories:
                if kill:
                    await check_recovered(server, history)
                else:
                    await server.stub.CreateSession(pb.CreateSessionRequest(id=history.session))
            typing = [asyncio.create_task(type_until_killed(server, history, 10**6)) for history in histories]
            if not between:
                await _acknowledges(server, chosen.randint(1, 150), typing)
                server.process.send_signal(signal.SIGKILL)
            await asyncio.wait_for(asyncio.gather(*typing), _TIMEOUT_S)
            assert await server.process.wait() == -signal.SIGKILL
    async with serving(*flags) as server:
        for history in histories:
            await check_recovered(server, history)
            await type_until_killed(server, history, len(history.operations))
            await check_recovered(server, history)
            assert history.acknowledged == len(history.operations)
            await check_suggestions(server, history)
    said = counts(histories)
    print(f"{kills} kills, {clients} clients:", dict(said))
    assert said["unknown"] >= kills
    assert said["failed"] == 0


async def _acknowledges(server: Server, many: int, typing: list[asyncio.Task[None]]) -> None:
    """Wait until so many edits were acknowledged, and not a moment more: the kill comes in the middle of others."""
    while server.acknowledged < many:
        assert not any(task.done() for task in typing)
        await asyncio.sleep(0)


@pytest.mark.timeout(300)
async def test_every_acknowledged_edit_survives_20_kills(tmp_path: Path) -> None:
    await run(tmp_path / "sessions.sqlite", 20, 8, ())


@pytest.mark.faults
@pytest.mark.timeout(1800)
async def test_every_acknowledged_edit_survives_200_kills_under_32_clients(tmp_path: Path) -> None:
    kills = int(os.environ.get("CAROUSEL_TEST_KILLS", "200"))
    await run(tmp_path / "sessions.sqlite", kills, 32, (f"model={shipped_model()}",))
