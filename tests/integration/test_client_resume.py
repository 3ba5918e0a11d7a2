"""Typing through real losses: connections that are cut, servers killed or drained; with threads and with asyncio."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from carousel_client import (
    Acknowledged,
    AsyncClient,
    AsyncTypingStream,
    Client,
    Disconnected,
    Event,
    Insert,
    NotFound,
    Reconnected,
    Rejected,
    Suggested,
    SuggestOptions,
    Unavailable,
)
from service.engine.fake_model import FakeModel
from service.settings import load_settings
from service.terminal.local_server import LocalServer
from tests.integration.cutting_proxy import CuttingProxy
from tests.integration.servers import IDENTITY
from tests.integration.test_process import Process, process

TYPED = "".join(f"line {n} 日👍\n" for n in range(15))
ASK = SuggestOptions(1, 8)
Watch = Callable[[int], None]
"""Called with the number of edits that were acknowledged, after each."""


async def type_sync(target: str, watch: Watch, *, recreate: bool = False) -> list[Event]:
    """The events of typing TYPED into a session `s` of the text `> `, and what the session says at the end."""

    def run() -> list[Event]:
        events: list[Event] = []
        with Client(target, timeout_s=20) as client:
            session = client.session("> ", id="s", recreate=recreate)
            with session.typing() as stream, ThreadPoolExecutor(1) as sender:

                def send() -> None:
                    for character in TYPED:
                        stream.send(Insert(character), suggest=ASK, timeout_s=60)
                    stream.finish()

                sending = sender.submit(send)
                for event in stream:
                    events.append(event)
                    if isinstance(event, Acknowledged):
                        watch(count(events, Acknowledged))
                sending.result()
            assert session.text() == "> " + TYPED
            assert session.length == len(TYPED) + 2
            session.close()
        return events

    return await asyncio.to_thread(run)


async def type_async(target: str, watch: Watch, *, recreate: bool = False) -> list[Event]:
    async def send(stream: AsyncTypingStream) -> None:
        for character in TYPED:
            await stream.send(Insert(character), suggest=ASK, timeout_s=60)
        await stream.finish()

    events: list[Event] = []
    async with AsyncClient(target, timeout_s=20) as client:
        session = await client.create("> ", id="s", recreate=recreate)
        async with session.typing() as stream, asyncio.TaskGroup() as tasks:
            tasks.create_task(send(stream))
            async for event in stream:
                events.append(event)
                if isinstance(event, Acknowledged):
                    watch(count(events, Acknowledged))
        assert await session.text() == "> " + TYPED
        assert session.length == len(TYPED) + 2
        await session.close()
    return events


BOTH = pytest.mark.parametrize("type_text", [type_sync, type_async])
Typing = Callable[..., Awaitable[list[Event]]]


def count(events: list[Event], kind: type[Event]) -> int:
    return sum(isinstance(event, kind) for event in events)


def check(events: list[Event], losses: int) -> None:
    """Every edit was acknowledged once, in order; nothing was rejected; the stream was lost and found so many times."""
    revisions = [event.revision for event in events if isinstance(event, Acknowledged)]
    assert revisions == list(range(2, 2 + len(TYPED)))
    assert count(events, Rejected) == 0
    assert count(events, Disconnected) == count(events, Reconnected) >= losses
    assert any(isinstance(event, Suggested) and event.revision == revisions[-1] for event in events)


@contextmanager
def local_server(**flags: str) -> Iterator[int]:
    with LocalServer(FakeModel(), IDENTITY, load_settings(flags)) as server:
        yield server.addresses.grpc_port


def port_of(server: Process) -> int:
    return int(json.loads(server.lines[-1])["grpc_port"])


@BOTH
async def test_a_connection_that_is_cut_again_and_again_costs_time_and_nothing_else(type_text: Typing) -> None:
    def watch(acknowledged: int) -> None:
        if acknowledged % 25 == 5:
            proxy.cut_after_bytes = 300 * (acknowledged % 4)  # in the middle of what the server says

    with local_server() as port, CuttingProxy(port) as proxy:
        check(await type_text(proxy.address, watch), losses=2)  # cuts that come fast are one loss
        assert proxy.connections > 2


@BOTH
async def test_streams_that_come_to_their_age_are_gone_on_with_over_others(type_text: Typing) -> None:
    def watch(acknowledged: int) -> None:
        if acknowledged % 20 == 0:
            aged.wait(0.12)  # a typist pauses, too

    aged = threading.Event()
    with local_server(max_stream_age="0.1") as port:
        check(await type_text(f"127.0.0.1:{port}", watch), losses=1)  # ends that come fast are one loss


async def test_one_channel_goes_on_over_new_connections_without_an_error_of_its_calls() -> None:
    with local_server(max_stream_age="0.05") as port:
        async with AsyncClient(f"127.0.0.1:{port}", timeout_s=20) as client, client.session("x") as session:
            began_s = asyncio.get_running_loop().time()
            while asyncio.get_running_loop().time() - began_s < 1:
                assert await session.text() == "x"


@BOTH
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_server_that_is_killed_or_drained_and_comes_back_with_its_store_has_every_edit_once(
    type_text: Typing, number: signal.Signals, tmp_path: Path
) -> None:
    flags = ("log_format=json", f"store=sqlite:{tmp_path / 'sessions.db'}")

    def watch(acknowledged: int) -> None:
        if acknowledged == 40:
            ending.append(asyncio.run_coroutine_threadsafe(change_servers(), loop))

    async def change_servers() -> None:
        proxy.target = None
        await asyncio.to_thread(first.end, number)
        proxy.target = await asyncio.to_thread(lambda: port_of(second.__enter__()))

    loop, ending, second = asyncio.get_running_loop(), [], process(*flags)  # type: ignore[var-annotated]
    with process(*flags) as first, CuttingProxy(port_of(first)) as proxy:
        try:
            check(await type_text(proxy.address, watch), losses=1)
            assert len(ending) == 1
        finally:
            second.__exit__(None, None, None)


@BOTH
async def test_a_session_that_the_server_has_forgotten_is_a_typed_error(type_text: Typing) -> None:
    def watch(acknowledged: int) -> None:
        if acknowledged == 30:
            proxy.target = other
            proxy.cut()

    with local_server() as port, local_server() as other, CuttingProxy(port) as proxy:
        with pytest.raises(BaseException) as failed:  # noqa: PT011  a group of tasks raises a group
            await type_text(proxy.address, watch)
        error = failed.value.exceptions[0] if isinstance(failed.value, BaseExceptionGroup) else failed.value
        assert isinstance(error, NotFound)
        assert error.kind == "session"


@BOTH
async def test_or_it_is_made_anew_from_what_the_client_knows_if_that_was_asked_for(type_text: Typing) -> None:
    def watch(acknowledged: int) -> None:
        if acknowledged in (30, 60):
            proxy.target = ports[acknowledged == 30]
            proxy.cut()
            if acknowledged == 30:
                with Client(f"127.0.0.1:{ports[0]}") as other:
                    other.attach("s").close()  # so that it is gone there, too

    with local_server() as port, local_server() as another, CuttingProxy(port) as proxy:
        ports = (port, another)
        events = await type_text(proxy.address, watch, recreate=True)
        assert [event.recreated for event in events if isinstance(event, Reconnected)] == [True, True]
        assert count(events, Acknowledged) == len(TYPED)
        assert count(events, Rejected) == 0


def test_where_no_server_is_found_in_time_the_error_of_the_loss_is_raised() -> None:
    with local_server() as port, CuttingProxy(port) as proxy, Client(proxy.address, resume_within_s=0.3) as client:
        session = client.session("x")
        with session.typing() as stream:
            stream.send(Insert("y"))
            assert isinstance(next(stream), Acknowledged)
            proxy.target = None
            proxy.cut()
            assert isinstance(next(stream), Disconnected)
            with pytest.raises(Unavailable):
                next(stream)
            with pytest.raises(Unavailable):
                stream.send(Insert("z"))
            assert list(stream) == []


def test_an_idle_stream_finds_its_server_again_and_goes_on() -> None:
    with local_server() as port, CuttingProxy(port) as proxy, Client(proxy.address) as client:
        session = client.session("x")
        with session.typing() as stream, ThreadPoolExecutor(1) as reader:
            first = reader.submit(next, stream)
            proxy.cut()
            assert isinstance(first.result(20), Disconnected)
            assert isinstance(next(stream), Reconnected)
            stream.send(Insert("y"))
            stream.drain()
        assert session.text() == "xy"


async def test_who_waits_for_an_event_may_give_up_and_ask_again() -> None:
    with local_server() as port:
        async with AsyncClient(f"127.0.0.1:{port}", timeout_s=20) as client, client.session("x") as session:
            async with session.typing() as stream:
                for _ in range(3):
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(anext(stream), 0.01)
                await stream.send(Insert("y"))
                assert isinstance(await anext(stream), Acknowledged)
                await stream.drain()
            assert await session.text() == "xy"


async def test_closing_a_stream_ends_who_iterates_it_and_who_waits_to_send() -> None:
    with local_server() as port:
        async with AsyncClient(f"127.0.0.1:{port}", timeout_s=20) as client, client.session("x") as session:
            stream = session.typing(max_unanswered=1)
            await stream.send(Insert("y"))
            waiting = asyncio.create_task(stream.send(Insert("z")))
            await asyncio.wait([waiting], timeout=0.05)
            await stream.close()
            with pytest.raises(Unavailable):
                await waiting
            assert [event async for event in stream] == []
