"""What only gRPC has of the protocol: its numbers, reflection, health, malformed messages, the end of a stream."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor import Descriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import given, settings
from hypothesis import strategies as st

from service.transport.grpc.generated.inference import grpc_service_pb2 as pb
from service.transport.grpc.generated.inference import model_config_pb2 as config_pb
from service.transport.grpc.generated.inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.integration.kserve.driver import NO_CLIENT, PYTHON
from tests.integration.servers import GatedModel, Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = "inference.GRPCInferenceService"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def channel(server: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        yield channel


def asking(text: bytes = b"a", **more: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="fake", **more)
    request.inputs.add(name="TEXT", datatype="BYTES", shape=[1, 1]).contents.bytes_contents.append(text)
    return request


@pytest.mark.skipif(not PYTHON.exists(), reason=NO_CLIENT)
async def test_every_number_name_and_type_is_that_of_triton_s_own_protos() -> None:
    program = Path(__file__).with_name("describe.py")
    told = await asyncio.to_thread(subprocess.check_output, [str(PYTHON), str(program)], text=True)
    theirs = json.loads(told)
    for file in (pb.DESCRIPTOR, config_pb.DESCRIPTOR):
        for message in file.message_types_by_name.values():
            for ours in _with_nested(message):
                known = theirs["messages"][ours.full_name]
                for field in ours.fields:
                    of = field.message_type.full_name if field.message_type else ""
                    assert known[field.name] == [field.number, field.type, of], f"{ours.full_name}.{field.name}"
        for name, enum in file.enum_types_by_name.items():
            assert theirs["enums"][name] == {value.name: value.number for value in enum.values}
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    methods = {method.name: [method.input_type.full_name, method.output_type.full_name] for method in service.methods}
    assert methods == theirs["methods"]
    # Of the calls nothing is left out, only of the configuration, which this server writes and nobody sends.
    for message in pb.DESCRIPTOR.message_types_by_name.values():
        for ours in _with_nested(message):
            assert {field.name for field in ours.fields} == theirs["messages"][ours.full_name].keys()


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for nested in message.nested_types:
        yield from _with_nested(nested)


async def test_nothing_of_it_is_imported_before_it_is_asked() -> None:
    program = (
        "import sys; import service.bootstrap; "
        "ours = [name for name in sys.modules if name.startswith('service.')]; "
        "print(sorted(name for name in ours if 'inference' in name or 'kserve' in name))"
    )
    told = await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", program], text=True)
    assert told.strip() == "['service.transport.kserve', 'service.transport.kserve.late']"


async def test_reflection_lists_and_describes_it(channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    (listed,) = [answer async for answer in stub.ServerReflectionInfo(iter([asked]))]
    assert SERVICE in {service.name for service in listed.list_services_response.service}
    asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
    (described,) = [answer async for answer in stub.ServerReflectionInfo(iter([asked]))]
    files = described.file_descriptor_response.file_descriptor_proto
    assert any(b"inference/grpc_service.proto" in file for file in files)


async def test_health_knows_it(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_what_is_no_message_or_holds_an_unknown_field_is_refused(channel: grpc.aio.Channel) -> None:
    infer = _untyped(channel).unary_unary(f"/{SERVICE}/ModelInfer")
    for data, said in ((b"\xff", "not a valid ModelInferRequest"), (b"\xf8\x3f\x01", "unknown field")):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await infer(data)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert said in (refused.value.details() or "")


async def test_a_method_that_there_is_not_is_unimplemented(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await _untyped(channel).unary_unary(f"/{SERVICE}/Nothing")(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_malformed_message_of_a_stream_is_one_error_and_the_stream_goes_on(channel: grpc.aio.Channel) -> None:
    stream = _untyped(channel).stream_stream(
        f"/{SERVICE}/ModelStreamInfer", response_deserializer=pb.ModelStreamInferResponse.FromString
    )
    messages = [b"\xff", asking(id="7").SerializeToString()]
    answers = [answer async for answer in stream(iter(messages))]
    assert ["not a valid" in answer.error_message for answer in answers] == [True, False]
    assert answers[1].infer_response.id == "7"


async def test_raw_contents_are_as_many_as_inputs(channel: grpc.aio.Channel) -> None:
    stub = GRPCInferenceServiceStub(channel)
    request = pb.ModelInferRequest(model_name="fake", raw_input_contents=[b"\1\0\0\0a", b"\1\0\0\0b"])
    request.inputs.add(name="TEXT", datatype="BYTES", shape=[1, 1])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ModelInfer(request)
    assert (refused.value.details() or "").startswith("raw_input_contents: 2 contents for 1 inputs")


_INTEGERS = st.integers(-(2**63), 2**63 - 1)
_PARAMETERS = st.dictionaries(
    st.sampled_from(["sequence_id", "sequence_start", "sequence_end", "timeout", "top_k", "max_bytes", "stop", "x"]),
    st.builds(pb.InferParameter, int64_param=_INTEGERS | st.integers(0, 99))
    | st.builds(pb.InferParameter, bool_param=st.booleans())
    | st.builds(pb.InferParameter, string_param=st.text(max_size=3))
    | st.builds(pb.InferParameter, uint64_param=st.integers(0, 2**64 - 1))
    | st.builds(pb.InferParameter, double_param=st.floats()),
    max_size=3,
)
_INPUTS = st.lists(
    st.builds(
        pb.ModelInferRequest.InferInputTensor,
        name=st.sampled_from(["TEXT", "TOKENS"]),
        datatype=st.sampled_from(["BYTES", "INT64", "FP32", "BF16", ""]),
        shape=st.lists(st.integers(-1, 3) | _INTEGERS, max_size=3),
        contents=st.none()
        | st.builds(pb.InferTensorContents, int64_contents=st.lists(st.integers(0, 255), max_size=3))
        | st.builds(pb.InferTensorContents, bytes_contents=st.lists(st.binary(max_size=3), max_size=3)),
    ),
    max_size=2,
)
_REQUESTS = st.builds(
    pb.ModelInferRequest,
    model_name=st.just("fake"),
    id=st.text(max_size=3),
    parameters=_PARAMETERS,
    inputs=_INPUTS,
    outputs=st.lists(
        st.builds(pb.ModelInferRequest.InferRequestedOutputTensor, name=st.sampled_from(["SUGGESTION", "TEXT"])),
        max_size=2,
    ),
    raw_input_contents=st.lists(st.binary(max_size=16), max_size=2),
)


async def test_no_request_at_all_is_a_bug_of_the_server_s(channel: grpc.aio.Channel) -> None:
    drawn: list[pb.ModelInferRequest] = []

    @given(_REQUESTS)
    @settings(max_examples=150)
    def any_request(request: pb.ModelInferRequest) -> None:
        drawn.append(request)

    any_request()
    stub: Any = GRPCInferenceServiceStub(channel)
    refused: list[grpc.aio.AioRpcError] = []
    for request in drawn:
        try:
            await stub.ModelInfer(request)
        except grpc.aio.AioRpcError as error:
            refused.append(error)
    codes = {error.code() for error in refused}
    assert codes <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNAVAILABLE}  # the latter: a timeout
    assert all(error.details() for error in refused)


async def test_a_draining_server_answers_what_it_has_read_and_ends_the_stream() -> None:
    model = GatedModel()
    async with running(model) as server, grpc.aio.insecure_channel(server.grpc) as channel:
        stub: Any = GRPCInferenceServiceStub(channel)
        call = stub.ModelStreamInfer()
        await call.write(asking(b"first", id="1"))
        assert (await call.read()).infer_response.id == "1"
        model.gate.clear()
        await call.write(asking(b"second", id="2"))
        await asyncio.to_thread(model.waiting.wait, 10)
        stopping = asyncio.create_task(server.server.stop())
        await asyncio.sleep(0)
        model.gate.set()
        assert (await call.read()).infer_response.id == "2"
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        await stopping


async def test_a_caller_who_leaves_stops_the_work_and_the_next_one_is_served() -> None:
    model = GatedModel()
    async with running(model) as server, grpc.aio.insecure_channel(server.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        await stub.ModelInfer(asking(b"warm"))
        model.gate.clear()
        begun = stub.ModelInfer(_in_sequence(b"one", start=True))
        await asyncio.to_thread(model.waiting.wait, 10)
        waiting = stub.ModelInfer(_in_sequence(b"two", start=True))
        begun.cancel()
        model.gate.set()
        assert (await waiting).outputs
        steps = model.steps
        assert (await stub.ModelInfer(_in_sequence(b"!"))).outputs
        assert model.steps > steps


def _untyped(channel: grpc.aio.Channel) -> Any:
    """For calls with bytes: the stubs of grpc want serializers."""
    return channel


def _in_sequence(text: bytes, *, start: bool = False) -> pb.ModelInferRequest:
    request = asking(text)
    request.parameters["sequence_id"].int64_param = 5
    request.parameters["sequence_start"].bool_param = start
    return request


async def test_one_more_byte_costs_as_many_steps_at_any_length() -> None:
    model = GatedModel()
    async with running(model) as server, grpc.aio.insecure_channel(server.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        costs = []
        for sequence, length in ((1, 10), (2, 5000)):
            await stub.ModelInfer(_tokens(b"ab" * (length // 2), start=True, sequence=sequence))
            before = model.steps
            for byte in b"xyz":
                await stub.ModelInfer(_tokens(bytes([byte]), sequence=sequence))
            costs.append(model.steps - before)
        assert costs[0] == costs[1] <= 6


async def test_a_sequence_goes_on_after_a_restart_even_inside_a_character(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path / 'sessions.sqlite'}"
    whole = "naïve é".encode()
    answers = []
    for cut in range(1, len(whole), 3):
        async with running(store=store) as server, grpc.aio.insecure_channel(server.grpc) as channel:
            stub = GRPCInferenceServiceStub(channel)
            started = cut == 1
            await stub.ModelInfer(_tokens(whole[max(cut - 3, 0) : cut], start=started, sequence=9))
            answers.append((await stub.ModelInfer(_tokens(b"", sequence=9))).raw_output_contents[0])
            at_once = await stub.ModelInfer(_tokens(whole[:cut]))
            assert answers[-1] == at_once.raw_output_contents[0]
    assert len(set(answers)) == len(answers)


def _tokens(data: bytes, *, start: bool = False, sequence: int = 0) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="fake")
    tensor = request.inputs.add(name="TOKENS", datatype="INT64", shape=[1, len(data)])
    tensor.contents.int64_contents.extend(data)
    request.outputs.add(name="LOG_PROBABILITIES")
    request.parameters["sequence_id"].int64_param = sequence
    request.parameters["sequence_start"].bool_param = start
    return request
