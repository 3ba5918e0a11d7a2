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


async def test_a_session_that_is_not_to_be_stored_is_known_to_its_server_alone(
    valkey: ValkeyServer, servers: tuple[Running, Running]
) -> None:
    assert (await ask(servers[0], "POST", "", id="s", text="secret", store_text=False)).json()["stored"] is False
    assert (await ask(servers[0], "GET", "/s")).status_code == 200
    assert (await ask(servers[1], "GET", "/s")).status_code == 404
    assert valkey.ask("KEYS", "*") == []
