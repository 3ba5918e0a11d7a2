"""A real program in a pseudo-terminal, and its screen as a person would see it (rendered by pyte)."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import pyte

_CHUNK_BYTES = 65536
_STEP_S = 0.25


class PtyScreen:
    """Runs `command` while it is entered. Everything is bounded by the timeouts that are given."""

    def __init__(
        self, command: Sequence[str], *, columns: int = 80, lines: int = 24, environment: Mapping[str, str]
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**environment, "TERM": "xterm-256color"},
        )
        os.close(slave)

    def __enter__(self) -> PtyScreen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=10)
        os.close(self._master)

    @property
    def shown(self) -> str:
        """The screen's text, its lines without the blanks at their ends."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def press(self, keys: str) -> None:
        """Send keys as a terminal does: text, or escape sequences such as `\\x1b[C`."""
        os.write(self._master, keys.encode())

    def style_of(self, text: str) -> pyte.screens.Char:
        """The first cell of `text` on the screen. Raises AssertionError if it is not there."""
        for row, line in enumerate(self.screen.display):
            column = line.find(text)
            if column >= 0:
                return self.screen.buffer[row][column]
        raise AssertionError(f"{text!r} is not on the screen:\n{self.shown}")

    def wait_for(self, what: str | Callable[[str], bool], *, timeout_s: float = 20.0) -> None:
        """Read until the screen holds `what`. Raises AssertionError with the screen if it never does."""
        holds: Callable[[str], bool] = what if callable(what) else lambda shown: what in shown
        deadline_s = time.monotonic() + timeout_s
        while not holds(self.shown):
            if time.monotonic() > deadline_s or not self._read():
                raise AssertionError(f"never on the screen: {what!r}. It shows:\n{self.shown}")

    def wait_for_end(self, *, timeout_s: float = 20.0) -> int:
        """Read until the program ends; its exit code."""
        deadline_s = time.monotonic() + timeout_s
        while self._read() and time.monotonic() < deadline_s:
            pass
        return self.process.wait(timeout=max(deadline_s - time.monotonic(), 0.1))

    def settle(self) -> None:
        """Read until the program has written nothing for a moment, as a person looks up when the screen rests."""
        while select.select([self._master], [], [], _STEP_S)[0] and self._read():
            pass

    def _read(self) -> bool:
        """Take what the program wrote meanwhile; False once its terminal is closed."""
        readable, _, _ = select.select([self._master], [], [], _STEP_S)
        if not readable:
            return True
        try:
            chunk = os.read(self._master, _CHUNK_BYTES)
        except OSError:  # how Linux says that the other side is closed
            return False
        self._stream.feed(chunk)
        return bool(chunk)
