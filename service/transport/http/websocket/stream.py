"""One WebSocket: opened, a conversation (service/transport/typing.py) in JSON, closed with a code that says why."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from service.errors import CarouselError, Code, StreamOver
from service.sessions.commands import EditSession, GetSession, SessionId, SessionView, Suggested, Tenant, Units
from service.sessions.service import Sessions
from service.transport.http.models import Problem, UnitsName
from service.transport.http.problems import problem_body
from service.transport.http.refusals import refusal_of
from service.transport.http.websocket import messages
from service.transport.http.websocket.messages import Received, TypeEvent
from service.transport.lifecycle import Lifecycle
from service.transport.observer import RequestObserver
from service.transport.statuses import STATUSES, code_of
from service.transport.typing import OPERATION, CallerLeft, Conversation, Ending

SUBPROTOCOL: Final = "carousel.v1"
"""Chosen if the caller offers it; who offers none gets the same."""

# IANA's registry of close codes (RFC 6455, section 7.4); 4000 to 4999 are for applications.
SERVICE_RESTART: Final = 1012
INTERNAL_ERROR: Final = 1011
APPLICATION_CODES: Final = 4000
"""To which the HTTP status of the error is added that ends a conversation: 4404 for a session that is not there."""


class TypingSockets:
    """Serves every WebSocket of the process."""

    def __init__(
        self, sessions: Sessions, *, lifecycle: Lifecycle, observer: RequestObserver, max_message_bytes: int
    ) -> None:
        self._sessions, self._lifecycle, self._observer = sessions, lifecycle, observer
        self._max_message_bytes = max_message_bytes
        self._log = logging.getLogger("carousel.websocket")

    async def serve(self, socket: WebSocket, tenant: Tenant, session: SessionId, units: UnitsName | None) -> None:
        """Answer one caller until it closes, or the stream is over, which it is told with where to go on.

        A handshake whose session is not there is accepted, told why and closed: a browser shows no page what a refused
        handshake says.
        """
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in socket.scope["subprotocols"] else None)
        wire = _Wire(socket, session, units, self._max_message_bytes)
        try:
            view = await self._sessions.get(tenant, GetSession(session, units=Units(units or Units.CODEPOINT)))
            await wire.write(messages.opened(view))
            await self._converse(wire, tenant, view)
        except asyncio.CancelledError:
            if not self._lifecycle.draining:
                raise
            # The grace is over: the server ends, and so does this, which is no failure of anybody's to log.
            self._log.info("a conversation was cut off: its caller does not read", extra={"operation": OPERATION})
        except CarouselError as error:
            self._observer.request("websocket", OPERATION, error.code.value, 0.0)
            await wire.write(wire.rejected("", error))
            await wire.close(APPLICATION_CODES + STATUSES[error.code].http, error.code.value)
        except Exception as error:  # noqa: BLE001  a bug: logged, and shown as INTERNAL
            self._log.exception("a conversation failed", extra={"operation": OPERATION})
            await wire.write(messages.rejected("", wire.problem(error)))
            await wire.close(INTERNAL_ERROR, code_of(error).value)

    async def _converse(self, wire: _Wire, tenant: Tenant, view: SessionView) -> None:
        conversation = Conversation(
            self._sessions,
            tenant,
            wire.requests(),
            wire,
            facade="websocket",
            lifecycle=self._lifecycle,
            observer=self._observer,
        )
        ending = await conversation.run()
        revision = (conversation.newest or view).revision
        if ending is Ending.SERVER_DRAINS:
            await self._end(wire, StreamOver("the server is shutting down", 1.0, revision), revision)
        elif ending is Ending.STREAM_IS_OLD:
            await self._end(wire, StreamOver("this stream has come to its age", 0.0, revision), revision)

    async def _end(self, wire: _Wire, why: StreamOver, revision: int) -> None:
        await wire.write(messages.ended(revision, wire.problem(why)))
        await wire.close(SERVICE_RESTART, Code.UNAVAILABLE.value)


class _Wire:
    """JSON in, JSON out."""

    def __init__(self, socket: WebSocket, session: SessionId, units: UnitsName | None, max_bytes: int) -> None:
        self._socket, self._session, self._units, self._max_bytes = socket, session, units, max_bytes
        self._request_id: str = socket.scope["state"]["request_id"]
        self._left = False

    async def requests(self) -> AsyncIterator[Received]:
        """Every message that arrives. Raises CallerLeft after the last one: a WebSocket cannot be half closed."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise CallerLeft
            text = message.get("text")
            yield Received(message["bytes"] if text is None else text)

    def command(self, request: Received) -> EditSession:
        """Every message edits the session of the path."""
        return request.edits(self._max_bytes, self._units).command(self._session)

    def edit_id(self, request: Received) -> str:
        """As far as the message was read."""
        return request.edit_id

    def after(self, request: Received) -> str:
        """As far as the message was read."""
        return request.after

    def acknowledged(self, edit_id: str, view: SessionView) -> TypeEvent:
        """An edit is committed."""
        return messages.acknowledged(edit_id, view)

    def suggested(self, edit_id: str, suggested: Suggested, acknowledged: TypeEvent | None) -> TypeEvent:
        """Suggestions, perhaps in one with the acknowledgement."""
        return messages.suggested(edit_id, suggested, acknowledged)

    def rejected(self, edit_id: str, error: CarouselError) -> TypeEvent:
        """With the problem that REST would answer."""
        return messages.rejected(edit_id, self.problem(error))

    def problem(self, error: BaseException) -> Problem:
        """An error as a REST answer has it."""
        return problem_body(refusal_of(error), self._request_id)

    async def write(self, event: TypeEvent) -> None:
        """Waits while more than a few messages are on their way to a caller who does not read."""
        if self._left:
            return
        try:
            await self._socket.send_text(event.json_text())
        except WebSocketDisconnect:
            self._left = True

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, unless the caller has left."""
        if self._left:
            return
        try:
            await self._socket.close(code, reason)
        except WebSocketDisconnect:
            self._left = True
