"""Asks Triton's own client, which lives in a process and an environment of its own, over lines of JSON."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from tests.integration.servers import Running

Json = dict[str, Any]
Form = Literal["http", "grpc", "http.aio", "grpc.aio"]
FORMS: tuple[Form, ...] = ("http", "grpc", "http.aio", "grpc.aio")
PYTHON = Path(__file__).parents[3] / ".venv-tritonclient" / "bin" / "python"
NO_CLIENT = f"Triton's client is not installed in {PYTHON.parents[1].name}; make test installs it"
_LONGEST_LINE = 1 << 24


class Refused(Exception):
    """What the client raised: its message, and its status as it shows it."""

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.message, self.status = message, status


class Driver:
    """One client of each form for one server."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def ask(self, form: Form, call: str, **given: Any) -> Any:
        """What the client's method returns. Raises Refused."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        question = json.dumps({"form": form, "call": call, "with": given})
        self._process.stdin.write(question.encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        assert line, "the client's process ended; what it said is on standard error"
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"], answer["status"])
        return answer["result"]

    async def infer(self, form: Form, *inputs: Json, call: str = "infer", **given: Any) -> Any:
        """An inference with the model `fake`."""
        return await self.ask(form, call, **{"model_name": "fake", "inputs": inputs, **given})

    async def stream(self, form: Form, requests: Sequence[Json], headers: dict[str, str] | None = None) -> list[Json]:
        """The results, or errors, of ModelStreamInfer."""
        answers: list[Json] = await self.ask(form, "stream", requests=requests, headers=headers)
        return answers


def text(*rows: str, **more: Any) -> Json:
    """The input TEXT: one piece for each row."""
    values = [row.encode().decode("latin-1") for row in rows]
    return {"name": "TEXT", "shape": [len(rows), 1], "datatype": "BYTES", "values": values, **more}


def tokens(*rows: bytes, **more: Any) -> Json:
    """The input TOKENS, of rows of one length."""
    values = [list(row) for row in rows]
    return {"name": "TOKENS", "shape": [len(rows), len(rows[0])], "datatype": "INT64", "values": values, **more}


@asynccontextmanager
async def driving(server: Running) -> AsyncIterator[Driver]:
    """The client's process, for as long as it is needed."""
    process = await asyncio.create_subprocess_exec(
        str(PYTHON),
        str(Path(__file__).with_name("drive.py")),
        server.http.removeprefix("http://"),
        server.grpc,
        stdin=PIPE,
        stdout=PIPE,
        limit=_LONGEST_LINE,
    )
    try:
        yield Driver(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
