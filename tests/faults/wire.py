"""A TCP proxy between a caller and a server whose connections fall silent, lose answers or break when it is told to."""

from __future__ import annotations

import asyncio
import ssl
from enum import Enum, auto
from types import TracebackType

_CHUNK = 65536


class Carries(Enum):
    """What becomes of bytes. The connections stay open, so that neither side can see it."""

    EVERYTHING = auto()
    REQUESTS_ALONE = auto()  # what is answered is lost
    NOTHING = auto()


class Wire:
    """Runs while it is entered, on the event loop. `carries` may change at any time; new connections are taken, too."""

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        """tls: what callers have to speak; it is plain to the server."""
        self.target, self.carries, self._tls = target, Carries.EVERYTHING, tls
        self.lost = asyncio.Event()
        """Bytes were thrown away since it was cleared last."""
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    @property
    def port(self) -> int:
        assert self._server is not None, "it is entered"
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def open(self) -> int:
        """Ends of connections that neither side has closed."""
        return len(self._open)

    def lose(self, carries: Carries) -> None:
        """From now on, throw bytes away."""
        self.lost.clear()
        self.carries = carries

    async def cut_once_lost(self) -> None:
        """When something was thrown away, break every connection; the next ones are sound."""
        await self.lost.wait()
        self.cut()
        self.carries = Carries.EVERYTHING

    def cut(self) -> None:
        """Break every connection, now, without a word."""
        for one in self._open:
            one.transport.abort()
        self._open.clear()

    async def _join(self, caller: asyncio.StreamReader, to_caller: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            to_caller.transport.abort()
            return
        self._open |= {to_caller, to_server}
        await asyncio.gather(
            self._pass_on(caller, to_server, answers=False), self._pass_on(server, to_caller, answers=True)
        )

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while chunk := await source.read(_CHUNK):
                if self.carries is Carries.NOTHING or (answers and self.carries is Carries.REQUESTS_ALONE):
                    self.lost.set()
                    continue
                sink.write(chunk)
                await sink.drain()
        except OSError:
            pass  # one side broke it, so the other is told
        finally:
            sink.close()
            self._open.discard(sink)
