"""What an ONNX file holds, read from its bytes with protobuf alone: serving installs no `onnx` package.

onnxruntime tells the inputs and outputs of a graph but neither its operators nor its weights, and both decide whether
it can be served: which operators look at the whole batch, whether int8 is int8, whether a weight is NaN.
Only the fields that are asked for are described here; numbers are those of onnx.proto (IR version 3 and later).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "carousel.onnx_subset"
_FLOAT, _DOUBLE = 1, 11  # TensorProto.DataType
_EXTERNAL = 1  # TensorProto.DataLocation
_FIELDS: dict[str, list[tuple[str, int, str, bool]]] = {
    "Model": [("graph", 7, "Graph", False)],
    "Graph": [("node", 1, "Node", True), ("initializer", 5, "Tensor", True), ("input", 11, "Input", True)],
    "Input": [("name", 1, "string", False)],
    "Node": [("op_type", 4, "string", False), ("attribute", 5, "Attribute", True), ("domain", 7, "string", False)],
    "Attribute": [("t", 5, "Tensor", False), ("g", 6, "Graph", False), ("graphs", 11, "Graph", True)],
    "Tensor": [
        ("data_type", 2, "int32", False),
        ("float_data", 4, "float", True),
        ("name", 8, "string", False),
        ("raw_data", 9, "bytes", False),
        ("double_data", 10, "double", True),
        ("data_location", 14, "int32", False),
    ],
}
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int32": _Field.TYPE_INT32,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
}
# Operators that take one scale from all the rows that they are given, so that a row's result depends on the others.
LOOKS_AT_ALL_ROWS = frozenset({"DynamicQuantizeLSTM", "DynamicQuantizeLinear", "DynamicQuantizeMatMul"})
INTEGER_PRODUCTS = frozenset(
    {
        "ConvInteger",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QGemm",
        "QLinearMatMul",
    }
)


class NotOnnx(Exception):
    """These bytes are not an ONNX file."""


class OnnxSummary(NamedTuple):
    """operators: how often each occurs, subgraphs included.  not_finite: weights with NaN or infinities, by name.

    external: weights whose values lie in another file.
    """

    operators: Counter[str]
    not_finite: tuple[str, ...]
    external: tuple[str, ...]

    @property
    def looks_at_all_rows(self) -> list[str]:
        """The operators of the graph by which a row's result depends on the rows beside it."""
        return sorted(self.operators.keys() & LOOKS_AT_ALL_ROWS)

    @property
    def multiplies_integers(self) -> bool:
        """Whether any matrix product is one of integers."""
        return bool(self.operators.keys() & INTEGER_PRODUCTS)


def summarize(data: bytes) -> OnnxSummary:
    """Look through a file. Raises NotOnnx."""
    model = _parsed(data)
    operators: Counter[str] = Counter()
    not_finite, external = [], []
    for graph in _graphs(model.graph):
        operators.update(node.op_type for node in graph.node)
        for tensor in _tensors(graph):
            if tensor.data_location == _EXTERNAL:
                external.append(tensor.name)
            elif not _finite(tensor):
                not_finite.append(tensor.name)
    return OnnxSummary(operators, tuple(not_finite), tuple(external))


def settled(data: bytes, flag: str) -> tuple[bytes, bytes]:
    """The file with an optional input of one bool turned into a constant: false in the first, true in the second.

    What this room does not know of a file is kept as it is. Raises NotOnnx, also if the file has no such input.
    """
    model = _parsed(data)
    inputs = model.graph.input
    places = [place for place, described in enumerate(inputs) if described.name == flag]
    defaults = [tensor for tensor in model.graph.initializer if tensor.name == flag]
    if len(places) != 1 or len(defaults) != 1:
        raise NotOnnx(f"it has no optional input {flag!r}")
    del inputs[places[0]]
    files = []
    for value in (False, True):
        defaults[0].raw_data = bytes([value])
        files.append(bytes(model.SerializeToString()))
    return files[0], files[1]


def _parsed(data: bytes) -> Any:
    model = _model_class()()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise NotOnnx(str(error)) from error
    return model


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those inside of it: bodies of Scan, Loop and If."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for inner in attribute.graphs:
                yield from _graphs(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))


def _finite(tensor: Any) -> bool:
    dtype = {_FLOAT: "<f4", _DOUBLE: "<f8"}.get(tensor.data_type)
    if dtype is None:
        return True
    if tensor.raw_data:
        size = len(tensor.raw_data) // np.dtype(dtype).itemsize
        return bool(np.isfinite(np.frombuffer(tensor.raw_data, dtype, size)).all())
    return bool(np.isfinite([*tensor.float_data, *tensor.double_data]).all())


@cache
def _model_class() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(name="carousel_onnx_subset.proto", package=_PACKAGE, syntax="proto2")
    for message, fields in _FIELDS.items():
        described = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            field = described.field.add(name=name, number=number)
            field.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            if repeated and kind in ("float", "double"):
                field.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))
