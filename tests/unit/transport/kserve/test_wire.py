"""Requests and answers as bytes on the wire, of both facades: every tensor arrives as it was sent."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from service.errors import InvalidArgument
from service.transport.grpc.generated.inference import grpc_service_pb2 as pb
from service.transport.grpc.kserve.messages import infer_request, infer_response
from service.transport.http.kserve.json_tensors import answer_body, read_request
from service.transport.kserve.inference import InferAnswer, InferRequest
from service.transport.kserve.tensors import DTYPES, Tensor, strings, tensor

SHAPES = st.tuples(st.integers(1, 4), st.integers(0, 4))
TOKENS = st_numpy.arrays(np.int64, SHAPES)
TEXTS = SHAPES.flatmap(
    lambda shape: st.lists(st.text(max_size=5), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
        lambda rows: Tensor("TEXT", "BYTES", shape, tuple(row.encode() for row in rows))
    )
)
INPUTS = TOKENS.map(lambda array: tensor("TOKENS", array)) | TEXTS
PARAMETERS = st.dictionaries(
    st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=3),
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=4),
    max_size=3,
)
OUTPUTS = st.tuples(
    st_numpy.arrays(np.float32, SHAPES, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st_numpy.arrays(np.float64, SHAPES, elements=st.floats(allow_nan=False, allow_infinity=False)),
    st_numpy.arrays(np.int64, SHAPES),
    st.lists(st.text(max_size=5), min_size=1, max_size=4),
)


def packed(one: Tensor) -> bytes:
    """As the protocol's raw bytes, by hand."""
    if isinstance(one.elements, tuple):
        return b"".join(struct.pack("<I", len(element)) + element for element in one.elements)
    return b"".join(struct.pack("<q", int(element)) for element in one.elements)


def same(one: Tensor, other: Tensor) -> bool:
    if (one.name, one.datatype, one.shape) != (other.name, other.datatype, other.shape):
        return False
    if isinstance(one.elements, tuple):
        return one.elements == other.elements
    assert isinstance(other.elements, np.ndarray)
    return one.elements.tobytes() == other.elements.tobytes()


def arrived(request: InferRequest, sent: Tensor, parameters: dict[str, Any]) -> None:
    (got,) = request.inputs
    assert same(got, sent)
    assert request.parameters == parameters
    assert (request.id, list(request.outputs)) == ("7", ["A", "B"])


@given(INPUTS, PARAMETERS, st.booleans())
@settings(max_examples=60)
def test_a_message_of_grpc_arrives_as_it_was_sent(sent: Tensor, parameters: dict[str, Any], raw: bool) -> None:
    message = pb.ModelInferRequest(model_name="m", id="7")
    given_tensor = message.inputs.add(name=sent.name, datatype=sent.datatype, shape=sent.shape)
    if raw:
        message.raw_input_contents.append(packed(sent))
    elif isinstance(sent.elements, tuple):
        given_tensor.contents.bytes_contents.extend(sent.elements)
    else:
        given_tensor.contents.int64_contents.extend(int(element) for element in sent.elements)
    for name, value in parameters.items():
        kinds = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
        setattr(message.parameters[name], kinds[type(value)], value)
    message.outputs.extend(pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in ("A", "B"))
    arrived(infer_request(pb.ModelInferRequest.FromString(message.SerializeToString())), sent, parameters)


@given(INPUTS, PARAMETERS, st.booleans(), st.booleans())
@settings(max_examples=60)
def test_a_body_of_rest_arrives_as_it_was_sent(
    sent: Tensor, parameters: dict[str, Any], behind: bool, nested: bool
) -> None:
    given_tensor: dict[str, Any] = {"name": sent.name, "datatype": sent.datatype, "shape": sent.shape}
    raw = packed(sent) if behind else b""
    if behind:
        given_tensor["parameters"] = {"binary_data_size": len(raw)}
    else:
        flat = [element.decode() if isinstance(element, bytes) else int(element) for element in sent.elements]
        width = sent.shape[1]
        given_tensor["data"] = (
            [flat[row * width : (row + 1) * width] for row in range(sent.shape[0])] if nested else flat
        )
    whole = {"id": "7", "inputs": [given_tensor], "outputs": [{"name": "A"}, {"name": "B"}], "parameters": parameters}
    header = json.dumps(whole).encode()
    asked = read_request("m", "", header + raw, str(len(header)) if behind else None)
    arrived(asked.request, sent, parameters)


@given(OUTPUTS, st.lists(st.booleans(), min_size=4, max_size=4))
@settings(max_examples=60)
def test_an_answer_is_the_same_tensors_over_both(
    outputs: tuple[NDArray[Any], NDArray[Any], NDArray[Any], list[str]], as_bytes: list[bool]
) -> None:
    *arrays, texts = outputs
    tensors = [tensor(name, array) for name, array in zip("ABC", arrays, strict=True)]
    tensors.append(strings("D", [text.encode() for text in texts]))
    answer = InferAnswer("m", "1", "7", {"numerics_id": "n"}, tensors)

    response = pb.ModelInferResponse.FromString(infer_response(answer).SerializeToString())
    told = [
        (output.name, output.datatype, tuple(output.shape), raw)
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    ]
    wanted = [{"name": name, "parameters": {"binary_data": flag}} for name, flag in zip("ABCD", as_bytes, strict=True)]
    asked = read_request("m", "", json.dumps({"inputs": [], "outputs": wanted}).encode(), None)
    assert told == _from_rest(*answer_body(asked, answer))
    assert response.parameters["numerics_id"].string_param == "n"


def _from_rest(body: bytes, header_length: int | None) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    header, behind = body[:header_length], body[header_length:] if header_length is not None else b""
    told = []
    for output in json.loads(header)["outputs"]:
        datatype = output["datatype"]
        if "parameters" in output:
            size = output["parameters"]["binary_data_size"]
            raw, behind = behind[:size], behind[size:]
        elif datatype == "BYTES":
            raw = packed(Tensor("", "BYTES", (), tuple(text.encode() for text in output["data"])))
        else:
            raw = np.array(output["data"], DTYPES[datatype]).tobytes()
        told.append((output["name"], datatype, tuple(output["shape"]), raw))
    assert not behind
    return told


@given(st.binary(max_size=80), st.none() | st.integers(-5, 100).map(str))
@settings(max_examples=80)
def test_any_bytes_at_all_are_a_request_or_are_refused(body: bytes, header_length: str | None) -> None:
    with pytest.raises((InvalidArgument, RequestValidationError)):
        read_request("m", "", body, header_length)
