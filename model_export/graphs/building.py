"""A small builder over `onnx.helper`: collects nodes and constants and gives a model file with deterministic bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9
PRODUCER = "carousel"

_ONNX_TYPES = {
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}

Dimensions = Sequence[int | str]


def tensor(name: str, dtype: str, dimensions: Dimensions) -> ValueInfoProto:
    """Describe an input or output; strings are dimensions of any size."""
    return helper.make_tensor_value_info(name, _ONNX_TYPES[dtype], list(dimensions))


class GraphBuilder:
    """Collects the parts of one graph. Nodes keep the order in which they are added, which must be topological.

    A subgraph's builder shares the constants and has a prefix, because names must differ from those of all graphs.
    """

    def __init__(self, constants: dict[str, TensorProto] | None = None, prefix: str = "") -> None:
        self.nodes: list[NodeProto] = []
        self.constants = {} if constants is None else constants
        self._prefix = prefix

    def subgraph(self, name: str) -> GraphBuilder:
        """A builder for a graph inside of this one."""
        return GraphBuilder(self.constants, f"{self._prefix}{name}_")

    def own(self, name: str) -> str:
        """The name of a value of this graph, unlike that of any other graph's."""
        return self._prefix + name

    def constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        """Add a constant under a name, once; returns the name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
        return name

    def integers(self, name: str, *values: int) -> str:
        """A constant int64 vector: axes and sizes."""
        return self.constant(name, np.array(values, np.int64))

    def add(self, operator: str, inputs: Sequence[str], outputs: str | Sequence[str], **attributes: Any) -> str:
        """Add a node named after its first output; returns that output. An empty input name leaves the input out."""
        names = [outputs] if isinstance(outputs, str) else list(outputs)
        self.nodes.append(helper.make_node(operator, list(inputs), names, name=f"{operator}:{names[0]}", **attributes))
        return names[0]

    def graph(
        self,
        name: str,
        inputs: Sequence[ValueInfoProto],
        outputs: Sequence[ValueInfoProto],
        *,
        with_constants: bool = True,
    ) -> GraphProto:
        """The graph of what was collected; a subgraph leaves the constants to the graph around it."""
        constants = list(self.constants.values()) if with_constants else []
        return helper.make_graph(self.nodes, name, list(inputs), list(outputs), constants)


def serialize(graph: GraphProto, description: str) -> bytes:
    """The bytes of a model file; the same graph gives the same bytes. Checked against ONNX's own rules."""
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
        doc_string=description,
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)
