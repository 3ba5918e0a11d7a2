"""Two replicas that share a Valkey, behind the Envoy that deploy/envoy ships: who gets what, and what a kill costs.

A replica that is gone is not waited for: what it was asked is asked at the other one, streams are cut and go on there,
and every acknowledged keystroke is in the text, once and in order.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from carousel_client import Acknowledged, AsyncClient, AsyncTypingStream, Disconnected, Event, Insert, Rejected
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from tests.contract.valkey_server import ValkeyServer
from tests.faults.conftest import Counting
from tests.faults.envoy_process import Envoy, Replica, envoy
from tests.faults.history import History, Operation, counts, typed
from tests.integration.test_process import Process, process

pytestmark = pytest.mark.timeout(120)
LONG = pytest.mark.faults

AFFINITY = "x-carousel-session"
_EDITS = 40  # of each typist


@dataclass
class Fleet:
    """The replicas and what stands before them."""

    replicas: list[Process]
    addresses: list[Replica]
    metrics: list[str]
    envoy: Envoy
    flags: tuple[str, ...]
    stack: ExitStack

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.envoy.port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.envoy.port}"

    def answered(self, operation: str) -> tuple[int, ...]:
        """How many requests of an operation each replica has answered."""
        return tuple(_requests(url, operation) for url in self.metrics)

    def kill(self, number: int) -> None:
        self.replicas[number].popen.send_signal(signal.SIGKILL)
        self.replicas[number].popen.wait(timeout=10)

    def restart(self, number: int) -> None:
        """As a rollout does it: ended in order, another one in its place, and on only once that one is asked."""
        assert self.replicas[number].end(signal.SIGTERM) == 0
        self._begin(number)

    def replace(self, number: int) -> None:
        """Killed, and another one in its place, once Envoy has seen it."""
        self.kill(number)
        self.envoy.wait_until_asks(len(self.replicas) - 1)
        self._begin(number)

    def _begin(self, number: int) -> None:
        where = self.addresses[number]
        ports = (f"grpc_port={where.grpc_port}", f"http_port={where.http_port}")
        self.replicas[number] = self.stack.enter_context(process(*self.flags, *ports))
        self.envoy.wait_until_asks(len(self.replicas))


def _requests(url: str, operation: str) -> int:
    text = httpx.get(url, verify=False).text
    return sum(
        int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "carousel_requests_total" and sample.labels["operation"] == operation
    )


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with fleet_of(2, tmp_path) as made:
        yield made


@contextmanager
def fleet_of(number: int, folder: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        valkey = ValkeyServer(folder, "--appendonly", "yes").start()
        stack.callback(valkey.kill)
        flags = ("log_format=json", f"store={valkey.url()}")
        servers = [stack.enter_context(process(*flags)) for _ in range(number)]
        said: list[dict[str, Any]] = [json.loads(server.lines[-1]) for server in servers]
        replicas = [Replica(one["grpc_port"], one["http_port"]) for one in said]
        metrics = [f"http://127.0.0.1:{one['metrics_port']}/metrics" for one in said]
        before = stack.enter_context(envoy(folder, replicas))
        yield Fleet(servers, replicas, metrics, before, flags, stack)


def _who(before: tuple[int, ...], after: tuple[int, ...]) -> set[int]:
    return {number for number, (was, is_) in enumerate(zip(before, after, strict=True)) if is_ > was}


@LONG
async def test_a_session_has_one_replica_by_header_and_by_path_and_sessions_are_spread(fleet: Fleet) -> None:
    owners: Counter[int] = Counter()
    async with httpx.AsyncClient(base_url=fleet.http, verify=False) as http:
        for number in range(16):
            id_ = f"affine-{number}"
            made = await http.post("/v1/sessions", json={"id": id_, "text": "a"}, headers={AFFINITY: id_})
            assert made.status_code == 201
            before = fleet.answered("GetSession")
            for _ in range(2):
                assert (await http.get(f"/v1/sessions/{id_}?include=text", headers={AFFINITY: id_})).is_success
                assert (await http.get(f"/v1/sessions/{id_}")).is_success
            (owner,) = _who(before, fleet.answered("GetSession"))
            edits = fleet.answered("Edit")
            body = {"revision": 1, "edits": [{"insert": "b"}]}
            assert (await http.post(f"/v1/sessions/{id_}/edits", json=body)).is_success
            assert _who(edits, fleet.answered("Edit")) == {owner}
            if number < 4:  # Envoy takes a second to close one
                await _type_over_a_websocket(fleet, id_, owner)
            owners[owner] += 1
    assert set(owners) == {0, 1}, owners


async def _type_over_a_websocket(fleet: Fleet, id_: str, owner: int) -> None:
    typed = fleet.answered("Type")
    async with connect(f"ws://127.0.0.1:{fleet.envoy.port}/v1/sessions/{id_}/type") as socket:
        await socket.send(json.dumps({"revision": 2, "edit_id": "e", "edits": [{"insert": "c"}]}))
        said = [json.loads(await socket.recv()).keys() for _ in range(2)]
        assert [next(iter(keys)) for keys in said] == ["opened", "acknowledged"]
    assert _who(typed, fleet.answered("Type")) == {owner}


@LONG
async def test_a_session_has_one_replica_over_grpc_by_metadata(fleet: Fleet) -> None:
    owners = set()
    async with grpc.aio.insecure_channel(fleet.grpc) as channel:
        stub = AutocompleteStub(channel)
        for number in range(16):
            id_ = f"affine-{number}"
            metadata = ((AFFINITY, id_),)
            await stub.CreateSession(pb.CreateSessionRequest(id=id_), metadata=metadata)
            before = fleet.answered("Edit")
            for revision in range(1, 4):
                edit = pb.EditRequest(session_id=id_, revision=revision, edits=[pb.EditOperation(insert="x")])
                await stub.Edit(edit, metadata=metadata)
            (owner,) = _who(before, fleet.answered("Edit"))
            owners.add(owner)
    assert owners == {0, 1}


@LONG
async def test_callers_reach_neither_metrics_nor_another_tenant_and_their_request_ids_are_kept(fleet: Fleet) -> None:
    async with httpx.AsyncClient(base_url=fleet.http, verify=False) as http:
        assert (await http.get("/metrics")).status_code == 404
        made = await http.post("/v1/sessions", json={"id": "mine"}, headers={"x-carousel-tenant": "somebody"})
        assert made.status_code == 201
        assert (await http.get("/v1/sessions/mine")).is_success
        named = await http.get("/v1/sessions/mine", headers={"x-request-id": "a-callers-own"})
        assert named.headers["x-request-id"] == "a-callers-own"


@LONG
async def test_a_session_made_through_envoy_goes_on_over_rest_and_grpc_when_its_replica_is_killed(
    fleet: Fleet,
) -> None:
    metadata, headers = ((AFFINITY, "s"),), {AFFINITY: "s"}
    async with (
        httpx.AsyncClient(base_url=fleet.http, verify=False, timeout=20) as http,
        grpc.aio.insecure_channel(fleet.grpc) as channel,
    ):
        stub = AutocompleteStub(channel)
        await http.post("/v1/sessions", json={"id": "s", "text": "été "}, headers=headers)
        before = fleet.answered("Edit")
        body = {"revision": 1, "edit_id": "e1", "edits": [{"insert": "a"}], "suggest": {"count": 2}}
        (await http.post("/v1/sessions/s/edits", json=body, headers=headers)).raise_for_status()
        (owner,) = _who(before, fleet.answered("Edit"))
        edit = pb.EditRequest(session_id="s", revision=2, edit_id="e2", edits=[pb.EditOperation(insert="b")])
        assert (await stub.Edit(edit, metadata=metadata)).session.revision == 3

        fleet.kill(owner)
        edit = pb.EditRequest(session_id="s", revision=3, edit_id="e3", edits=[pb.EditOperation(insert="c")])
        assert (await stub.Edit(edit, metadata=metadata, timeout=20)).session.revision == 4
        body = {"revision": 4, "edit_id": "e4", "edits": [{"insert": "d"}], "suggest": {"count": 2}}
        answer = await http.post("/v1/sessions/s/edits", json=body, headers=headers)
        assert (answer.status_code, answer.json()["revision"]) == (200, 5)
        again = await http.post("/v1/sessions/s/edits", json=body, headers=headers)
        assert again.json()["revision"] == 5
        read = await http.get("/v1/sessions/s?include=text")
        assert read.json()["text"] == "été abcd"
        fresh = await http.post("/v1/sessions", json={"text": "été abcd", "suggest": {"count": 2}})

    def bits(suggestions: list[dict[str, Any]]) -> list[tuple[str, float]]:
        return [(one["text"], one["probability"]) for one in suggestions]

    assert bits(answer.json()["suggestions"]) == bits(fresh.json()["suggestions"])


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=LONG)], ids=["killed", "ended"])
async def test_streams_of_a_replica_that_goes_go_on_at_the_other_one(
    fleet: Fleet, number: signal.Signals, checked: Counting
) -> None:
    """Eight typists; the replica goes when a third is typed, and streams that it had are lost once."""
    histories = [History(f"typist-{one}") for one in range(8)]
    lost: list[Event] = []
    acknowledged = [0]

    def gone() -> bool:
        acknowledged[0] += 1
        if acknowledged[0] == len(histories) * _EDITS // 3:
            fleet.replicas[0].popen.send_signal(number)
        return acknowledged[0] > len(histories) * _EDITS

    async with AsyncClient(fleet.grpc, timeout_s=30) as client:
        await asyncio.gather(*(_type_over_a_stream(client, one, lost, gone, _EDITS) for one in histories))
    assert counts(histories) == {"invoked": 8 * _EDITS, "ok": 8 * _EDITS}
    assert 0 < len(lost) < 8, "the other replica's streams go on as if nothing had been"
    checked(f"a replica {number.name} mid-stream, behind Envoy", 1, histories)


async def _type_over_a_stream(
    client: AsyncClient, history: History, lost: list[Event], over: Callable[[], bool], most: int = 10_000
) -> None:
    """Until it is over, which is asked once for each acknowledgement. No edit is rejected, whatever breaks."""
    session = await client.create("", id=history.session)
    asked: dict[str, Operation] = {}
    ended = asyncio.Event()

    async def send(stream: AsyncTypingStream) -> None:
        while not ended.is_set() and len(asked) < most:
            operation = history.begin(1 + len(asked))
            history.invoked(operation)
            asked[await stream.send(Insert(typed(operation.number)), timeout_s=60)] = operation
            await asyncio.sleep(0.02)
        await stream.finish()

    async with session.typing(max_unanswered=4) as stream, asyncio.TaskGroup() as tasks:
        tasks.create_task(send(stream))
        async for event in stream:
            assert not isinstance(event, Rejected), event
            if isinstance(event, Acknowledged):
                history.answered(asked[event.edit_id], "ok", event.revision)
                if over():
                    ended.set()
            elif isinstance(event, Disconnected):
                lost.append(event)
    history.saw(session.revision, await session.text())


@LONG
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [1, 3])
async def test_a_rolling_restart_of_three_replicas_shows_no_error_and_loses_no_keystroke(
    tmp_path: Path, checked: Counting, rounds: int
) -> None:
    """Six typists on streams, who type until the last replica was replaced, and six who send single edits over REST."""
    over: list[bool] = []
    streams, edits = ([History(f"{kind}-{one}") for one in range(6)] for kind in ("stream", "edits"))
    with fleet_of(3, tmp_path) as fleet:

        async def roll() -> None:
            for number in (*range(3),) * rounds:
                await asyncio.to_thread(fleet.restart, number)
            over.append(True)

        async with AsyncClient(fleet.grpc, timeout_s=30) as client, asyncio.TaskGroup() as tasks:
            tasks.create_task(roll())
            for history in streams:
                tasks.create_task(_type_over_a_stream(client, history, [], lambda: bool(over)))
            for history in edits:
                tasks.create_task(_edit_until(over, fleet.http, history))
    assert all(len(history.operations) > 10 for history in (*streams, *edits))
    said = checked("a rolling restart, behind Envoy", 3 * rounds, [*streams, *edits])
    assert (said.failed, said.unknown) == (0, 0)
    assert said.ok == said.operations


async def _edit_until(over: list[bool], http_url: str, history: History) -> None:
    headers = {AFFINITY: history.session}
    async with httpx.AsyncClient(base_url=http_url, verify=False, timeout=30, headers=headers) as http:
        (await http.post("/v1/sessions", json={"id": history.session})).raise_for_status()
        while not over:
            operation = history.begin(1 + len(history.operations))
            edits = [{"insert": typed(operation.number)}]
            body = {"revision": operation.base, "edit_id": history.edit_id(operation), "edits": edits}
            history.invoked(operation)
            answer = await http.post(f"/v1/sessions/{history.session}/edits", json=body)
            assert answer.status_code == 200, answer.text
            history.answered(operation, "ok", answer.json()["revision"])
            await asyncio.sleep(0.02)
        read = (await http.get(f"/v1/sessions/{history.session}?include=text")).json()
        history.saw(read["revision"], read["text"])


@LONG
@pytest.mark.timeout(600)
async def test_whoever_of_three_replicas_is_killed_behind_envoy_nobody_is_told_of_an_error(
    tmp_path: Path, checked: Counting
) -> None:
    """Six times, each of them with another one in its place before the next one goes."""
    over: list[bool] = []
    histories = [History(f"stream-{one}") for one in range(12)]
    with fleet_of(3, tmp_path) as fleet:

        async def kill() -> None:
            for number in range(6):
                await asyncio.to_thread(fleet.replace, number % 3)
            over.append(True)

        async with AsyncClient(fleet.grpc, timeout_s=30) as client, asyncio.TaskGroup() as tasks:
            tasks.create_task(kill())
            for history in histories:
                tasks.create_task(_type_over_a_stream(client, history, [], lambda: bool(over)))
    checked("kill -9 of replicas under streams, behind Envoy", 6, histories)
