"""The WebSocket: `Type` in JSON."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.contract.facades.facade import Ability, Asked, Refused, Told
from tests.contract.facades.http import RestEdit, edit_body, suggestion_told
from tests.integration.sockets import address, events_in


class WebSocketType(RestEdit):
    """Sessions are made over REST; a conversation has no deadline but its own end."""

    name = "WebSocket type"
    can: ClassVar[frozenset[Ability]] = RestEdit.can - {"timeout"}

    async def ask(self, asked: Asked) -> Told:
        session = await self.created(asked, asked.text[:-1])
        body = {**edit_body(asked), **({"nonsense": 1} if asked.unknown_field else {})}
        return await self._converse(session, json.dumps(body), asked.headers)

    async def nonsense(self) -> None:
        await self._converse(await self.created(Asked(), ""), '{"', {})

    async def _converse(self, session: str, message: str, headers: dict[str, str]) -> Told:
        try:
            async with connect(address(self.server, session), additional_headers=headers) as socket:
                while True:
                    for kind, event in events_in(json.loads(await socket.recv())):
                        if kind == "opened":
                            await socket.send(message)
                        elif kind == "rejected":
                            raise _refused(event["error"])
                        elif kind == "suggested":
                            return suggestion_told(event)
        except InvalidStatus as refused:
            answer = refused.response
            raise self.refused(
                httpx.Response(
                    answer.status_code, headers=list(answer.headers.raw_items()), content=bytes(answer.body or b"")
                )
            ) from refused

    async def leave(self, text: str, begun: Callable[[], Awaitable[object]], *, cut: bool) -> None:
        asked = Asked(text, max_bytes=self.longest)
        session = await self.created(asked, asked.text[:-1])
        async with connect(address(self.server, session)) as socket:
            await socket.send(json.dumps(edit_body(asked)))
            await begun()
            if cut:
                socket.transport.abort()


def _refused(problem: dict[str, Any]) -> Refused:
    return Refused(
        problem["code"],
        problem["status"],
        message=problem["detail"],
        field=problem.get("field"),
        retry_after_s=problem.get("retry_after_s"),
    )
