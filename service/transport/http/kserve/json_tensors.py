"""Tensors between the two halves of a REST body: a JSON header, and bytes behind it for the tensors sent so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from service.errors import InvalidArgument
from service.transport.http.kserve.bodies import InferBody, InputBody, read_body
from service.transport.kserve.inference import InferAnswer, InferRequest
from service.transport.kserve.metadata import INPUTS, Described
from service.transport.kserve.refusals import InferRefusals, Malformed, no_region
from service.transport.kserve.rows import check_declared
from service.transport.kserve.tensors import BYTES, Tensor, from_raw, from_values, to_raw

_BINARY_OUTPUT: Final = "binary_data_output"
_REAL: Final = ("FP32", "FP64")


class Asked:
    """A request, and which of its outputs are wanted as bytes."""

    __slots__ = ("_binary", "_default_binary", "request")

    def __init__(self, request: InferRequest, binary: Mapping[str, bool], default_binary: bool) -> None:
        self.request, self._binary, self._default_binary = request, binary, default_binary

    def as_bytes(self, output: str) -> bool:
        """Whether this output is sent behind the JSON."""
        return self._binary.get(output, self._default_binary)


def read_request(
    model: str, version: str, body: bytes, header_length: str | None, declared: Sequence[Described] = INPUTS
) -> Asked:
    """The request for a model that takes the inputs `declared`.

    A body of `header_length` bytes of JSON, or of JSON alone; behind it the inputs that say so, in their order.

    Raises InvalidArgument, or RequestValidationError for JSON of another form.
    """
    header, binary = _halves(body, header_length)
    asked = read_body(InferBody, header)
    refusals = InferRefusals(model, asked.id)
    parameters = dict(asked.parameters)
    binary_output = parameters.pop(_BINARY_OUTPUT, False)
    if not isinstance(binary_output, bool):
        raise InvalidArgument(f"parameters.{_BINARY_OUTPUT}", "must be true or false")
    for output in asked.outputs:
        if output.parameters.shared_memory_region is not None:
            raise no_region(output.parameters.shared_memory_region)
    request = InferRequest(
        model,
        version,
        asked.id,
        parameters,
        list(_inputs(asked.inputs, binary, refusals, declared)),
        [output.name for output in asked.outputs],
    )
    as_bytes = {output.name: output.parameters.binary_data for output in asked.outputs}
    return Asked(request, {name: wanted for name, wanted in as_bytes.items() if wanted is not None}, binary_output)


def answer_body(asked: Asked, answer: InferAnswer) -> tuple[bytes, int | None]:
    """The body, and how much of it is JSON if bytes stand behind that."""
    behind: list[bytes] = []
    outputs: list[dict[str, Any]] = []
    for tensor in answer.outputs:
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if asked.as_bytes(tensor.name):
            behind.append(to_raw(tensor.elements))
            output["parameters"] = {"binary_data_size": len(behind[-1])}
        else:
            output["data"] = _data(tensor)
        outputs.append(output)
    whole: dict[str, Any] = {"id": answer.id} if answer.id else {}
    whole |= {
        "model_name": answer.model,
        "model_version": answer.version,
        "parameters": dict(answer.parameters),
        "outputs": outputs,
    }
    header = json.dumps(whole, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode()
    if not behind:
        return header, None
    return b"".join((header, *behind)), len(header)


def _halves(body: bytes, header_length: str | None) -> tuple[bytes, bytes | None]:
    if header_length is None:
        return body, None
    if not (header_length.isascii() and header_length.isdecimal()) or len(header_length) > 20:
        raise InvalidArgument("Inference-Header-Content-Length", f"{header_length[:40]!r} is no number of bytes")
    length = int(header_length)
    if not 0 < length <= len(body):
        raise Malformed(
            "Inference-Header-Content-Length",
            f"inference header size should be in range (0, {len(body)}), got: {length}",
        )
    return body[:length], body[length:]


def _inputs(
    inputs: Sequence[InputBody], binary: bytes | None, refusals: InferRefusals, declared: Sequence[Described]
) -> Iterable[Tensor]:
    at = 0
    for given in inputs:
        check_declared(given.name, given.datatype, given.shape, refusals, declared)
        size = given.parameters.binary_data_size
        if given.parameters.shared_memory_region is not None:
            raise no_region(given.parameters.shared_memory_region)
        _check_one_source(given)
        if size is None:
            values = _flat(given)
            yield from_values(given.name, given.datatype, given.shape, values, refusals)
            continue
        if at + size > len(binary or b""):
            raise refusals.too_few_bytes(given.name, at + size - len(binary or b""))
        yield from_raw(given.name, given.datatype, given.shape, (binary or b"")[at : at + size], refusals)
        at += size
    if binary is not None and at != len(binary):
        raise refusals.too_many_bytes()


def _check_one_source(given: InputBody) -> None:
    fields = ["'data'"] if given.data is not None else []
    if given.parameters.binary_data_size is not None:
        fields.append("'binary_data_size'")
    if len(fields) != 1:
        raise Malformed(
            f"inputs.{given.name}",
            "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
            f"'shared_memory_region' in 'parameters'. But {'set ' + ' '.join(fields) if fields else 'no field is set'}",
        )


def _flat(given: InputBody) -> list[Any]:
    """The elements in one list, each of the datatype's Python type; nested lists may be as deep as the shape."""
    values: list[Any] = list(given.data or ())
    for _ in given.shape[1:]:
        values = [inner for value in values for inner in (value if isinstance(value, list) else [value])]
    for value in values:
        if given.datatype == BYTES and not isinstance(value, str):
            raise InvalidArgument(f"inputs.{given.name}.data", "holds something else than strings")
        if given.datatype in _REAL and not isinstance(value, bool) and isinstance(value, int | float):
            continue
        if given.datatype in _REAL:
            raise InvalidArgument(f"inputs.{given.name}.data", "holds something else than numbers")
        if given.datatype != BYTES and (isinstance(value, bool) or not isinstance(value, int)):
            raise InvalidArgument(f"inputs.{given.name}.data", "holds something else than whole numbers")
    if given.datatype == BYTES:
        # A lone surrogate, which JSON can say, becomes bytes that are refused as no UTF-8.
        return [value.encode("utf-8", "surrogatepass") for value in values]
    return values


def _data(tensor: Tensor) -> list[Any]:
    if isinstance(tensor.elements, tuple):
        return [element.decode() for element in tensor.elements]
    data: list[Any] = tensor.elements.tolist()
    return data
