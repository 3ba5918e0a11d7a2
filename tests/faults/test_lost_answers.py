"""What a network does to requests: answers are lost after the edit was made, and copies arrive, in any order.

The same edit id is answered as it was the first time, whoever is asked and over whatever protocol.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from tests.contract.valkey_server import ValkeyServer
from tests.faults.conftest import Counting
from tests.faults.crowd import crowd
from tests.faults.history import History, Operation, typed
from tests.faults.replicas import (
    PATIENCE_S,
    Replica,
    Replicas,
    channel,
    create,
    look_at_all,
    serving,
    suggests_as_a_fresh_one,
)
from tests.faults.typist import ask
from tests.faults.wire import Carries, Wire

pytestmark = pytest.mark.timeout(600)
_IN_FLIGHT = 6  # edits of one session, all on their way at the same time
_COPIES = 3


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path, "--appendonly", "yes").start()
    yield server
    server.kill()


@asynccontextmanager
async def behind_a_wire(server: Replica) -> AsyncIterator[tuple[Wire, Replica]]:
    async with Wire(server.grpc_port) as wire, channel(wire.port) as opened:
        yield wire, replace(server, stub=AutocompleteStub(opened))


@pytest.mark.parametrize(("times", "sessions"), [(3, 3), pytest.param(60, 16, marks=pytest.mark.faults)])
async def test_an_edit_whose_answer_was_lost_is_made_once(
    valkey: ValkeyServer, checked: Counting, times: int, sessions: int
) -> None:
    async with Replicas(2, f"store={valkey.url()}") as replicas:
        one, other = replicas.running
        async with behind_a_wire(one) as (wire, seen), crowd([seen, other], sessions) as people:
            for _ in range(times):
                await people.type_some()
                wire.lose(Carries.REQUESTS_ALONE)
                await asyncio.wait_for(wire.cut_once_lost(), PATIENCE_S)
    said = checked("answers lost over gRPC", times, people.histories)
    assert said.unknown > 0 or times < 10  # a few may all have been answers to readers, or of HTTP/2 itself


@pytest.mark.parametrize("times", [5, pytest.param(200, marks=pytest.mark.faults)])
@pytest.mark.parametrize("protocol", ["REST", "WebSocket"])
async def test_an_edit_whose_first_answer_was_lost_over_http_is_made_once(
    tmp_path: Path, checked: Counting, protocol: str, times: int
) -> None:
    history = History("s")
    ask_once = {"REST": _ask_over_rest, "WebSocket": _ask_over_a_websocket}[protocol]
    async with serving(f"store=sqlite:{tmp_path / 'sessions.sqlite'}") as server, Wire(server.http_port) as wire:
        await create(server, history)
        for number in range(times):
            operation = history.begin(1 + number)
            async with asyncio.timeout(PATIENCE_S):
                await ask_once(wire, history, operation, True)
                await ask_once(wire, history, operation, False)
            assert operation.outcomes == ["unknown", "ok"]
        await look_at_all([server], [history])
        await suggests_as_a_fresh_one(server, history)
    checked(f"answers lost over {protocol}", times, [history])


async def _ask_over_rest(wire: Wire, history: History, operation: Operation, lost: bool) -> None:
    history.invoked(operation)
    async with httpx.AsyncClient(verify=False, timeout=PATIENCE_S) as http, asyncio.TaskGroup() as tasks:
        if lost:
            wire.lose(Carries.REQUESTS_ALONE)
            tasks.create_task(wire.cut_once_lost())
        url = f"http://127.0.0.1:{wire.port}/v1/sessions/{history.session}/edits"
        try:
            answer = (await http.post(url, json=_body(history, operation))).raise_for_status()
        except httpx.TransportError:
            history.answered(operation, "unknown")
        else:
            history.answered(operation, "ok", answer.json()["revision"])


async def _ask_over_a_websocket(wire: Wire, history: History, operation: Operation, lost: bool) -> None:
    history.invoked(operation)
    url = f"ws://127.0.0.1:{wire.port}/v1/sessions/{history.session}/type"
    async with connect(url) as socket, asyncio.TaskGroup() as tasks:
        assert "opened" in json.loads(await socket.recv())
        if lost:
            wire.lose(Carries.REQUESTS_ALONE)
            tasks.create_task(wire.cut_once_lost())
        try:
            await socket.send(json.dumps(_body(history, operation)))
            answer = json.loads(await socket.recv())
        except ConnectionClosed:
            history.answered(operation, "unknown")
        else:
            history.answered(operation, "ok", answer["acknowledged"]["session"]["revision"])


def _body(history: History, operation: Operation) -> dict[str, object]:
    edits = [{"insert": typed(operation.number)}]
    return {"revision": operation.base, "edit_id": history.edit_id(operation), "edits": edits}


@pytest.mark.parametrize(("rounds", "sessions"), [(3, 3), pytest.param(30, 16, marks=pytest.mark.faults)])
async def test_copies_of_edits_that_arrive_in_any_order_at_any_replica_are_made_once_and_in_order(
    valkey: ValkeyServer, checked: Counting, rounds: int, sessions: int
) -> None:
    """Each of six edits that build on each other is sent three times, all at once, and again while it is refused."""
    chosen = random.Random(5)
    histories = [History(f"s{index}") for index in range(sessions)]
    async with Replicas(3, f"store={valkey.url()}") as replicas:
        await asyncio.gather(*(create(replicas.running[0], history) for history in histories))
        for _ in range(rounds):
            await asyncio.gather(*(_shuffled(replicas.running, history, chosen) for history in histories))
        await look_at_all(replicas.running, histories)
        for history in histories:
            assert all(operation.acknowledged for operation in history.operations)
            await suggests_as_a_fresh_one(chosen.choice(replicas.running), history)
    assert checked("copies, in any order, at three replicas", rounds, histories).failed > 0


async def _shuffled(replicas: Sequence[Replica], history: History, chosen: random.Random) -> None:
    made = len(history.operations)
    operations = [history.begin(1 + made + index) for index in range(_IN_FLIGHT)]
    for _ in range(_IN_FLIGHT):  # at least one more of them is made each time
        left = [operation for operation in operations if not operation.acknowledged]
        copies = left * _COPIES
        chosen.shuffle(copies)
        outcomes = await asyncio.gather(
            *(ask(chosen.choice(replicas), history, operation, PATIENCE_S) for operation in copies)
        )
        assert "unknown" not in outcomes
