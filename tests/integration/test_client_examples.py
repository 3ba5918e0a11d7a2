"""The examples of the client's README and of its docstrings, as they stand."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import carousel_client
from carousel_client import AsyncClient, Client
from service.engine.fake_model import FakeModel
from service.settings import load_settings
from service.terminal.local_server import LocalServer
from tests.integration.servers import IDENTITY

README = (Path(__file__).parents[2] / "client" / "README.md").read_text(encoding="utf-8")
IN_README = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
DEFAULT = "127.0.0.1:50051"


def in_docstrings() -> Iterator[tuple[str, str]]:
    """What is indented in the docstrings of the package and of what it exports, by where it stands."""
    objects = {"carousel_client": carousel_client} | {
        name: getattr(carousel_client, name) for name in carousel_client.__all__
    }
    for name, documented in objects.items():
        for example in re.findall(r"(?<=\n\n)(?: {4}.*\n)+", (inspect.getdoc(documented) or "") + "\n"):
            yield name, textwrap.dedent(example)


IN_DOCSTRINGS = list(in_docstrings())


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with LocalServer(FakeModel(), IDENTITY, load_settings({})) as server:
        yield f"127.0.0.1:{server.addresses.grpc_port}"


@pytest.mark.parametrize("example", IN_README, ids=range(len(IN_README)))
def test_an_example_of_the_readme_runs(target: str, example: str) -> None:
    assert DEFAULT in example
    program = [sys.executable, "-W", "error", "-c", example.replace(DEFAULT, target)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_there_are_examples_in_docstrings() -> None:
    assert {name for name, _ in IN_DOCSTRINGS} >= {
        "carousel_client",
        "Client",
        "AsyncClient",
        "TypingStream",
        "AsyncTypingStream",
        "Completion",
    }


@pytest.mark.parametrize(("name", "example"), IN_DOCSTRINGS, ids=[name for name, _ in IN_DOCSTRINGS])
async def test_an_example_of_a_docstring_runs(target: str, name: str, example: str) -> None:
    """With a client and a session, as its reader has them."""
    code = compile(example.replace(DEFAULT, target), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    exported: dict[str, Any] = {name: getattr(carousel_client, name) for name in carousel_client.__all__}
    if code.co_flags & inspect.CO_COROUTINE:
        async with AsyncClient(target) as client, client.session("import o") as session:
            await eval(code, {**exported, "client": client, "session": session})
        return

    def run() -> None:
        with Client(target) as client, client.session("import o") as session:
            exec(code, {**exported, "client": client, "session": session})

    await asyncio.to_thread(run)
