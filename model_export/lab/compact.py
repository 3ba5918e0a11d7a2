"""Weights of 8 bits: a network of half a million numbers in half a megabyte, and the same network everywhere.

The network itself is rounded, each row of a matrix to 255 steps, so what the lab watches is what is served. In the
graph such a matrix stands as whole numbers, a Cast and a Mul, which onnxruntime works out once, when it loads the
graph: after that it is a constant as any other, and packed as one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model_export.graphs.building import serialize
from model_export.lab.network import Network

STEPS = 127  # on each side of zero
_LEAST = 4096  # numbers; less is not worth two nodes
_KEPT_BITS = np.uint32(0xFFFFFF00)  # of a scale: 16 bits of mantissa, so that a product with 127 is exact
_SCALE = ".scale"


def rounded(network: Network) -> Network:
    """Round each row of every matrix to 255 steps, in place; biases stay as they are. Returns the network."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2 and parameter.requires_grad:
                whole, scale = _rows_as_steps(parameter.numpy(), -1)
                parameter.copy_(torch.from_numpy(whole.astype(np.float32) * scale))
    return network


def _rows_as_steps(values: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """The nearest whole numbers in [-127, 127], and the scale that gives the largest of each row 127 of them."""
    largest = np.abs(values).max(axis=axis, keepdims=True)
    scale = np.where(largest > 0, largest / np.float32(STEPS), np.float32(1))
    kept = (scale.astype(np.float32).view(np.uint32) & _KEPT_BITS).view(np.float32)
    return np.clip(np.rint(values / kept), -STEPS, STEPS).astype(np.int8), kept


def as_steps(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Whole numbers and scales whose products are exactly these values, along either of the last two axes; or None."""
    if values.dtype != np.float32 or values.ndim < 2 or values.size < _LEAST:
        return None
    for axis in (-1, -2):
        whole, scale = _rows_as_steps(values, axis)
        if np.array_equal(whole.astype(np.float32) * scale, values):
            return whole, scale
    return None


def packed(model: bytes) -> bytes:
    """The same graph with every matrix that is made of 255 steps a row written as such; others stay."""
    proto = onnx.load_from_string(model)
    constants, nodes = [], []
    for constant in proto.graph.initializer:
        steps = as_steps(numpy_helper.to_array(constant))
        if steps is None:
            constants.append(constant)
            continue
        name = constant.name
        whole, scale = steps
        constants += [numpy_helper.from_array(whole, name + ".steps"), numpy_helper.from_array(scale, name + _SCALE)]
        nodes += [
            helper.make_node("Cast", [name + ".steps"], [name + ".whole"], f"Cast:{name}", to=TensorProto.FLOAT),
            helper.make_node("Mul", [name + ".whole", name + _SCALE], [name], f"Mul:{name}"),
        ]
    if not nodes:
        return model
    graph = proto.graph
    made = helper.make_graph([*nodes, *graph.node], graph.name, list(graph.input), list(graph.output), constants)
    return serialize(made, proto.doc_string)


def arrays_to_keep(arrays: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.generic]]:
    """Arrays as they go to a file: those made of steps as two, NAME and NAME.scale."""
    kept: dict[str, NDArray[np.generic]] = {}
    for name, values in arrays.items():
        steps = as_steps(values)
        kept |= {name: values} if steps is None else {name: steps[0], name + _SCALE: steps[1]}
    return kept


def arrays_kept(saved: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
    """What `arrays_to_keep` was given."""
    return {
        name: np.asarray(values, np.float32) * saved[name + _SCALE].astype(np.float32)
        if name + _SCALE in saved
        else values.astype(np.float32)
        for name, values in saved.items()
        if not name.endswith(_SCALE)
    }
