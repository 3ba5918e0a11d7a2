"""The HTTP port: uvicorn in an event loop that is shared with gRPC, without hands on signals or logs."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from service.transport.http.websocket.protocol import PING_EVERY_S, PONG_WITHIN_S, BoundedWebSocket


class HttpServer:
    """Serves one application from the moment `start` returns."""

    def __init__(self, app: ASGIApp, *, grace_s: float, max_request_bytes: int) -> None:
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                lifespan="off",
                ws=BoundedWebSocket,
                # Above the limit that we refuse with a problem, so that only gross excess closes the connection.
                ws_max_size=2 * max_request_bytes + 4096,
                ws_per_message_deflate=False,
                ws_ping_interval=PING_EVERY_S,
                ws_ping_timeout=PONG_WITHIN_S,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=math.ceil(grace_s),
            )
        )
        self._serving: asyncio.Task[None] | None = None

    async def start(self, listening: socket.socket) -> None:
        """Take the connections of a socket that listens already; it is closed at the end."""
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        await self._server.listening.wait()

    async def stop(self) -> None:
        """No new connections; requests in flight may take the grace."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever owns the process: one signal ends both facades."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when connections are taken."""
        await super().startup(sockets)
        self.listening.set()
