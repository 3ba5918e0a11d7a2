"""The path of the WebSocket, and what the OpenAPI document, which knows no WebSockets, says of it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, WebSocket
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from service.sessions.commands import SessionId, Tenant
from service.sessions.service import Sessions
from service.transport.caller import TenantResolver
from service.transport.http.models import Problem, UnitsName
from service.transport.http.sessions_routes import PROBLEMS, NoQuery, SessionPath
from service.transport.http.websocket.stream import SUBPROTOCOL, TypingSockets
from service.transport.lifecycle import Lifecycle
from service.transport.observer import RequestObserver

_DESCRIPTION = f"""Connect with `ws://` or `wss://`. Every text message of the caller is the JSON body of
`POST /v1/sessions/{{id}}/edits`; edits may be sent without waiting for the answers to earlier ones. Every event of the
server is a `TypeEvent`, an object of one key:

- `opened`: the first one, the session as it is. A session that is not there is `rejected`, and the connection closed.
- `acknowledged`: the edit is committed. One for every message, in order, never dropped.
- `suggested`: what was asked for with `suggest`. Those of an overtaken edit are dropped. Suggestions that come within
  milliseconds have the acknowledgement in them.
- `rejected`: a message that was not taken, in its place among the acknowledgements, with the problem. The connection
  stays open; edits that build on the rejected one are rejected, too.
- `ended`: the server shuts down, or the connection has come to its age; go on over another one, at `revision`.

Close codes: 1000 the caller's own; 1007 text that is not UTF-8; 1009 a message far over the limit (one that is
slightly over it is rejected); 1011 an internal error, or a caller who answers no ping for a minute; 1012 after `ended`;
4000 + an HTTP status after a `rejected` that ended the conversation before it began, such as 4404.

A browser may name the subprotocol `{SUBPROTOCOL}`, and need not."""

_ANSWERS: dict[int | str, dict[str, Any]] = {
    422: PROBLEMS[422],
    101: {"description": "The connection is a WebSocket from here on; every event is a `TypeEvent`"},
    426: {"model": Problem, "description": "INVALID_ARGUMENT: the request does not ask for a WebSocket"},
}


class TypeQuery(NoQuery):
    """How the conversation counts."""

    units: UnitsName | None = Field(
        default=None, description="The units of the first event and of every message that names none."
    )


def typing_routes(
    sessions: Sessions,
    tenants: TenantResolver,
    *,
    lifecycle: Lifecycle,
    observer: RequestObserver,
    max_message_bytes: int,
) -> APIRouter:
    """The WebSocket, and its description for those who come without one."""
    router = APIRouter(prefix="/v1/sessions", tags=["sessions"])
    sockets = TypingSockets(sessions, lifecycle=lifecycle, observer=observer, max_message_bytes=max_message_bytes)

    def tenant_of(connection: HTTPConnection) -> Tenant:
        return tenants.resolve(connection.headers.get)

    caller: Any = Depends(tenant_of)

    @router.websocket("/{id}/type", name="Type")
    async def type_(
        socket: WebSocket, session: SessionPath, query: Annotated[TypeQuery, Query()], tenant: Tenant = caller
    ) -> None:
        await sockets.serve(socket, tenant, SessionId(session), query.units)

    @router.get(
        "/{id}/type",
        name="Type",
        summary="Edit and suggest as a conversation, over a WebSocket",
        description=_DESCRIPTION,
        responses=_ANSWERS,
        response_class=Response,
        status_code=101,
    )
    async def without_websocket(session: SessionPath, query: Annotated[TypeQuery, Query()]) -> Response:
        headers = {"upgrade": "websocket", "connection": "Upgrade"}
        raise HTTPException(HTTPStatus.UPGRADE_REQUIRED, headers=headers)

    return router


def unknown_sockets() -> APIRouter:
    """Takes every WebSocket that no other route takes, and refuses its handshake; to be added last."""
    router = APIRouter()

    @router.websocket("/{path:path}", name="none")
    async def none(socket: WebSocket) -> None:
        raise HTTPException(HTTPStatus.NOT_FOUND)

    return router
