"""Texts in and out of a command: a file or standard input, and a standard output that may close before all is said."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from service.terminal.finding import refuse

STDIN = Path("-")

_PIPE_CLOSED = 128 + 13  # as a shell reports a program that SIGPIPE has ended
_INTERRUPTED = 128 + 2  # and SIGINT


def read_bytes(file: Path) -> bytes:
    """All of a file, or of standard input for `-`. Refuses what cannot be read."""
    try:
        return sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    except OSError as error:
        refuse(f"{file}: {error.strerror}")


def decoded(content: bytes, name: str, purpose: str) -> str:
    """The text that the bytes are in UTF-8. Refuses others: only text can be had `purpose`."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        refuse(f"{name} is not UTF-8 (byte {error.start}, in line {line}); only text can be {purpose}")


def say(text: str) -> None:
    """Write to standard output at once, as UTF-8 whatever the locale. Raises BrokenPipeError if nobody reads it."""
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()


@contextmanager
def ending_quietly() -> Iterator[None]:
    """Who closes the pipe, or presses Ctrl-C, has seen enough: no traceback, and the exit code that a shell expects."""
    try:
        yield
    except BrokenPipeError:
        # Python would try to flush it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(_PIPE_CLOSED) from None
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
