"""Connections whose other end is gone without a word: the server finds out, and holds nothing for them any more."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from service.transport.grpc import server as grpc_server
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from service.transport.http import intake
from service.transport.http import server as http_server
from service.transport.listening import open_socket
from tests.contract.valkey_server import ValkeyServer
from tests.faults.conftest import Counting
from tests.faults.crowd import crowd
from tests.faults.replicas import Replicas, channel
from tests.faults.typist import Manner
from tests.faults.wire import Carries, Wire
from tests.integration.servers import GatedModel, Running, running

_PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server asks whether its callers are there more often than it otherwise does."""
    monkeypatch.setattr(grpc_server, "_PING_EVERY_MS", 200)
    monkeypatch.setattr(grpc_server, "_PONG_WITHIN_MS", 1000)  # who is there may be slow on a busy machine
    monkeypatch.setattr(http_server, "PING_EVERY_S", 0.2)
    monkeypatch.setattr(http_server, "PONG_WITHIN_S", 1.0)
    monkeypatch.setattr(intake, "_MORE_WITHIN_S", 0.5)


async def _falls_silent(server: Running, wire: Wire) -> None:
    """Nothing is heard of the caller any more; return when the server holds nothing for it."""
    assert not await server.server.lifecycle.wait_idle(0.0)
    wire.lose(Carries.NOTHING)
    assert await server.server.lifecycle.wait_idle(_PATIENCE_S), "its call is still held"


async def test_a_typing_stream_of_a_caller_who_is_gone_is_ended() -> None:
    async with running() as server, Wire(server.addresses.grpc_port) as wire, channel(wire.port) as opened:
        stub = AutocompleteStub(opened)
        await stub.CreateSession(pb.CreateSessionRequest(id="s"))
        stream: Any = stub.Type()  # type: ignore[call-arg]  # it is written to; the stubs want an iterator
        await stream.write(pb.TypeRequest(session_id="s", revision=1, edits=[pb.EditOperation(insert="a")]))
        assert (await stream.read()).WhichOneof("event") == "acknowledged"
        await _falls_silent(server, wire)
        stream.cancel()


async def test_a_call_that_waits_for_suggestions_is_given_up_when_its_caller_is_gone() -> None:
    model = GatedModel()
    async with running(model) as server, Wire(server.addresses.grpc_port) as wire, channel(wire.port) as opened:
        stub = AutocompleteStub(opened)
        model.gate.clear()
        call = stub.CreateSession(pb.CreateSessionRequest(text="abc", suggest=pb.SuggestOptions()))
        waiting = asyncio.ensure_future(call)
        assert await asyncio.to_thread(model.waiting.wait, _PATIENCE_S)
        await _falls_silent(server, wire)
        waiting.cancel()
        model.gate.set()


async def test_a_quiet_stream_of_a_caller_who_is_there_is_left_alone() -> None:
    """However often it was asked: it types again after twice the time that one who is gone would have had."""
    async with running() as server, channel(server.addresses.grpc_port) as opened:
        stub = AutocompleteStub(opened)
        await stub.CreateSession(pb.CreateSessionRequest(id="s"))
        stream: Any = stub.Type()  # type: ignore[call-arg]  # it is written to; the stubs want an iterator
        for revision in (1, 2):
            edit = pb.EditOperation(insert="a")
            await stream.write(pb.TypeRequest(session_id="s", revision=revision, edits=[edit]))
            assert (await stream.read()).acknowledged.session.revision == revision + 1
            assert not await server.server.lifecycle.wait_idle(3.0)
        stream.cancel()


async def test_a_websocket_of_a_caller_who_is_gone_is_ended() -> None:
    async with running() as server, Wire(server.addresses.http_port) as wire:
        async with channel(server.addresses.grpc_port) as opened:
            await AutocompleteStub(opened).CreateSession(pb.CreateSessionRequest(id="s"))
        async with connect(f"ws://127.0.0.1:{wire.port}/v1/sessions/s/type") as talk:
            assert "opened" in json.loads(await talk.recv())
            await _falls_silent(server, wire)
            wire.cut()


