"""The process around the facades: what it prints, what it logs, how signals end it, how bad settings do."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import pytest

from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.grpc.generated.carousel.v1.autocomplete_pb2_grpc import AutocompleteStub
from tests.integration.servers import GatedModel, make_server
from tests.unit.runtime.test_onnx_model import write_model

ROOT = Path(__file__).resolve().parents[2]
FREE_PORTS = ("--grpc-port", "0", "--http-port", "0", "--metrics-port", "0", "--store", "memory:")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@dataclass
class Process:
    """A server in a process of its own, and what it has written to standard error so far."""

    popen: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def read_until(self, marker: str) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            self.lines.append(line.rstrip("\n"))
            if marker in line:
                return
        raise AssertionError(f"ended without {marker!r}: {self.lines}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.popen.send_signal(number)
        assert self.popen.stderr is not None
        self.lines += self.popen.stderr.read().splitlines()
        return self.popen.wait(timeout=30)


def process(*flags: str) -> AbstractContextManager[Process]:
    return started("-m", "tests.integration.serve_fake_model", *flags)


@contextmanager
def started(*arguments: str) -> Iterator[Process]:
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as popen:
        try:
            server = Process(popen)
            server.read_until("serving")
            yield server
        finally:
            popen.kill()


def carousel(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_start_up_prints_where_to_call_what_is_kept_and_a_line_that_answers_with_suggestions() -> None:
    with process() as server:
        printed = "\n".join(server.lines)
        for label in ("gRPC", "REST", "docs", "metrics"):
            assert re.search(rf"{label} +\S*127\.0\.0\.1:\d+", printed), label
        assert "memory only: nothing is written" in printed
        assert "fake" in printed
        (line,) = (line for line in server.lines if line.strip().startswith("curl"))
        words = shlex.split(line)
        url, header, body = words[2], words[words.index("-H") + 1], words[words.index("-d") + 1]
        name, value = header.split(": ")
        answer = httpx.post(url, content=body, headers={name: value})
        assert answer.status_code == 201
        assert answer.json()["suggestions"]
        assert server.end() == 0


def test_with_keys_the_line_to_copy_takes_the_callers_from_the_variable_of_the_commands(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a key-of-tenant-a-0123\n", encoding="utf-8")
    with process(f"api_keys_file={tmp_path / 'keys'}") as server:
        printed = "\n".join(server.lines)
        assert "Callers need a key" in printed and "key-of-tenant-a-0123" not in printed
        (line,) = (line for line in server.lines if line.strip().startswith("curl"))
        words = shlex.split(line.replace("$CAROUSEL_API_KEY", "key-of-tenant-a-0123"))
        named = [words[at + 1] for at, word in enumerate(words) if word == "-H"]
        headers = dict(header.split(": ") for header in named)
        body = words[words.index("-d") + 1]
        assert httpx.post(words[2], content=body, headers=headers).status_code == 201
        del headers["authorization"]
        assert httpx.post(words[2], content=body, headers=headers).status_code == 401
        assert server.end() == 0


def test_carousel_serve_serves_the_model_folder_that_it_is_given(model_folder: Path) -> None:
    flags = ("--model", str(model_folder), "--log-format", "json", *FREE_PORTS)
    with started("-m", "service.cli", "serve", *flags) as server:
        url = f"http://127.0.0.1:{json.loads(server.lines[-1])['http_port']}/v1/sessions"
        answer = httpx.post(url, json={"text": "import os\n", "suggest": {"stop": "none", "max_bytes": 8}}).json()
        assert answer["model"]["name"] == "tiny"
        assert answer["suggestions"]
        assert server.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(number: signal.Signals) -> None:
    with process("log_format=json") as server:
        assert server.end(number) == 0
        events = [json.loads(line)["event"] for line in server.lines]
        assert events == ["serving", "draining", "ended"]


def test_logs_are_json_with_the_request_id_and_never_hold_what_was_typed() -> None:
    with process("log_format=json", "log_level=debug") as server:
        serving = json.loads(server.lines[-1])
        url = f"http://127.0.0.1:{serving['http_port']}/v1/sessions"
        typed = "what somebody typed"
        created = httpx.post(url, json={"text": typed, "suggest": {}}, headers={"x-request-id": "r-1"}).json()
        edits = {"revision": 1, "edits": [{"insert": typed}, {"delete": 999}]}
        httpx.post(f"{url}/{created['id']}/edits", json=edits, headers={"x-request-id": "r-2"})
        assert server.end() == 0
        entries = [json.loads(line) for line in server.lines]
        codes = {entry["request_id"]: entry["code"] for entry in entries if "request_id" in entry}
        assert codes == {"r-1": "OK", "r-2": "INVALID_ARGUMENT"}
        assert typed not in "\n".join(server.lines)


async def test_what_is_in_flight_is_finished_before_the_process_ends() -> None:
    model = GatedModel()
    server = make_server(model)
    addresses = await server.start()
    http = f"http://127.0.0.1:{addresses.http_port}/v1/sessions"
    async with httpx.AsyncClient() as client, grpc.aio.insecure_channel(f"127.0.0.1:{addresses.grpc_port}") as channel:
        session = (await client.post(http, json={})).json()["id"]
        model.gate.clear()
        over_rest = asyncio.create_task(client.post(http, json={"text": "a", "suggest": {}}))
        request = pb.EditRequest(
            session_id=session, revision=1, edits=[pb.EditOperation(insert="b")], suggest=pb.SuggestOptions()
        )
        over_grpc = AutocompleteStub(channel).Edit(request)
        await asyncio.to_thread(model.waiting.wait, 10)
        async with asyncio.timeout(10):
            revision = 1
            while revision == 1:  # until the edit is committed and waits for its suggestions
                revision = (await client.get(f"{http}/{session}")).json()["revision"]
        stopping = asyncio.create_task(server.stop())
        await server.lifecycle.wait_draining()
        assert not over_rest.done()
        model.gate.set()
        assert (await over_rest).json()["suggestions"]
        assert (await over_grpc).session.revision == 2
        await stopping


async def test_a_call_that_does_not_end_is_cut_off_after_the_grace() -> None:
    model = GatedModel()
    server = make_server(model, grace_s=0.1)
    addresses = await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{addresses.http_port}") as client:
        model.gate.clear()
        stuck = asyncio.create_task(client.post("/v1/sessions", json={"text": "a", "suggest": {}}))
        await asyncio.to_thread(model.waiting.wait, 10)
        began = time.monotonic()
        await server.stop()
        assert time.monotonic() - began < 10
        with pytest.raises(httpx.HTTPError):
            (await stuck).raise_for_status()
    model.gate.set()


@pytest.mark.parametrize("flag", ["--grpc-port", "--http-port", "--metrics-port"])
def test_a_port_in_use_is_one_line_that_names_the_flag(flag: str, model_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = carousel("serve", "--model", str(model_folder), *FREE_PORTS, flag, str(port))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"carousel: {flag}: cannot listen on 127.0.0.1:{port}: Address already in use")


def test_a_folder_that_is_no_model_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    ended = carousel("serve", "--model", str(tmp_path))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("carousel: ")
    assert "is not a model folder" in line


def test_a_graph_that_is_not_the_manifests_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    graph = next(folder.glob("*int8*.onnx"))
    data = graph.read_bytes()
    graph.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    ended = carousel("serve", "--model", str(folder))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "sha256" in line


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--grpc-port", "x"), "CAROUSEL_GRPC_PORT"),
        (("--http-port", "70000"), "--http-port"),
        (("--store", "sqlite"), "accepted: memory:, sqlite:PATH, valkey://"),
        (("--config", "/nowhere.toml"), "/nowhere.toml is not a file"),
        (("--api-keys-file", "/nowhere", "--store", "memory:"), "--api-keys-file: /nowhere cannot be read"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(arguments: tuple[str, ...], named: str) -> None:
    ended = carousel("serve", *arguments)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert named in line
