"""Two whole servers that share a Valkey: a session goes on at either, and of two writers one is told of the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.contract.valkey_server import ValkeyServer
from tests.integration.servers import Running, running


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path, "--appendonly", "yes").start()
    yield server
    server.kill()


@pytest_asyncio.fixture
async def servers(valkey: ValkeyServer) -> AsyncIterator[tuple[Running, Running]]:
    async with running(store=valkey.url()) as one, running(store=valkey.url()) as other:
        yield one, other


async def ask(server: Running, method: str, path: str, **body: Any) -> httpx.Response:
    # No certificates are read: that takes longer than what is asked here.
    async with httpx.AsyncClient(verify=False) as http:
        return await http.request(method, f"{server.http}/v1/sessions{path}", json=body or None)


async def edit(server: Running, revision: int, text: str, edit_id: str) -> httpx.Response:
    body = {"revision": revision, "edit_id": edit_id, "edits": [{"insert": text}], "suggest": {"count": 2}}
    return await ask(server, "POST", "/s/edits", **body)


async def test_a_session_moves_between_servers_at_every_keystroke_and_suggests_the_same(
    servers: tuple[Running, Running],
) -> None:
    assert (await ask(servers[0], "POST", "", id="s", text="été")).json()["stored"] is True
    for revision in range(1, 9):
        answer = await edit(servers[revision % 2], revision, f" {revision}", f"e{revision}")
        assert answer.json()["revision"] == revision + 1
        other = servers[(revision + 1) % 2]
        assert (await ask(other, "GET", "/s")).json()["revision"] == revision + 1
        again = await edit(other, revision, f" {revision}", f"e{revision}")
        assert again.json() == answer.json()
    read = [(await ask(server, "GET", "/s?include=text")).json() for server in servers]
    assert read[0] == read[1]
    assert read[0]["text"] == "été 1 2 3 4 5 6 7 8"


async def test_while_the_store_is_away_edits_are_refused_with_a_delay_and_the_server_stays_ready(
    valkey: ValkeyServer, servers: tuple[Running, Running]
) -> None:
    server = servers[0]
    await ask(server, "POST", "", id="s", text="")
    valkey.kill()
    refused = await edit(server, 1, "a", "e1")
    assert (refused.status_code, refused.json()["code"]) == (503, "UNAVAILABLE")
    assert int(refused.headers["retry-after"]) > 0
    async with httpx.AsyncClient(verify=False) as http:
        assert (await http.get(f"{server.http}/readyz")).status_code == 200
    valkey.start()
    for _ in range(100):
        answer = await edit(server, 1, "a", "e1")
        if answer.status_code == 200:
            break
    assert answer.json()["revision"] == 2


async def test_while_the_store_is_away_sessions_of_which_nothing_is_written_begin_and_go_on(
    valkey: ValkeyServer, servers: tuple[Running, Running]
) -> None:
    server = servers[0]
    await ask(server, "POST", "", id="kept", text="")
    valkey.kill()
    assert (await ask(server, "POST", "", id="new", text="")).status_code == 503
    for id_ in ({}, {"id": "s"}):
        created = await ask(server, "POST", "", text="secret", store_text=False, suggest={"count": 1}, **id_)
        assert (created.status_code, created.json()["stored"]) == (201, False)
    assert (await edit(server, 1, "a", "e1")).json()["revision"] == 2
    assert (await ask(server, "GET", "/s?include=text")).json()["text"] == "secreta"
    assert (await ask(server, "POST", "", id="s", text="secret", store_text=False)).json()["revision"] == 2
    valkey.start()
    assert valkey.ask("KEYS", "*new*") == valkey.ask("KEYS", "*/s}*") == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("GET", "/s", None),
        ("DELETE", "/s", None),
        ("GET", "/s/export", None),
        ("POST", "/s/fork", {}),
        ("POST", "/import?id=other", None),
    ],
)
async def test_whoever_says_how_long_it_waits_is_told_when_the_time_is_up(
    valkey: ValkeyServer, servers: tuple[Running, Running], method: str, path: str, body: Any
) -> None:
    server = servers[0]
    await ask(server, "POST", "", id="s", text="")
    document = (await ask(server, "GET", "/s/export")).json()
    valkey.freeze()
    async with httpx.AsyncClient(verify=False) as http:
        url, sent = f"{server.http}/v1/sessions{path}", document if "import" in path else body
        answer = await http.request(method, url, json=sent, headers={"x-carousel-timeout-ms": "100"})
        refused = await http.request(method, url, json=sent, headers={"x-carousel-timeout-ms": "soon"})
    valkey.wake()
    assert (answer.status_code, answer.json()["code"]) == (504, "DEADLINE")
    assert (refused.status_code, refused.json()["field"]) == (422, "x-carousel-timeout-ms")


async def test_a_session_that_is_not_to_be_stored_is_known_to_its_server_alone(
    valkey: ValkeyServer, servers: tuple[Running, Running]
) -> None:
    assert (await ask(servers[0], "POST", "", id="s", text="secret", store_text=False)).json()["stored"] is False
    assert (await ask(servers[0], "GET", "/s")).status_code == 200
    assert (await ask(servers[1], "GET", "/s")).status_code == 404
    assert valkey.ask("KEYS", "*") == []
