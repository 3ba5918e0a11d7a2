"""The outermost layer of everything over HTTP: request id, door, body limit, metrics, and the log of bugs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import PermissionDenied
from service.transport.caller import REQUEST_ID_HEADER, answering, request_id
from service.transport.http.door import Door
from service.transport.http.error_answers import answer_to
from service.transport.http.refusals import CODE_HEADER
from service.transport.lifecycle import Lifecycle
from service.transport.observer import CANCELLED, OK, Facade, RequestObserver, level_of

_TOO_LARGE = 413
_TOO_SLOW = 408
_MORE_WITHIN_S = 30.0  # of a body: who is gone in the middle of one would else be waited for until the process ends


class Intake:
    """Wraps the application. Every request ends in exactly one answer, and none of them shows a traceback.

    HEAD is answered as GET, of which the server sends the headers alone. A WebSocket's handshake is a request like any
    other; once it is accepted, the conversation reports its own edits.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        door: Door,
        observer: RequestObserver,
        lifecycle: Lifecycle,
        max_request_bytes: int,
        larger_requests: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """larger_requests: the bytes that bodies may have on a path, where those are more."""
        self._app, self._door, self._observer, self._lifecycle, self._clock = app, door, observer, lifecycle, clock
        self._max_request_bytes, self._larger_requests = max_request_bytes, larger_requests or {}
        self._log = logging.getLogger("carousel.http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if scope.get("method") == "HEAD":
            scope = {**scope, "method": "GET"}
        began = self._clock()
        headers = Headers(scope=scope)
        id_ = request_id(headers.get)
        scope.setdefault("state", {}).update(request_id=id_, began_s=began)
        answer = _Answer(send, id_)
        with self._lifecycle.in_flight(), answering(id_):
            try:
                await self._admit(scope, headers, receive, answer, id_)
            except ClientDisconnect:  # in the middle of its body; what was answered to that nobody has read
                answer.code = CANCELLED
            except Exception:  # noqa: BLE001  the application has answered it as INTERNAL before it came here
                self._log.exception("a request failed", extra={"operation": _operation(scope)})
            finally:
                seconds = self._clock() - began
                if not answer.conversed:
                    facade: Facade = "rest" if scope["type"] == "http" else "websocket"
                    self._observer.request(facade, _operation(scope), answer.code, seconds)
                about = {"operation": _operation(scope), "code": answer.code, "seconds": round(seconds, 6)}
                self._log.log(level_of(answer.code), "call", extra=about)

    async def _admit(self, scope: Scope, headers: Headers, receive: Receive, answer: _Answer, id_: str) -> None:
        path = scope["path"]
        try:
            self._door.check(headers.get("host"), headers.get("origin"))
        except PermissionDenied as error:
            await answer_to(error, path, id_)(scope, receive, answer.send)
            return
        length = headers.get("content-length", "0")
        most = max(self._max_request_bytes, self._larger_requests.get(path, 0))
        if length.isdecimal() and int(length[:20]) > most:
            await answer_to(HTTPException(_TOO_LARGE), path, id_)(scope, receive, answer.send)
            return
        await self._app(scope, self._limited(receive, most), answer.send)

    def _limited(self, receive: Receive, most: int) -> Receive:
        """For a body without a length: raises when it has grown too large, and for any when no more of it comes."""
        taken, arrives = 0, True

        async def limited() -> Message:
            nonlocal taken, arrives
            if not arrives:  # what is waited for is that the caller leaves, or a message of a WebSocket
                return await receive()
            try:
                async with asyncio.timeout(_MORE_WITHIN_S):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(_TOO_SLOW, headers={"connection": "close"}) from None
            arrives = bool(message.get("more_body"))
            taken += len(message.get("body", b""))
            if taken > most:
                raise HTTPException(_TOO_LARGE)
            return message

        return limited


_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})


class _Answer:
    """Puts the request id on the answer and remembers how it ended."""

    def __init__(self, send: Send, id_: str) -> None:
        self._send, self._id = send, id_
        self.code = CANCELLED  # until an answer is begun
        self.conversed = False

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in _STARTS:
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID_HEADER] = self._id
            self.code = headers.get(CODE_HEADER, OK)
        elif kind == "websocket.accept":
            MutableHeaders(scope=message)[REQUEST_ID_HEADER] = self._id
            self.code, self.conversed = OK, True
        await self._send(message)


def _operation(scope: Scope) -> str:
    """The name of the route, one of a few; never the path, which anybody may make up."""
    name: str = getattr(scope.get("route"), "name", "none")
    return name
