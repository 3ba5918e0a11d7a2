"""A TCP proxy between a client and a server that cuts its connections when it is told to, or after so many bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

_CHUNK = 4096


class CuttingProxy:
    """Runs while it is entered. `target` is the port of the server behind it, and may change; None refuses callers."""

    def __init__(self, target: int | None) -> None:
        self.target = target
        self.cut_after_bytes: int | None = None  # of what the server says next; then it is None again
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> CuttingProxy:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def cut(self) -> None:
        """Break every connection, now, without a word."""
        with self._guard:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                if self.target is None:
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                caller.close()
                continue
            self.connections += 1
            with self._guard:
                self._open |= {caller, server}
            for source, sink, answers in ((caller, server, False), (server, caller, True)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink, answers), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with source, contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                if answers and self.cut_after_bytes is not None:
                    self.cut_after_bytes -= len(chunk)
                    if self.cut_after_bytes <= 0:
                        self.cut_after_bytes = None
                        self.cut()
                        return
                sink.sendall(chunk)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
