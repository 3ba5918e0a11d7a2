"""Pure converters between the protocol's messages and what both facades of it work with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from google.protobuf.json_format import ParseDict

from service.errors import InvalidArgument
from service.transport.grpc.generated.inference import grpc_service_pb2 as pb
from service.transport.kserve import metadata
from service.transport.kserve.inference import InferAnswer, InferRequest
from service.transport.kserve.metadata import INPUTS, Described
from service.transport.kserve.parameters import Value
from service.transport.kserve.refusals import InferRefusals, no_region, unknown_parameter, wrong_type
from service.transport.kserve.rows import check_declared
from service.transport.kserve.tensors import BYTES, Tensor, from_raw, from_values, to_raw

WITH_FINAL_RESPONSE: Final = "triton_enable_empty_final_response"
FINAL_RESPONSE: Final = "triton_final_response"
_SHARED_MEMORY: Final = "shared_memory_region"

# The fields of InferTensorContents: which one holds an input's elements, and what Triton calls what stands in each.
_FIELD_OF: Final[Mapping[str, str]] = {"INT64": "int64_contents", "FP32": "fp32_contents", BYTES: "bytes_contents"}
_HELD_BY: Final[Mapping[str, str]] = {
    "bool_contents": "BOOL",
    "int_contents": "INT32",
    "int64_contents": "INT64",
    "uint_contents": "UINT32",
    "uint64_contents": "UINT64",
    "fp32_contents": "FP32",
    "fp64_contents": "FP64",
    "bytes_contents": BYTES,
}


def infer_request(request: pb.ModelInferRequest, declared: Sequence[Described] = INPUTS) -> InferRequest:
    """The request for a model that takes the inputs `declared`.

    Raises InvalidArgument for a tensor that is not what it says, and for a parameter that is not known.
    """
    refusals = InferRefusals(request.model_name, request.id)
    parameters = _parameters(request.parameters)
    # Every request has one response, so there is no empty one to end with, and whoever asks for it has what it wants.
    if not isinstance(parameters.pop(WITH_FINAL_RESPONSE, False), bool):
        raise wrong_type(WITH_FINAL_RESPONSE, "bool_param")
    for tensor in (*request.inputs, *request.outputs):
        _check_parameters(tensor)
    return InferRequest(
        request.model_name,
        request.model_version,
        request.id,
        parameters,
        list(_inputs(request, refusals, declared)),
        [output.name for output in request.outputs],
    )


def infer_response(answer: InferAnswer, *, streamed: bool = False) -> pb.ModelInferResponse:
    """The outputs as raw contents. streamed: say that it is the only response, as Triton does in a stream."""
    response = pb.ModelInferResponse(
        model_name=answer.model,
        model_version=answer.version,
        id=answer.id,
        outputs=[_output(tensor) for tensor in answer.outputs],
        raw_output_contents=[to_raw(tensor.elements) for tensor in answer.outputs],
    )
    for name, value in answer.parameters.items():
        response.parameters[name].string_param = value
    if streamed:
        response.parameters[FINAL_RESPONSE].bool_param = True
    return response


def model_metadata(described: metadata.Json) -> pb.ModelMetadataResponse:
    """A model's tensors."""
    return ParseDict(described, pb.ModelMetadataResponse())


def model_config(config: metadata.Json) -> pb.ModelConfigResponse:
    """A model's configuration."""
    return ParseDict({"config": config}, pb.ModelConfigResponse())


def model_statistics(statistics: Sequence[metadata.Json]) -> pb.ModelStatisticsResponse:
    """What was inferred."""
    return ParseDict({"model_stats": statistics}, pb.ModelStatisticsResponse())


def _parameters(given: Mapping[str, pb.InferParameter]) -> dict[str, Value]:
    return {name: _value(name, parameter) for name, parameter in given.items()}


def _value(name: str, parameter: pb.InferParameter) -> Value:
    choice = parameter.WhichOneof("parameter_choice")
    if choice is None:
        raise wrong_type(name, "int64_param, bool_param, or string_param")
    value: Value = getattr(parameter, choice)
    return value


def _check_parameters(tensor: Any) -> None:
    """A tensor takes none, as there is no shared memory that it could lie in."""
    for name, parameter in tensor.parameters.items():
        if name == _SHARED_MEMORY:
            raise no_region(parameter.string_param)
        raise unknown_parameter(name, f"{tensor.name}.parameters", ())


def _inputs(request: pb.ModelInferRequest, refusals: InferRefusals, declared: Sequence[Described]) -> Iterable[Tensor]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        if len(raw) < len(request.inputs):
            raise refusals.no_data(request.inputs[len(raw)].name)
        raise InvalidArgument(
            "raw_input_contents", f"{len(raw)} contents for {len(request.inputs)} inputs; each input has one"
        )
    for index, given in enumerate(request.inputs):
        check_declared(given.name, given.datatype, given.shape, refusals, declared)
        if raw:
            if given.HasField("contents"):
                raise refusals.mixed_contents(given.name)
            yield from_raw(given.name, given.datatype, given.shape, raw[index], refusals)
        else:
            yield from_values(given.name, given.datatype, given.shape, _contents(given, refusals), refusals)


def _contents(given: pb.ModelInferRequest.InferInputTensor, refusals: InferRefusals) -> Sequence[Any]:
    """The elements of the datatype's field, which is the only one that may hold some."""
    expected = _FIELD_OF[given.datatype]
    for field, elements in given.contents.ListFields():
        if field.name != expected and elements:
            raise refusals.wrong_contents(given.name, _HELD_BY[field.name], given.datatype)
    if not given.HasField("contents"):
        if 0 in given.shape:
            return ()
        raise refusals.no_data(given.name)
    return list(getattr(given.contents, expected))


def _output(tensor: Tensor) -> pb.ModelInferResponse.InferOutputTensor:
    return pb.ModelInferResponse.InferOutputTensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
