"""A gRPC client that costs next to nothing: as much of HTTP/2 as a load generator on the server's machine needs.

What the load generator burns is taken from the server that is measured, where both share two cores, and Python's gRPC
burns several times as much (docs/decisions/009). Messages are bytes, connections belong to one thread, and nothing is
retried: whatever is not as expected ends the benchmark. Not for use elsewhere: no TLS, no compression, no message over
16 KiB to the server. Frames are those of RFC 9113, headers those of RFC 7541 without table and Huffman code, messages
those of gRPC over HTTP/2. Runs on the standard library alone, so that it also runs where Carousel is not installed.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE = 1, 4
_CANCEL = 8
_WINDOW = 65_535
_LARGEST_WINDOW = 2**31 - 1
_GRANT_AFTER = 2**29  # bytes received
_MAX_MESSAGE = 16_384 - 5
_RECEIVED_AT_ONCE = 1 << 18
_TIMEOUT_S = 60.0
_OK, _REFUSED = b"grpc-status\x010", b"grpc-status\x018"  # literals of one character
_ASK_EVERY_S = 0.05
_FRAME = struct.Struct(">BHBBI")
_PREFIX = struct.Struct(">BI")


class LeanGrpcError(Exception):
    """The server did not do what was expected; the message says what."""


class Stream:
    """One call. `ended` is set once the server has ended it, or it was cancelled.

    `on_refused` may be set, and then hears of an end with RESOURCE_EXHAUSTED: for a server that asks to come later.
    """

    __slots__ = ("_connection", "_id", "_part", "_window", "ended", "on_end", "on_message", "on_refused")

    def __init__(self, connection: Connection, number: int, on_message: OnMessage, on_end: OnEnd, window: int) -> None:
        """Made by `Connection.open`."""
        self._connection, self._id, self._window = connection, number, window
        self.on_message, self.on_end = on_message, on_end
        self.on_refused: OnEnd | None = None
        self._part = b""
        self.ended = False

    def send(self, message: bytes, *, end: bool = False) -> None:
        """Put a message into the connection's buffer, and half-close the call after it if `end`; see `flush`."""
        if len(message) > _MAX_MESSAGE:
            raise ValueError(f"a message of {len(message)} bytes, but at most {_MAX_MESSAGE} fit one frame")
        length = len(message) + 5
        frame = _FRAME.pack(0, length, _DATA, _END_STREAM if end else 0, self._id) + _PREFIX.pack(0, len(message))
        self._connection.put(self, frame + message, length)

    def cancel(self) -> None:
        """Give the call up; nothing more is heard of it."""
        self.ended = True
        self._connection.forget(self._id)


OnMessage = Callable[[Stream, bytes], None]
OnEnd = Callable[[Stream], None]


def _nothing(_: Stream) -> None:
    """A call that may end without anybody's notice."""


