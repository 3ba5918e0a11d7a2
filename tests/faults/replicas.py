"""Real server processes that a test may kill, freeze and wake, and how sessions are asked for there."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from tests.faults.checking import Suggested, check_same_bits
from tests.faults.history import History

if TYPE_CHECKING:  # a class for type checkers alone
    from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteAsyncStub

PATIENCE_S = 30.0
_SUGGEST = pb.SuggestOptions(count=3, max_bytes=12, stop=pb.STOP_NONE)
# A replica that is back is found at once, and one that is gone is not waited for.
_CHANNEL = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))


def channel(port: int) -> grpc.aio.Channel:
    """To a port of this machine; not shared with any other channel."""
    options = (*_CHANNEL, ("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)


@dataclass
class Replica:
    """A process that serves."""

    process: asyncio.subprocess.Process
    grpc_port: int
    http_port: int
    stub: AutocompleteAsyncStub
    logged: list[dict[str, Any]] = field(default_factory=list)

    @property
    def gone(self) -> bool:
        return self.process.returncode is not None

    async def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        await self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def said(self, words: str) -> bool:
        """Whether a line of its log has these words."""
        return any(words in entry.get("event", "") for entry in self.logged)


@asynccontextmanager
async def serving(*flags: str) -> AsyncIterator[Replica]:
    """A server with these flags of `serve_until_killed`, killed at the end if it is still there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.serve_until_killed", *flags, stderr=subprocess.PIPE
    )
    logged: list[dict[str, Any]] = []
    try:
        said = await asyncio.wait_for(_until_it_serves(process, logged), PATIENCE_S)
        reading = asyncio.create_task(_read(process, logged))  # or it would wait for us at a full pipe
        async with channel(said["grpc_port"]) as opened:
            yield Replica(process, said["grpc_port"], said["http_port"], AutocompleteStub(opened), logged)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    await reading


async def _until_it_serves(process: asyncio.subprocess.Process, logged: list[dict[str, Any]]) -> dict[str, Any]:
    assert process.stderr is not None
    async for line in process.stderr:
        entry = _entry(line)
        logged.append(entry)
        if entry["event"] == "serving":
            return entry
    raise AssertionError(f"it ended before it served: {logged}")


async def _read(process: asyncio.subprocess.Process, logged: list[dict[str, Any]]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        logged.append(_entry(line))


def _entry(line: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(line) if line.startswith(b"{") else {"event": line.decode()}
    return entry


class Replicas:
    """Some of them with the same flags; one that was killed may be started again in its place."""

    def __init__(self, number: int, *flags: str) -> None:
        self._number, self._flags = number, flags
        self._started = AsyncExitStack()
        self.running: list[Replica] = []

    async def __aenter__(self) -> Replicas:
        self.running = list(await asyncio.gather(*(self._start() for _ in range(self._number))))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._started.aclose()

    async def restart(self, number: int) -> None:
        """Another one, on other ports, where one was killed; whoever asks that one just now learns that it is gone."""
        self.running[number] = await self._start()

    async def _start(self) -> Replica:
        return await self._started.enter_async_context(serving(*self._flags))


async def create(replica: Replica, history: History) -> None:
    """The session of a history: empty, at its first revision."""
    await replica.stub.CreateSession(pb.CreateSessionRequest(id=history.session), timeout=PATIENCE_S)


async def look(replica: Replica, history: History, waits_s: float = PATIENCE_S, *, joins: bool = False) -> int:
    """Read the session into its history; its revision. joins: wait until gRPC has a connection, if it has none."""
    known = len(history.events)
    asked = pb.GetSessionRequest(session_id=history.session, include_text=True)
    read = await replica.stub.GetSession(asked, timeout=waits_s, wait_for_ready=joins)
    history.saw(read.session.revision, read.text, known)
    return int(read.session.revision)


async def look_at_all(replicas: Sequence[Replica], histories: Sequence[History]) -> None:
    """Every session as every replica has it; of a wire that was just cut, gRPC takes a moment to join the ends."""
    for replica in replicas:
        await asyncio.gather(*(look(replica, history, joins=True) for history in histories))


async def suggests_as_a_fresh_one(replica: Replica, history: History) -> None:
    """The session's suggestions are those of one that is made with its text at once, to the last bit."""
    asked = pb.GetSessionRequest(session_id=history.session, include_text=True)
    read = await replica.stub.GetSession(asked, timeout=PATIENCE_S)
    edit = pb.EditRequest(session_id=history.session, revision=read.session.revision, suggest=_SUGGEST)
    recovered = await replica.stub.Edit(edit, timeout=PATIENCE_S)
    made = pb.CreateSessionRequest(text=read.text, suggest=_SUGGEST)
    fresh = await replica.stub.CreateSession(made, timeout=PATIENCE_S)
    check_same_bits(_suggested(recovered), _suggested(fresh))
    forgotten = pb.DeleteSessionRequest(session_id=fresh.session.id)
    await replica.stub.DeleteSession(forgotten, timeout=PATIENCE_S)


def _suggested(answer: Any) -> list[Suggested]:
    return [Suggested(one.text, one.probability, str(one.finish_reason)) for one in answer.suggestions]
