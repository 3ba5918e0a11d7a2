"""What the README gives to copy does what it says: every example and every line of how to talk to the server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.integration.kserve.driver import NO_CLIENT
from tests.integration.kserve.driver import PYTHON as TRITONS_PYTHON
from tests.integration.servers import IDENTITY, Running
from tests.integration.test_llama import recorded

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
LINES = [
    line.replace("\\\n", " ")
    for kind, block in BLOCKS
    if kind == "console"
    for line in re.findall(r"^\$ ((?:[^\n]*\\\n)*[^\n]*(?:\n(?![$>]|\Z)[^\n]+)*)", block, re.MULTILINE)
]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def lines(command: str) -> list[list[str]]:
    """The words of every line that begins with `command`."""
    return [shlex.split(line, comments=True) for line in LINES if line.startswith(f"{command} ")]


def example(imported: str) -> str:
    """The Python example that imports this."""
    (found,) = (
        block for kind, block in BLOCKS if kind == "python" and re.search(rf"^(from|import) {imported}\b", block)
    )
    return str(found)


def at(server: Running, text: str) -> str:
    """What is given to copy, for a server at another address with another model."""
    places = (("50051", server.addresses.grpc_port), ("8000", server.addresses.http_port))
    for default, port in places:
        text = re.sub(rf"(localhost|127\.0\.0\.1):{default}", rf"\1:{port}", text)
    return text.replace('model="python"', f'model="{IDENTITY.name}"').replace(
        'infer("python"', f'infer("{IDENTITY.name}"'
    )


async def run(*command: str, **variables: str) -> str:
    """What a program prints that ends well."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, cwd=ROOT, env={**ENVIRONMENT, **variables}
    )
    said, faults = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, faults.decode()
    return said.decode()


async def test_the_client_prints_suggestions(server: Running) -> None:
    assert re.match(r"\d\.\d\d '", await run(sys.executable, "-c", at(server, example("carousel_client"))))


async def test_openai_s_client_prints_a_completion(server: Running) -> None:
    assert await run(sys.executable, "-c", at(server, example("openai"))) not in ("", "\n")


@pytest.mark.skipif(not TRITONS_PYTHON.exists(), reason=NO_CLIENT)
async def test_triton_s_client_prints_a_suggestion(server: Running) -> None:
    example_ = example("numpy as np\nimport tritonclient.http")
    assert re.match(r"\[\[?b'", await run(str(TRITONS_PYTHON), "-c", at(server, example_)))


@pytest.mark.parametrize("time", ["the first time", "and again"])
async def test_every_curl_line_is_answered_in_order_and_the_websocket_goes_on(server: Running, time: str) -> None:
    curls = lines("curl")
    assert len(curls) == 5
    async with httpx.AsyncClient() as client:
        for words in curls:
            (address,) = [word for word in words if word.startswith("localhost:8000/")]
            headers = dict(words[index + 1].split(": ") for index, word in enumerate(words) if word == "-H")
            body = words[words.index("-d") + 1]
            answer = await client.post(at(server, f"http://{address}"), content=body.encode(), headers=headers)
            assert answer.status_code in (200, 201), answer.text
            if headers.get("accept") == "text/event-stream":
                assert answer.text.startswith('data: {"index":0,')
            elif address.endswith("/score"):
                assert answer.json()["surprises"]
            else:
                overtaken = answer.json().get("finish_reason") == "superseded"  # an edit that was followed by another
                assert (bool(answer.json().get("suggestions")) or overtaken) == ("suggest" in body)
                assert not overtaken or time == "and again"
    ((_, *words),) = lines(".venv/bin/python")
    (message,) = re.findall(r"^> (.*)$", README, re.MULTILINE)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *(at(server, word) for word in words), stdin=PIPE, stdout=PIPE, env=ENVIRONMENT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(message.encode() + b"\n")
    said = await asyncio.wait_for(process.stdout.readuntil(b'"suggestions"'), 60)
    assert b'"rejected"' not in said
    process.stdin.close()
    await asyncio.wait_for(process.wait(), 60)


async def test_the_grpcurl_line_is_what_reflection_knows(server: Running) -> None:
    """grpcurl is not installed everywhere: this does what it does with the line."""
    (words,) = lines("grpcurl")
    *_, target, method = words
    assert words[1] == "-plaintext"
    answer = await asyncio.to_thread(by_reflection, at(server, target), method, words[words.index("-d") + 1])
    assert answer["suggestions"]


def by_reflection(target: str, method: str, body: str) -> Any:
    """The answer to a call whose messages the server itself describes."""
    with grpc.insecure_channel(target) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        service, name = method.split("/")
        described = pool.FindServiceByName(service).FindMethodByName(name)
        call = channel.unary_unary(
            f"/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )
        request = json_format.Parse(body, GetMessageClass(described.input_type)())
        return json_format.MessageToDict(call(request, timeout=30))


async def test_the_shell_s_commands_print_a_completion_and_a_score(server: Running) -> None:
    port = {"CAROUSEL_GRPC_PORT": str(server.addresses.grpc_port)}
    (complete,) = lines("./carousel complete")
    assert complete[2] == "for root, dirs, files in os."
    assert await run(sys.executable, "-m", "service.terminal", *complete[1:], **port)
    (score,) = lines("./carousel score")
    printed = await run(sys.executable, "-m", "service.terminal", *score[1:], **port)
    assert re.search(r"^service/errors.py:\d+:\d+: \d+\.\d bits: ", printed)
    assert re.search(r"^service/errors.py: \d+\.\d+ bits per byte, ", printed, re.MULTILINE)


async def test_the_editors_settings_name_the_paths_that_they_call(server: Running) -> None:
    (vim,) = (block for kind, block in BLOCKS if kind == "vim")
    (endpoint,) = re.findall(r"'endpoint_fim': '([^']+)'", vim)
    (settings,) = (json.loads(block) for kind, block in BLOCKS if kind == "json")
    async with httpx.AsyncClient() as client:
        for url, name in ((endpoint, "vim_typing"), (f"{settings['llama-vscode.endpoint']}/infill", "vscode_typing")):
            answer = await client.post(at(server, url), json=recorded(name))
            assert answer.status_code == 200, answer.text
            assert "content" in answer.json()
