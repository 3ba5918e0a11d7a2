"""A benchmark's part in a process of its own: it is asked with a line of JSON, and answers with one.

So what generates load never shares an interpreter lock with what it loads, and its CPU is its own.
Runs on the standard library alone, as benchmarks.lean_grpc does.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_STOP_S = 10.0
_ROOT = Path(__file__).resolve().parent.parent


class WorkerError(Exception):
    """A worker ended before it answered; what it had to say stands on standard error."""


class Worker:
    """A Python module in a process of its own. Use it as a context manager; leaving it ends the process."""

    def __init__(self, module: str, *arguments: str, python: Path | str = sys.executable) -> None:
        """python: the interpreter, when the module needs another environment's packages."""
        self._name = module
        self._process = subprocess.Popen(
            [str(python), "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT if python != sys.executable else None,
        )

    def __enter__(self) -> Self:
        """The worker, started."""
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """Close its input, which ends it, or else end it."""
        assert self._process.stdin is not None and self._process.stdout is not None  # they were opened as pipes
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def ask(self, **question: Any) -> dict[str, Any]:
        """Ask and wait for the answer. Raises WorkerError."""
        assert self._process.stdin is not None and self._process.stdout is not None  # they were opened as pipes
        with suppress(BrokenPipeError):  # then there is no answer either
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self._name} ended before it answered")
        answer: dict[str, Any] = json.loads(line)
        return answer


def answer_questions(answer: Callable[..., Mapping[str, Any]]) -> None:
    """A worker's loop: calls `answer` with every question, until there are no more."""
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)
