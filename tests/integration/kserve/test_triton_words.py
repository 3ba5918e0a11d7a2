"""Wrong requests are refused with Triton's own statuses and sentences; both servers are asked where Triton is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import pytest_asyncio

from benchmarks.triton.server import ENVIRONMENT, RunningTriton, interpreter, triton_with
from service.engine.fake_model import FakeModel
from service.engine.requests import ModelIdentity
from service.transport.grpc.generated.inference import grpc_service_pb2 as pb
from service.transport.grpc.generated.inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from tests.integration.kserve.triton_scenarios import PLAIN, REST_STATUSES, SCENARIOS, SEQUENCES, Json, Scenario
from tests.integration.servers import Running, make_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

_NO_TRITON = f"there is no Triton in {ENVIRONMENT.name}; make triton-env makes it"
_BACKEND = """
import numpy as np
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        return [triton.InferenceResponse([triton.Tensor("SUM", np.zeros((1, 1), np.int64))]) for _ in requests]
"""
_CONFIGURATION = """
name: "{name}"
backend: "python"
max_batch_size: 64
input [ {{ name: "TOKENS" data_type: TYPE_INT64 dims: [ -1 ] }} ]
output [ {{ name: "SUM" data_type: TYPE_INT64 dims: [ 1 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
{batching}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two_models() -> AsyncIterator[Running]:
    models = [(FakeModel(), ModelIdentity(name, "0" * 64, "numerics")) for name in (PLAIN, SEQUENCES)]
    server = make_server(models=models)
    addresses = await server.start()
    try:
        yield Running(server, addresses)
    finally:
        await server.stop()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_grpc_refuses_as_triton_does(two_models: Running, scenario: Scenario) -> None:
    assert await by_grpc(two_models.grpc, scenario) == (scenario.status, scenario.sentence)


@pytest.mark.parametrize(
    "scenario", [one for one in SCENARIOS if not one.grpc_only], ids=lambda scenario: scenario.name
)
async def test_rest_refuses_as_triton_does(two_models: Running, scenario: Scenario) -> None:
    assert await by_rest(two_models.http, scenario) == (REST_STATUSES[scenario.status], scenario.sentence)


@pytest.mark.slow
@pytest.mark.skipif(interpreter() is None, reason=_NO_TRITON)
async def test_triton_itself_still_says_so() -> None:
    with triton_with(_write_models) as triton:
        for scenario in SCENARIOS:
            assert await by_grpc(triton.target, scenario) == (scenario.status, scenario.sentence), scenario.name
            if not scenario.grpc_only:
                said = await by_rest(f"http://{triton.http}", scenario)
                assert said == (REST_STATUSES[scenario.status], scenario.sentence), scenario.name
        await _sequences_begin_go_on_and_end(triton)


async def _sequences_begin_go_on_and_end(triton: RunningTriton) -> None:
    """The flags mean in Triton what they mean here: START may come twice, END ends."""
    for flags, status in (({"sequence_start": True}, "OK"), ({"sequence_start": True}, "OK"), ({}, "OK")):
        assert (await by_grpc(triton.target, _in_sequence(flags)))[0] == status
    assert (await by_grpc(triton.target, _in_sequence({"sequence_end": True})))[0] == "OK"
    assert (await by_grpc(triton.target, _in_sequence({})))[0] == "INVALID_ARGUMENT"


def _in_sequence(flags: Json) -> Scenario:
    return Scenario("", "", "", model=SEQUENCES, parameters={"sequence_id": 77, **flags})


def _write_models(models: Path) -> None:
    batching = "sequence_batching { oldest { max_candidate_sequences: 4 } }"
    for name, of_model in ((PLAIN, ""), (SEQUENCES, batching)):
        version = models / name / "1"
        version.mkdir(parents=True)
        (version / "model.py").write_text(_BACKEND, encoding="utf-8")
        configuration = _CONFIGURATION.format(name=name, batching=of_model)
        (version.parent / "config.pbtxt").write_text(configuration, encoding="utf-8")


async def by_grpc(target: str, scenario: Scenario) -> tuple[str, str]:
    """The status, and what is said."""
    async with grpc.aio.insecure_channel(target) as channel:
        try:
            await GRPCInferenceServiceStub(channel).ModelInfer(_message(scenario), timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
    return "OK", ""


async def by_rest(url: str, scenario: Scenario) -> tuple[int, str]:
    """The status, and what is said."""
    version = f"/versions/{scenario.version}" if scenario.version else ""
    tensor = {"name": scenario.tensor, "datatype": scenario.datatype, "shape": scenario.shape, "data": scenario.tokens}
    body: Json = {"inputs": [tensor], "parameters": scenario.parameters}
    body |= {"id": scenario.id} if scenario.id else {}
    body |= {"outputs": [{"name": name} for name in scenario.outputs]} if scenario.outputs else {}
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        answer = await client.post(f"/v2/models/{scenario.model}{version}/infer", json=body)
    return answer.status_code, answer.json().get("error", "")


def _message(scenario: Scenario) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=scenario.model, model_version=scenario.version, id=scenario.id)
    message.outputs.extend(pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in scenario.outputs)
    given = message.inputs.add(name=scenario.tensor, datatype=scenario.datatype, shape=scenario.shape)
    if scenario.contents is not None:
        for field, elements in scenario.contents.items():
            getattr(given.contents, field).extend(elements)
    if scenario.raw is not None:
        message.raw_input_contents.append(scenario.raw)
    elif scenario.contents is None:
        message.raw_input_contents.append(np.array(scenario.tokens, np.int64).tobytes())
    for name, value in scenario.parameters.items():
        _set(message.parameters[name], value)
    return message


def _set(parameter: pb.InferParameter, value: bool | int | float | str) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value
