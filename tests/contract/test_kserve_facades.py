"""The Open Inference Protocol is one protocol: whatever is asked over REST and over gRPC, every tensor is the same."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any, Protocol

import grpc
import httpx
import numpy as np
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.transport.grpc.generated.inference import grpc_service_pb2 as pb
from service.transport.grpc.generated.inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.integration.servers import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]
"""By name: the datatype, the shape and the elements as the protocol's raw bytes."""

_DTYPES = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8"}
_OUTPUTS = ["LOG_PROBABILITIES", "TOP_TOKENS", "TOP_LOG_PROBABILITIES", "LOG_LIKELIHOOD", "SUGGESTION", "FINISH_REASON"]
_TENANT = "x-carousel-tenant"
_CHARACTERS = st.sampled_from("aé€😀 (\n")
_SEQUENCES = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Running]:
    async with running(trust_tenant_header=True) as server:
        yield server


class Refused(Exception):
    """An error as either facade tells it."""


class Facade(Protocol):
    """Asks the model `fake`."""

    async def infer(self, rows: Sequence[bytes], *, as_text: bool, tenant: str = "default", **asked: Any) -> Tensors:
        """What is answered. Raises Refused."""


class Rest:
    """Asks over REST, outputs alternately as bytes and as JSON."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._binary = False

    async def infer(self, rows: Sequence[bytes], *, as_text: bool, tenant: str = "default", **asked: Any) -> Tensors:
        self._binary = not self._binary
        body: Json = {"inputs": [_json_input(rows, as_text)], "parameters": asked.pop("parameters", {})}
        body["outputs"] = [{"name": name, "parameters": {"binary_data": self._binary}} for name in asked["outputs"]]
        answer = await self._client.post("/v2/models/fake/infer", json=body, headers={_TENANT: tenant})
        if answer.status_code != 200:
            raise Refused(answer.json()["error"])
        return _from_json(answer)


class Grpc:
    """Asks over gRPC, inputs alternately as raw bytes and typed."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub
        self._raw = False

    async def infer(self, rows: Sequence[bytes], *, as_text: bool, tenant: str = "default", **asked: Any) -> Tensors:
        self._raw = not self._raw
        request = _message(rows, as_text, self._raw, asked)
        try:
            answer = await self._stub.ModelInfer(request, metadata=((_TENANT, tenant),))
        except grpc.aio.AioRpcError as error:
            raise Refused(error.details()) from error
        return {
            output.name: (output.datatype, tuple(output.shape), raw)
            for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
        }


@pytest_asyncio.fixture(loop_scope="module")
async def facades(server: Running) -> AsyncIterator[tuple[Facade, Facade]]:
    async with (
        httpx.AsyncClient(base_url=server.http) as client,
        grpc.aio.insecure_channel(server.grpc) as channel,
    ):
        yield Rest(client), Grpc(GRPCInferenceServiceStub(channel))


async def test_whatever_is_asked_every_tensor_is_the_same(facades: tuple[Facade, Facade]) -> None:
    rest, by_grpc = facades
    asked: list[Json] = []

    @given(
        st.lists(st.text(_CHARACTERS, max_size=6), min_size=1, max_size=4),
        st.lists(st.sampled_from(_OUTPUTS), min_size=1, unique=True),
        st.integers(1, 256),
        st.booleans(),
    )
    @settings(max_examples=30)
    def any_request(rows: list[str], outputs: list[str], top_k: int, as_text: bool) -> None:
        asked.append({"rows": [row.encode() for row in rows], "outputs": outputs, "top_k": top_k, "as_text": as_text})

    any_request()
    for one in asked:
        rows = one["rows"] if one["as_text"] else one["rows"][:1]  # tokens make rectangles
        more: Json = {"outputs": one["outputs"], "parameters": {"top_k": one["top_k"]}}
        over_rest = await rest.infer(rows, as_text=one["as_text"], **more)
        over_grpc = await by_grpc.infer(rows, as_text=one["as_text"], **{**more, "parameters": {"top_k": one["top_k"]}})
        assert over_rest == over_grpc
        assert list(over_rest) == [name for name in _OUTPUTS if name in one["outputs"]]


async def test_a_sequence_may_be_told_over_both_by_turns(facades: tuple[Facade, Facade]) -> None:
    pieces = [b"import o", "é".encode()[:1], "é".encode()[1:], b"", b"(\n"]
    whole = b""
    sequence = next(_SEQUENCES)
    for number, piece in enumerate(pieces):
        whole += piece
        flags = {"sequence_id": sequence, "sequence_start": number == 0, "sequence_end": piece is pieces[-1]}
        rest, by_grpc = facades
        by_turns: tuple[Facade, Facade] = (by_grpc, rest) if number % 2 else (rest, by_grpc)
        outputs = [name for name in _OUTPUTS if name != "LOG_LIKELIHOOD"]
        told = await by_turns[0].infer([piece], as_text=False, outputs=outputs, parameters=flags)
        assert told == await by_turns[1].infer([whole], as_text=False, outputs=outputs)


