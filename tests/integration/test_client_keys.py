"""A key as clients and commands give it, at a server that asks for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from openai import AsyncOpenAI, AuthenticationError
from typer import Typer
from typer.testing import CliRunner, Result

from carousel_client import AsyncClient, Client, Insert, Unauthenticated
from service.terminal.complete_command import complete
from service.terminal.score_command import score
from service.terminal.sessions_command import app as sessions
from tests.integration.servers import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY, OTHER = "key-of-the-owner-0123", "key-of-another-456789"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"owner {KEY}\nother {OTHER}\n", encoding="utf-8")
    async with running(api_keys_file=str(file)) as server:
        yield server


def _types(target: str) -> None:
    with Client(target, api_key=KEY) as client, client.session("import o") as session:
        with session.typing() as stream:
            stream.send(Insert("s"))
            stream.finish()
            assert [event.revision for event in stream if hasattr(event, "revision")] == [2]
        with Client(target, api_key=OTHER) as other:
            assert session.id not in [one.id for one in other.sessions()]
    with Client(target) as nobody, pytest.raises(Unauthenticated, match="asks for a key"):
        nobody.session("a")


async def test_a_clients_key_goes_with_every_call_and_stream(server: Running) -> None:
    await asyncio.to_thread(_types, server.grpc)
    async with AsyncClient(server.grpc, api_key=KEY) as client, client.session("import o") as session:
        await session.type("s")
        assert await session.text() == "import os"
        assert [piece async for piece in client.complete("a")]
    async with AsyncClient(server.grpc, api_key="a-key-that-is-unknown") as client:
        with pytest.raises(Unauthenticated, match="not known"):
            await client.score("a")


@pytest.mark.parametrize("key", ["", "a key", "key\n", "clé"])
async def test_what_can_be_no_key_is_refused_before_anything_is_sent(key: str) -> None:
    with pytest.raises(ValueError, match="api_key: ") as refused:
        Client(api_key=key)
    assert not key or repr(key) not in str(refused.value)
    with pytest.raises(ValueError, match="one of the two"):
        AsyncClient(api_key=KEY, headers={"Authorization": f"Bearer {KEY}"})


async def _run(app: Typer, *arguments: str, key: str | None = None) -> Result:
    environment = {"CAROUSEL_API_KEY": key}
    return await asyncio.to_thread(CliRunner().invoke, app, [*arguments], env=environment)


def _of(*commands: object) -> Typer:
    app = Typer()
    for command in commands:
        app.command()(command)  # type: ignore[type-var]  # a command is any function
    return app


async def test_commands_take_their_key_from_the_variable_or_the_flag(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("import os", encoding="utf-8")
    shell = _of(complete, score)
    for arguments in (("complete", "import o"), ("score", str(file))):
        done = await _run(shell, *arguments, "--server", server.grpc, key=f"{KEY}\n")
        assert done.exit_code == 0, done.stderr
        assert (await _run(shell, *arguments, "--server", server.grpc, "--api-key", KEY)).exit_code == 0
        refused = await _run(shell, *arguments, "--server", server.grpc)
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
        assert "asks for a key" in refused.stderr and "CAROUSEL_API_KEY" in refused.stderr
    assert (await _run(sessions, "list", "--server", server.grpc, key=KEY)).exit_code == 0
    refused = await _run(sessions, "list", "--server", server.grpc, key="a-key-that-is-unknown")
    assert refused.exit_code == 2
    assert "not known" in refused.stderr and "a-key-that-is-unknown" not in refused.stderr
    malformed = await _run(sessions, "list", "--server", server.grpc, key="no key")
    assert (malformed.exit_code, "no key has" in malformed.stderr) == (2, True)


async def test_openais_client_gives_its_key_and_knows_the_refusal(server: Running) -> None:
    asked = {"model": "fake", "prompt": "import os\n", "max_tokens": 4}
    async with AsyncOpenAI(base_url=f"{server.http}/v1", api_key=KEY) as client:
        assert (await client.completions.create(**asked)).choices[0].text  # type: ignore[call-overload]  # a dictionary
    async with AsyncOpenAI(base_url=f"{server.http}/v1", api_key="sk-unknown-to-this-server") as client:
        with pytest.raises(AuthenticationError) as refused:
            await client.completions.create(**asked)  # type: ignore[call-overload]  # as above
    assert refused.value.code == "invalid_api_key"