class Connection:
    """One connection to a server without TLS. Raises OSError if there is none."""

    def __init__(self, target: str) -> None:
        """target: HOST:PORT."""
        host, _, port = target.rpartition(":")
        self.socket: Final = socket.create_connection((host, int(port)), timeout=_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HIHI", _HEADER_TABLE_SIZE, 0, _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        self._out = [_PREFACE, _frame(_SETTINGS, 0, 0, settings), _grant(_LARGEST_WINDOW - _WINDOW)]
        self._in = b""
        self._streams: dict[int, Stream] = {}
        self._next = 1
        self._window, self._stream_window = _WINDOW, _WINDOW
        self._blocked: deque[tuple[Stream, bytes, int]] = deque()
        self._received = 0

    def open(self, head: bytes, on_message: OnMessage, on_end: OnEnd = _nothing) -> Stream:
        """Begin a call with a head made by `call_head`. `on_end` hears of an end with status OK only."""
        stream = Stream(self, self._next, on_message, on_end, self._stream_window)
        self._streams[self._next] = stream
        self._out.append(_frame(_HEADERS, _END_HEADERS, self._next, head))
        self._next += 2
        return stream

    def put(self, stream: Stream, frame: bytes, length: int) -> None:
        """Send a frame of `length` bytes of payload as soon as the server's windows allow."""
        if self._blocked or length > self._window or length > stream._window:
            self._blocked.append((stream, frame, length))
            return
        self._window -= length
        stream._window -= length
        self._out.append(frame)

    def forget(self, number: int) -> None:
        """Reset a call."""
        if self._streams.pop(number, None) is not None:
            self._out.append(_frame(_RESET, 0, number, struct.pack(">I", _CANCEL)))

    def flush(self) -> None:
        """Hand everything that was put to the system. Raises OSError."""
        if self._out:
            out = b"".join(self._out)
            self._out.clear()
            self.socket.sendall(out)

    def receive(self) -> None:
        """Read what has come and call whom it concerns, then flush. Raises LeanGrpcError and OSError."""
        received = self.socket.recv(_RECEIVED_AT_ONCE)
        if not received:
            raise LeanGrpcError("the server closed the connection")
        data = self._in + received if self._in else received
        at, end = 0, len(data)
        while end - at >= 9:
            high, low, kind, flags, number = _FRAME.unpack_from(data, at)
            after = at + 9 + (high << 16) + low
            if after > end:
                break
            if kind == _DATA:
                self._on_data(flags, number, data[at + 9 : after])
            else:
                self._on_other(kind, flags, number, data[at + 9 : after])
            at = after
        self._in = data[at:]
        self._received += len(received)
        if self._received > _GRANT_AFTER:
            self._out.append(_grant(self._received))
            self._received = 0
        self.flush()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return  # cancelled
        if flags & (_PADDED | _END_STREAM):
            raise LeanGrpcError("padding, or an end without trailers: no gRPC server sends that")
        data = stream._part + payload if stream._part else payload
        at, end = 0, len(data)
        while end - at >= 5:
            compressed, length = _PREFIX.unpack_from(data, at)
            if compressed:
                raise LeanGrpcError("a compressed message, although none was asked for")
            if at + 5 + length > end:
                break
            stream.on_message(stream, data[at + 5 : at + 5 + length])
            at += 5 + length
        stream._part = data[at:]

    def _on_other(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == _HEADERS:
            if flags & _END_STREAM:
                self._on_trailers(number, payload)
        elif kind == _WINDOW_UPDATE:
            self._on_window(number, int.from_bytes(payload, "big"))
        elif kind == _SETTINGS and not flags & _ACK:
            self._on_settings(payload)
        elif kind == _PING and not flags & _ACK:
            self._out.append(_frame(_PING, _ACK, 0, payload))
        elif kind == _RESET and number in self._streams:
            raise LeanGrpcError(f"the server reset a call, code {int.from_bytes(payload, 'big')}")
        elif kind == _GOAWAY:
            raise LeanGrpcError(f"the server says goodbye: {payload[8:].decode(errors='replace') or payload.hex()}")

    def _on_trailers(self, number: int, block: bytes) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return  # cancelled
        if _REFUSED in block and stream.on_refused is not None:
            stream.ended = True
            stream.on_refused(stream)
            return
        if _OK not in block:
            raise LeanGrpcError("a call failed: " + "".join(chr(b) if 32 <= b < 127 else " " for b in block))
        stream.ended = True
        stream.on_end(stream)

    def _on_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == _INITIAL_WINDOW_SIZE:
                for stream in self._streams.values():
                    stream._window += value - self._stream_window
                self._stream_window = value
        self._out.append(_frame(_SETTINGS, _ACK, 0, b""))
        self._unblock()

    def _on_window(self, number: int, more: int) -> None:
        if number == 0:
            self._window += more
        elif (stream := self._streams.get(number)) is not None:
            stream._window += more
        self._unblock()

    def _unblock(self) -> None:
        waiting, self._blocked = self._blocked, deque()
        for stream, frame, length in waiting:
            if not stream.ended:
                self.put(stream, frame, length)


def call_head(target: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The headers of a call of `path`, as in /package.Service/Method, encoded once for as many calls as there are."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": target,
        "te": "trailers",
        "content-type": "application/grpc",
        **(headers or {}),
    }
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in fields.items())


def run(connections: Sequence[Connection], until: Callable[[], bool]) -> None:
    """Flush and receive until `until()`, which is asked after every batch of what has come, and every 50 ms.

    Raises LeanGrpcError, also if nothing comes for a minute, and OSError.
    """
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.flush()
        came_s = time.monotonic()
        while not until():
            if ready := selector.select(_ASK_EVERY_S):
                came_s = time.monotonic()
            elif time.monotonic() - came_s > _TIMEOUT_S:
                raise LeanGrpcError(f"nothing came from the server for {_TIMEOUT_S:.0f} s")
            for key, _ in ready:
                key.data.receive()
            for connection in connections:
                connection.flush()  # what `until` has put
    for connection in connections:
        connection.flush()


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return _FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, number) + payload


def _grant(size: int) -> bytes:
    """What the server may send more on this connection."""
    return _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", size))


def _string(text: str) -> bytes:
    """A string literal as it is, RFC 7541 section 5.2; its length with a prefix of 7 bits (5.1)."""
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    left = len(data) - 127
    length = bytearray([127])
    while left >= 128:
        length.append(left % 128 + 128)
        left //= 128
    return bytes([*length, left]) + data
