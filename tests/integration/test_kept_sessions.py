"""A whole server whose sessions outlive it: restarts, parking, retention, quotas, and what is not to be written."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.bootstrap import StartFailed
from tests.integration.servers import Running, make_server, running
from tests.integration.test_process import process


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sessions.sqlite"


async def _ask(server: Running, method: str, path: str, **asked: Any) -> httpx.Response:
    # No certificates are read: that takes longer than what is asked here.
    async with httpx.AsyncClient(base_url=server.http, verify=False) as http:
        return await http.request(method, path, **asked)


async def create(server: Running, **body: Any) -> httpx.Response:
    return await _ask(server, "POST", "/v1/sessions", json=body)


async def edit(server: Running, session: str, revision: int, text: str, edit_id: str) -> httpx.Response:
    body = {"revision": revision, "edit_id": edit_id, "edits": [{"insert": text}], "suggest": {"count": 2}}
    return await _ask(server, "POST", f"/v1/sessions/{session}/edits", json=body)


async def get(server: Running, session: str) -> httpx.Response:
    return await _ask(server, "GET", f"/v1/sessions/{session}", params={"include": "text"})


async def test_a_session_goes_on_after_a_restart_and_a_retry_is_answered_as_before(file: Path) -> None:
    async with running(store=f"sqlite:{file}") as server:
        assert (await create(server, id="s", text="été")).json()["stored"] is True
        before = (await edit(server, "s", 1, " and 😀", "e1")).json()
    async with running(store=f"sqlite:{file}") as server:
        again = (await edit(server, "s", 1, " and 😀", "e1")).json()
        assert again == before
        assert (await get(server, "s")).json()["text"] == "été and 😀"
        assert (await edit(server, "s", 2, "!", "e2")).json()["revision"] == 3


async def test_a_second_server_on_the_file_is_told_what_to_do(file: Path) -> None:
    async with running(store=f"sqlite:{file}"):
        with pytest.raises(StartFailed, match=rf"--store: .*in use by process {os.getpid()}.*valkey://"):
            await make_server(store=f"sqlite:{file}").start()
    async with running(store=f"sqlite:{file}"):
        """It is free again."""


async def test_a_server_that_fails_to_start_for_another_reason_lets_go_of_the_file(file: Path) -> None:
    with pytest.raises(StartFailed, match="--state-budget"):
        await make_server(store=f"sqlite:{file}", state_budget=1).start()
    async with running(store=f"sqlite:{file}"):
        """It is free."""


async def test_a_torn_file_is_set_aside_and_the_server_starts_and_says_so(file: Path, log: io.StringIO) -> None:
    async with running(store=f"sqlite:{file}") as server:
        await create(server, id="s", text="text " * 10_000)
    os.truncate(file, 20_000)
    said_before = log.tell()
    async with running(store=f"sqlite:{file}") as server:
        assert (await get(server, "s")).status_code == 404
        assert (await create(server, id="s", text="again")).status_code == 201
    said = [json.loads(line) for line in log.getvalue()[said_before:].splitlines()]
    (damaged,) = [entry for entry in said if "DAMAGED" in entry["event"]]
    assert damaged["level"] == "error"
    assert damaged["set_aside_as"].startswith(str(file))
    assert not any("Traceback" in str(entry) for entry in said)


async def test_more_sessions_live_than_are_held(file: Path) -> None:
    async with running(store=f"sqlite:{file}", max_sessions=5) as server:
        for index in range(30):
            assert (await create(server, id=f"s{index}", text=f"{index}")).status_code == 201
        for index in range(30):
            answer = (await edit(server, f"s{index}", 1, "!", "e")).json()
            assert answer["revision"] == 2
            assert answer["suggestions"]
        assert (await get(server, "s7")).json()["text"] == "7!"
        metrics = (await _ask(server, "GET", server.metrics)).text
        assert "carousel_sessions 5.0" in metrics
    async with running(store="memory:", max_sessions=5) as server:
        answers = [(await create(server)).status_code for _ in range(6)]
        assert answers == [201] * 5 + [429]


async def test_of_a_session_that_is_not_to_be_stored_nothing_is_written_and_it_says_so(file: Path) -> None:
    async with running(store=f"sqlite:{file}") as server:
        made = (await create(server, id="s", text="correct horse", store_text=False)).json()
        assert made["stored"] is False
        assert (await edit(server, "s", 1, " battery staple", "e")).json()["suggestions"]
        assert (await get(server, "s")).json()["stored"] is False
    content = await asyncio.to_thread(file.read_bytes)
    assert b"horse" not in content
    assert b"staple" not in content
    async with running(store=f"sqlite:{file}") as server:
        assert (await get(server, "s")).status_code == 404
    async with running(store="memory:") as server:
        assert (await create(server)).json()["stored"] is False


async def test_a_tenant_over_its_quota_is_told_so_and_what_to_do(file: Path) -> None:
    async with running(store=f"sqlite:{file}", max_tenant_sessions=2, max_tenant_bytes=100) as server:
        for name in "ab":
            await create(server, id=name, text="x" * 40)
        refused = await create(server, id="c")
        assert (refused.status_code, refused.json()["code"]) == (429, "QUOTA")
        assert "keeps the 2 sessions that it may: delete some" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) > 0
        refused = await edit(server, "a", 1, "y" * 21, "e1")
        assert (refused.status_code, refused.json()["code"]) == (429, "QUOTA")
        assert "may hold 100" in refused.json()["detail"]
        assert (await edit(server, "a", 1, "y" * 20, "e1")).json()["revision"] == 2
        assert (await get(server, "a")).json()["text"] == "x" * 40 + "y" * 20


async def test_who_was_not_written_for_the_time_of_retention_is_gone_after_the_first_sweep(file: Path) -> None:
    async with running(store=f"sqlite:{file}") as server:
        for name in ("old", "new"):
            await create(server, id=name)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE sessions SET written_s = written_s - 7200 WHERE id = 'old'")
    connection.close()
    async with running(store=f"sqlite:{file}", retention="1h") as server:
        assert (await get(server, "old")).status_code == 404
        assert (await get(server, "new")).status_code == 200


def test_start_up_prints_where_typed_text_is_kept_for_how_long_and_how_to_keep_none(file: Path) -> None:
    with process(f"store=sqlite:{file}", "retention=1h") as server:
        printed = "\n".join(server.lines)
        assert f"Typed text is kept in sqlite:{file}" in printed
        assert "at most 3600 seconds after its last edit" in printed
        assert "--store memory:" in printed and '"store_text": false' in printed
        assert server.end() == 0