async def test_a_request_whose_body_does_not_come_is_answered_and_its_connection_closed() -> None:
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses.http_port)
        head = (
            "POST /v1/sessions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 20\r\n"
        )
        writer.write(f"{head}\r\n{{".encode())
        answer = (await asyncio.wait_for(reader.read(), _PATIENCE_S)).decode()
        assert answer.startswith("HTTP/1.1 408 ")
        assert "x-carousel-code: DEADLINE" in answer
        assert "the body did not come" in answer
        assert await server.server.lifecycle.wait_idle(_PATIENCE_S)
        writer.close()


async def test_a_body_whose_caller_is_gone_is_not_waited_for() -> None:
    async with running() as server, Wire(server.addresses.http_port) as wire:
        _, writer = await asyncio.open_connection("127.0.0.1", wire.port)
        head = (
            "POST /v1/sessions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 20\r\n"
        )
        writer.write(f"{head}\r\n{{".encode())
        async with asyncio.timeout(_PATIENCE_S):
            while await server.server.lifecycle.wait_idle(0.0):  # until the head of it has come
                pass
        await _falls_silent(server, wire)
        writer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the settings of a connection are read as Linux has them")
async def test_the_system_looks_after_connections_over_http_on_which_nothing_is_said() -> None:
    """A host that is gone answers no packet: what a test cannot cut, it can only see to be asked for."""
    with (
        open_socket("127.0.0.1", 0) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as taken,
    ):
        assert taken.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        after_s = taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        every_s = taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
        times = taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
        assert after_s + every_s * times <= 120
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000


@pytest.mark.timeout(300)
@pytest.mark.faults
@pytest.mark.parametrize(("times", "sessions"), [(6, 16)])
async def test_a_store_that_falls_silent_is_given_up_and_asked_anew(
    tmp_path: Path, checked: Counting, times: int, sessions: int
) -> None:
    """The connection to it is open, and nothing comes of what is sent; a new connection is sound."""
    valkey = ValkeyServer(tmp_path, "--appendonly", "yes").start()
    try:
        async with (
            Wire(valkey.port) as wire,
            Replicas(2, f"store=valkey://127.0.0.1:{wire.port}/0") as replicas,
            crowd(replicas.running, sessions) as people,
        ):
            for _ in range(times):
                await people.type_some(2)
                wire.lose(Carries.NOTHING)
                await people.progress.more(sessions, "unknown")
                wire.carries = Carries.EVERYTHING
            await people.type_some()
    finally:
        valkey.kill()
    checked("half-open connections to the store", times, people.histories)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("times", "sessions"), [(1, 3), pytest.param(6, 16, marks=pytest.mark.faults)])
async def test_callers_whose_connections_fall_silent_go_on_over_others(
    tmp_path: Path, checked: Counting, times: int, sessions: int
) -> None:
    """First those to one replica, then those to the other, so that everybody has to leave."""
    valkey = ValkeyServer(tmp_path, "--appendonly", "yes").start()
    try:
        async with Replicas(2, f"store={valkey.url()}") as replicas, AsyncExitStack() as stack:
            wires = [await stack.enter_async_context(Wire(replica.grpc_port)) for replica in replicas.running]
            channels = [await stack.enter_async_context(channel(wire.port)) for wire in wires]
            stubs = map(AutocompleteStub, channels)
            seen = [replace(one, stub=stub) for one, stub in zip(replicas.running, stubs, strict=True)]
            async with crowd(seen, sessions, manner=Manner(gives_up=0.2, waits_s=0.5)) as people:
                for number in range(times):
                    await people.type_some(2)
                    wire = wires[number % 2]
                    wire.lose(Carries.NOTHING)
                    await people.progress.more(max(sessions // 2, 1), "unknown")
                    wire.cut()
                    wire.carries = Carries.EVERYTHING
    finally:
        valkey.kill()
    checked("half-open connections to a replica", times, people.histories)
