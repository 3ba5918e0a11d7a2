"""`carousel sessions` as a shell runs it: what a server keeps, listed, carried over and deleted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carousel_client import Client, Insert, NotFound
from service.engine.fake_model import FakeModel
from service.settings import load_settings
from service.terminal.local_server import LocalServer
from service.terminal.sessions_command import app
from tests.integration.servers import IDENTITY, free_port

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with LocalServer(FakeModel(), IDENTITY, load_settings({"trust_tenant_header": True})) as server:
        yield f"127.0.0.1:{server.addresses.grpc_port}"


@pytest.fixture
def client(server: str) -> Iterator[Client]:
    with Client(server) as client:
        yield client
        for one in client.sessions():
            client.attach(one.id).close()


def run(server: str, *arguments: str, given: bytes = b"") -> tuple[str, str, int]:
    done = CliRunner().invoke(app, [*arguments, "--server", server], input=given)
    return done.stdout, done.stderr, done.exit_code


def test_a_list_tells_of_every_session_and_what_was_typed_last(server: str, client: Client) -> None:
    for name in ("b", "a"):
        client.session("text", id=name).edit([Insert("é")])
    said, _, code = run(server, "list")
    header, *lines = said.splitlines()
    assert code == 0
    assert header.split()[:2] == ["id", "revision"]
    assert [line.split()[:3] for line in lines] == [["a", "2", "6"], ["b", "2", "6"]]
    (one, _) = map(json.loads, run(server, "list", "--json")[0].splitlines())
    assert (one["id"], one["revision"], one["text_bytes"], one["model"]) == ("a", 2, 6, "fake")
    assert run(server, "list", "--ids", "--limit", "1")[0] == "a\n"
    assert run(server, "list", "--ids", "--older", "1h")[0] == ""


def test_a_session_is_exported_deleted_and_imported_with_its_history(
    server: str, client: Client, tmp_path: Path
) -> None:
    client.session("im", id="s").edit([Insert("port os")])
    file = tmp_path / "s.json"
    assert run(server, "export", "s", "--out", str(file))[2] == 0
    assert run(server, "export", "s")[0].encode() == file.read_bytes()
    assert run(server, "delete", "s") == ("", "", 0)
    with pytest.raises(NotFound):
        client.attach("s")
    assert run(server, "import", str(file))[0] == "s\n"
    session = client.attach("s")
    assert (session.text(), session.revision) == ("import os", 2)
    assert run(server, "import", "-", "--id", "other", given=file.read_bytes())[0] == "other\n"


def test_many_are_deleted_by_a_pipe_and_what_is_missing_is_named(server: str, client: Client) -> None:
    for name in "abc":
        client.session("", id=name)
    ids = run(server, "list", "--ids")[0]
    said, complained, code = run(server, "delete", "-", "nobody", given=ids.encode())
    assert (said, code) == ("", 1)
    assert complained == "carousel: there is no session 'nobody'\n"
    assert run(server, "list", "--ids")[0] == ""


def test_another_tenants_sessions_are_its_own(server: str, client: Client) -> None:
    client.session("", id="mine")
    assert run(server, "list", "--ids", "--tenant", "stranger")[0] == ""
    assert run(server, "delete", "mine", "--tenant", "stranger")[2] == 1
    assert run(server, "list", "--ids")[0] == "mine\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "--older", "yesterday"), "--older: 'yesterday' is not a duration"),
        (("export", "nobody"), "no session 'nobody'"),
        (("import", "nowhere.json"), "nowhere.json"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(server: str, arguments: tuple[str, ...], said: str) -> None:
    _, complained, code = run(server, *arguments)
    assert code == 2
    assert len(complained.splitlines()) == 1
    assert said in complained


def test_without_a_server_it_says_so() -> None:
    command = [sys.executable, "-m", "service.terminal", "sessions", "list", "--server", f"127.0.0.1:{free_port()}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert done.returncode == 2
    assert done.stderr.startswith("carousel: 127.0.0.1:")
    assert len(done.stderr.splitlines()) == 1