async def test_an_id_means_something_within_its_tenant_alone(facades: tuple[Facade, Facade]) -> None:
    sequence = next(_SEQUENCES)
    for number, facade in enumerate(facades):
        mine, theirs = f"mine-{number}", f"theirs-{number}"
        begin = {"sequence_id": sequence, "sequence_start": True}
        go_on = {"sequence_id": sequence}
        outputs = ["TOP_TOKENS"]
        await facade.infer([b"abc"], as_text=True, tenant=mine, outputs=outputs, parameters=begin)
        with pytest.raises(Refused, match=f"sequence {sequence} to model 'fake' must specify the START flag"):
            await facade.infer([b"d"], as_text=True, tenant=theirs, outputs=outputs, parameters=dict(go_on))
        await facade.infer([b"xyz"], as_text=True, tenant=theirs, outputs=outputs, parameters=begin)
        told = await facade.infer([b"d"], as_text=True, tenant=mine, outputs=outputs, parameters=go_on)
        assert told == await facade.infer([b"abcd"], as_text=True, tenant=mine, outputs=outputs)


async def test_what_is_refused_is_refused_with_the_same_sentence(facades: tuple[Facade, Facade]) -> None:
    rest, by_grpc = facades
    for asked in (
        {"rows": [b"a"], "parameters": {"sequence_id": "never begun"}},
        {"rows": [b"a"], "parameters": {"top_k": 0}},
        {"rows": [b"a"], "parameters": {"max_bytes": 0}},
        {"rows": [b"a"], "parameters": {"stop": "never"}},
        {"rows": [b"a"], "parameters": {"other": 1}},
        {"rows": [b"a"], "parameters": {"priority": 3}},
        {"rows": [b"a"], "parameters": {"triton_x": True}},
        {"rows": [b"a\xff"]},
        {"rows": [b"\xc3("]},
        {"rows": [b"a"] * 65},
        {"rows": [b"a", b"b"], "parameters": {"sequence_id": 5, "sequence_start": True}},
    ):
        said = []
        for facade in (rest, by_grpc):
            given_rows: Any = asked["rows"]
            parameters = asked.get("parameters", {})
            with pytest.raises(Refused) as refused:
                await facade.infer(given_rows, as_text=False, outputs=["SUGGESTION"], parameters=parameters)
            said.append(str(refused.value))
        assert said[0] == said[1]


async def test_a_piece_that_is_too_large_is_refused_by_its_name_and_the_sequence_goes_on(
    facades: tuple[Facade, Facade],
) -> None:
    for facade in facades:
        sequence, outputs = next(_SEQUENCES), ["TOP_TOKENS"]
        begin, go_on = {"sequence_id": sequence, "sequence_start": True}, {"sequence_id": sequence}
        await facade.infer([b"a" * 70_000], as_text=False, outputs=outputs, parameters=begin)
        for as_text, field in ((False, "inputs.TOKENS"), (True, "inputs.TEXT")):
            with pytest.raises(Refused, match=rf"^{field}: .*65536"):
                await facade.infer([b"b" * 70_000], as_text=as_text, outputs=outputs, parameters=go_on)
        await facade.infer([b"c"], as_text=False, outputs=outputs, parameters=go_on)


async def test_both_count_into_the_same_statistics(server: Running, facades: tuple[Facade, Facade]) -> None:
    async with httpx.AsyncClient(base_url=server.http) as client:

        async def counted() -> int:
            (model,) = (await client.get("/v2/models/fake/stats")).json()["model_stats"]
            rows: int = model["inference_count"]
            return rows

        before = await counted()
        for facade in facades:
            await facade.infer([b"a", b"b"], as_text=True, outputs=["SUGGESTION"])
        assert await counted() == before + 4


def _json_input(rows: Sequence[bytes], as_text: bool) -> Json:
    if as_text:
        data: list[Any] = [row.decode() for row in rows]
        return {"name": "TEXT", "datatype": "BYTES", "shape": [len(rows), 1], "data": data}
    shape = [len(rows), len(rows[0])]
    return {"name": "TOKENS", "datatype": "INT64", "shape": shape, "data": [list(row) for row in rows]}


def _message(rows: Sequence[bytes], as_text: bool, raw: bool, asked: Json) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="fake")
    if as_text:
        tensor = message.inputs.add(name="TEXT", datatype="BYTES", shape=[len(rows), 1])
        packed = b"".join(struct.pack("<I", len(row)) + row for row in rows)
        tensor.contents.bytes_contents.extend([] if raw else rows)
    else:
        tensor = message.inputs.add(name="TOKENS", datatype="INT64", shape=[len(rows), len(rows[0])])
        tokens: NDArray[np.int64] = np.frombuffer(b"".join(rows), np.uint8).astype("<i8")
        packed = tokens.tobytes()
        tensor.contents.int64_contents.extend([] if raw else tokens.tolist())
    if raw:
        tensor.ClearField("contents")
        message.raw_input_contents.append(packed)
    message.outputs.extend(pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in asked["outputs"])
    for name, value in asked.get("parameters", {}).items():
        kind = "bool_param" if isinstance(value, bool) else "int64_param" if isinstance(value, int) else "string_param"
        setattr(message.parameters[name], kind, value)
    return message


def _from_json(answer: httpx.Response) -> Tensors:
    length = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    behind = answer.content[length:]
    told = httpx.Response(200, content=answer.content[:length]).json()
    tensors: Tensors = {}
    for output in told["outputs"]:
        datatype, shape = output["datatype"], tuple(output["shape"])
        if "data" in output:
            tensors[output["name"]] = datatype, shape, _raw(datatype, output["data"])
        else:
            size = output["parameters"]["binary_data_size"]
            tensors[output["name"]] = datatype, shape, behind[:size]
            behind = behind[size:]
    assert not behind
    return tensors


def _raw(datatype: str, data: list[Any]) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in data)
    return np.array(data, _DTYPES[datatype]).tobytes()
