"""uvicorn's WebSocket, held to bounds: what a peer who never reads can make it keep, and how it ends.

Messages are kept small by taking no compression: a kilobyte of it can say a megabyte, and what is typed gains little.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.protocol import State

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

PING_EVERY_S: Final = 20.0
PONG_WITHIN_S: Final = 60.0
"""Generous, because the pong of a caller whose typing is not read for the moment waits behind that typing."""

_MOST_FRAGMENTS = 1024
_CLOSE_WITHIN_S = 2.0


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """Of pings that come faster than their pongs are read, the newest is answered (RFC 6455, section 5.5.3)."""

    _held_pong: list[bytes] | None = None

    def handle_ping(self) -> None:
        """Answer, or remember to. Called for each ping; the first call finds the pongs of all that came with it."""
        pongs = self.conn.data_to_send()
        if not pongs:
            return
        if self.writable.is_set() or self.conn.state is not State.OPEN:
            self.transport.write(b"".join(pongs))
        else:
            self._held_pong = pongs[-1:]

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        if self._held_pong is not None and not self.transport.is_closing():
            self.transport.write(b"".join(self._held_pong))
        self._held_pong = None

    async def send(self, message: ASGISendEvent) -> None:
        """A refused handshake has been answered whole: uvicorn would log it as one that was forgotten."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True

    def handle_cont(self, event: Frame) -> None:
        """Empty fragments have no size that a limit could see."""
        if len(self.frames) >= _MOST_FRAGMENTS:
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"a message has at most {_MOST_FRAGMENTS} fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def shutdown(self) -> None:
        """The process ends. Whoever talks is told by the conversation, which knows the revision, and then closes."""
        self.close_timeout = _CLOSE_WITHIN_S
        if not self.handshake_complete or self.close_sent:
            super().shutdown()
