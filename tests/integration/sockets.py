"""One session and one open WebSocket on it, as a program holds them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.integration.servers import Running

Event = tuple[str, dict[str, Any]]


class Talk:
    """The caller's side."""

    def __init__(self, http: httpx.AsyncClient, session: str, socket: ClientConnection) -> None:
        self.http, self.session, self.socket = http, session, socket
        self._revision, self._number = 1, 0
        self._told: list[Event] = []

    async def send(self, message: object) -> None:
        await self.socket.send(message if isinstance(message, str | bytes) else json.dumps(message))

    async def type(self, text: str, *, suggest: bool = False, revision: int | None = None) -> str:
        """Send an insertion based on what this side believes to be the revision; returns its edit id."""
        base = self._revision if revision is None else revision
        self._revision, self._number = base + 1, self._number + 1
        message: dict[str, Any] = {"revision": base, "edit_id": f"e{self._number}", "edits": [{"insert": text}]}
        await self.send({**message, "suggest": {"count": 2}} if suggest else message)
        return f"e{self._number}"

    async def read(self) -> Event:
        """The next event; an acknowledgement that came in one message with its suggestions is one of its own."""
        if not self._told:
            self._told += events_in(json.loads(await self.socket.recv()))
        return self._told.pop(0)

    async def read_all(self, number: int) -> list[Event]:
        return [await self.read() for _ in range(number)]

    async def close_code(self) -> int:
        """Read to the end, which must come without another event."""
        with pytest.raises(ConnectionClosed) as closed:
            await self.read()
        assert closed.value.rcvd is not None, "closed without a close frame"
        return closed.value.rcvd.code

    async def text(self) -> str:
        shown = await self.http.get(f"/v1/sessions/{self.session}", params={"include": "text"})
        text: str = shown.json()["text"]
        return text


def events_in(message: dict[str, Any]) -> list[Event]:
    ((kind, event),) = message.items()
    if kind == "suggested" and "acknowledged" in event:
        return [("acknowledged", event["acknowledged"]), (kind, event)]
    return [(kind, event)]


def address(server: Running, session: str, query: str = "") -> str:
    return f"{server.http.replace('http', 'ws', 1)}/v1/sessions/{session}/type{query}"


@asynccontextmanager
async def talking(server: Running, text: str = "", *, query: str = "", **options: Any) -> AsyncIterator[Talk]:
    """A new session, and a WebSocket on it that has been told what the session is."""
    async with httpx.AsyncClient(base_url=server.http) as http:
        created = (await http.post("/v1/sessions", json={"text": text})).json()
        async with connect(address(server, created["id"], query), **options) as socket:
            talk = Talk(http, created["id"], socket)
            kind, opened = await talk.read()
            assert kind == "opened"
            assert opened["session"]["revision"] == 1
            yield talk
