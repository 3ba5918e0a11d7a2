"""What only REST has of the protocol: its documented examples, JSON that is wrong, bodies with bytes behind them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.integration.servers import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v2/models/fake/infer"
TOKENS: dict[str, Any] = {"name": "TOKENS", "shape": [1, 1], "datatype": "INT64"}
GOOD: dict[str, Any] = {"inputs": [{**TOKENS, "data": [97]}], "outputs": [{"name": "TOP_TOKENS"}]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http) as client:
        yield client


def said(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-carousel-code"]
    body = answer.json()
    assert list(body) == ["error"]
    error: str = body["error"]
    return error


async def test_every_path_is_in_the_document_and_its_examples_run(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    paths = {path: methods for path, methods in document["paths"].items() if path.startswith("/v2")}
    assert len(paths) == 25
    assert all("kserve" in operation["tags"] for methods in paths.values() for operation in methods.values())
    body = paths["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["required"] == ["inputs"]
    for example in body["examples"].values():
        answer = await client.post(PATH, json=example["value"])
        assert answer.status_code == 200, answer.text
        wanted = [output["name"] for output in example["value"]["outputs"]]
        assert sorted(output["name"] for output in answer.json()["outputs"]) == sorted(wanted)
    for path, methods in paths.items():
        for operation in methods.values():
            shown = [answer["content"] for status, answer in operation["responses"].items() if status >= "400"]
            refused = {content["application/json"]["schema"]["$ref"] for content in shown}
            assert refused == {"#/components/schemas/KserveError"}, path


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b'{"inputs": []} x', "body"),
        (b'{"inputs": [], "inputs": []}', "body"),
        (b"\xff", "body"),
        (b"{}", "inputs"),
        (b'{"inputs": 1}', "inputs"),
        (b'{"inputs": [{}]}', "inputs[0].name"),
        (b'{"inputs": [], "other": 1}', "other"),
        (b'{"inputs": [], "id": 3}', "id"),
        (b'{"inputs": [], "parameters": {"a": {}}}', "parameters.a"),
        (b'{"inputs": [], "parameters": {"binary_data_output": 1}}', "parameters.binary_data_output"),
        (
            b'{"inputs": [], "outputs": [{"name": "TEXT", "parameters": {"classification": 2}}]}',
            "outputs[0].parameters",
        ),
    ],
)
async def test_a_body_of_another_form_is_refused_with_its_field(
    client: httpx.AsyncClient, body: bytes, field: str
) -> None:
    assert said(await client.post(PATH, content=body)).startswith(field)


async def test_elements_come_nested_or_flat_and_of_their_type(client: httpx.AsyncClient) -> None:
    tensor = {"name": "TOKENS", "shape": [2, 2], "datatype": "INT64"}
    outputs = {"outputs": GOOD["outputs"]}
    answers = [
        (await client.post(PATH, json={"inputs": [{**tensor, "data": data}], **outputs})).json()
        for data in ([97, 98, 99, 100], [[97, 98], [99, 100]])
    ]
    assert answers[0] == answers[1]
    for data, fault in (
        ([1, 2, 3], "Expected 32, got 24"),
        ([[[1, 2], [3, 4]]], "something else than whole numbers"),
        ([1.0, 2, 3, 4], "something else than whole numbers"),
        ([True, 2, 3, 4], "something else than whole numbers"),
        (["1", 2, 3, 4], "something else than whole numbers"),
        ([2**70, 2, 3, 4], "no INT64"),
        ([256, 2, 3, 4], "no token"),
    ):
        assert fault in said(await client.post(PATH, json={"inputs": [{**tensor, "data": data}]}))
    text = {"name": "TEXT", "shape": [1, 1], "datatype": "BYTES"}
    assert "than strings" in said(await client.post(PATH, json={"inputs": [{**text, "data": [1]}]}))
    surrogate = b'{"inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["\\ud800"]}]}'
    assert "no UTF-8" in said(await client.post(PATH, content=surrogate))


async def test_bytes_behind_the_json_are_exactly_those_that_it_promises(client: httpx.AsyncClient) -> None:
    async def sent(inputs: list[dict[str, Any]], behind: bytes, length: str | None = None) -> httpx.Response:
        header = json.dumps({**GOOD, "inputs": inputs}).encode()
        headers = {"Inference-Header-Content-Length": str(len(header)) if length is None else length}
        return await client.post(PATH, content=header + behind, headers=headers)

    binary = {**TOKENS, "parameters": {"binary_data_size": 8}}
    eight = b"a" + b"\0" * 7
    assert (await sent([binary], eight)).json() == (await client.post(PATH, json=GOOD)).json()
    missing = "unexpected size for input 'TOKENS', expecting 7 additional bytes for model 'fake'"
    assert said(await sent([binary], b"a")) == missing
    assert said(await sent([binary], eight + b"a")) == "unexpected additional input data for model 'fake'"
    for length in ("x", "-1", "", "1" * 30):
        assert "no number of bytes" in said(await sent([binary], eight, length))
    assert "should be in range (0, " in said(await sent([binary], eight, "100000"))
    both, neither = {**binary, "data": [97]}, TOKENS
    assert said(await sent([both], eight)).endswith("But set 'data' 'binary_data_size'")
    assert said(await sent([neither], b"")).endswith("But no field is set")


async def test_shared_memory_is_not_there(client: httpx.AsyncClient) -> None:
    sentence = "Unable to find shared memory region: 'x'"
    region = {"shared_memory_region": "x", "shared_memory_byte_size": 8}
    assert said(await client.post(PATH, json={"inputs": [{**TOKENS, "parameters": region}]}), 404) == sentence
    wanted = {**GOOD, "outputs": [{"name": "TOP_TOKENS", "parameters": region}]}
    assert said(await client.post(PATH, json=wanted), 404) == sentence
    for memory in ("system", "cuda"):
        path = f"/v2/{memory}sharedmemory/region/x"
        expected = f"Unable to find {memory} shared memory region: 'x'"
        assert said(await client.get(f"{path}/status"), 404) == expected
        assert (await client.post(f"{path}/unregister")).status_code == 200
    cuda = said(await client.post("/v2/cudasharedmemory/region/x/register", json={"raw_handle": {"b64": "AAAA"}}))
    assert cuda == "failed to register CUDA shared memory region: 'x', GPUs not supported"


async def test_models_and_paths_that_there_are_not(client: httpx.AsyncClient) -> None:
    for path, status, sentence in (
        ("/v2/models/none", 404, "Request for unknown model: 'none' is not found"),
        ("/v2/models/fake/versions/7", 404, "Request for unknown model: 'fake' version 7 is not found"),
        ("/v2/models/none/config", 404, "Request for unknown model: 'none' is not found"),
        ("/v2/models/none/ready", 400, "Model version not ready"),
        ("/v2/models/fake/versions/2/ready", 400, "Model version not ready"),
        ("/v2/models/none/stats", 400, "requested model 'none' is not available"),
        ("/v2/models/fake/versions/7/stats", 400, "requested model version is not available for model 'fake'"),
        ("/v2/models/none/trace/setting", 400, "Request for unknown model : none"),
    ):
        assert said(await client.get(path), status) == sentence
    assert "nothing at this path" in said(await client.get("/v2/nothing"), 404)
    assert "does not take this method" in said(await client.get(PATH), 405)
    assert "larger than this server takes" in said(await client.post(PATH, content=b"x" * (1 << 21)), 413)


async def test_the_index_takes_its_filter_and_nothing_else(client: httpx.AsyncClient) -> None:
    for body in (b"", b"{}", b'{"ready": true}', b'{"ready": false}'):
        answer = await client.post("/v2/repository/index", content=body)
        assert [model["name"] for model in answer.json()] == ["fake"]
    assert said(await client.post("/v2/repository/index", content=b'{"ready": 3}')).startswith("ready: ")
    assert said(await client.post("/v2/repository/index", content=b'{"other": 3}')).startswith("other: ")


async def test_the_configuration_says_how_long_a_sequence_may_idle(client: httpx.AsyncClient) -> None:
    async def idle_us(at: httpx.AsyncClient) -> int:
        config = (await at.get("/v2/models/fake/config")).json()
        microseconds: int = config["sequence_batching"]["max_sequence_idle_microseconds"]
        return microseconds

    assert await idle_us(client) == 2**53 - 1
    async with running(retention="1d") as server, httpx.AsyncClient(base_url=server.http) as other:
        assert await idle_us(other) == 86_400_000_000


async def test_load_and_unload_say_why_not(client: httpx.AsyncClient) -> None:
    for verb in ("load", "unload"):
        answer = await client.post(f"/v2/repository/models/fake/{verb}", json={})
        assert said(answer, 403).startswith(
            "explicit model load / unload is not allowed: start the server with --model-admin"
        )
