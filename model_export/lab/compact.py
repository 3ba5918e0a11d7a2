"""Weights of 8 bits: a network of half a million numbers in half a megabyte, and the same network everywhere.

The network itself is rounded, each row of a matrix to 255 steps, so what the lab watches is what is served. In the
graph such a matrix stands as whole numbers, a Cast and a Mul, which onnxruntime works out once, when it loads the
graph: after that it is a constant as any other, and packed as one.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model_export.graphs.building import serialize
from model_export.lab.network import Network, NetworkConfig

STEPS = 127  # on each side of zero
_LEAST = 4096  # numbers; less is not worth two nodes
_KEPT_BITS = np.uint32(0xFFFFFF00)  # of a scale: 16 bits of mantissa, so that a product with 127 is exact
_STEPS, _SCALE = ".steps", ".scale"


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
        constants += [numpy_helper.from_array(whole, name + _STEPS), numpy_helper.from_array(scale, name + _SCALE)]
        nodes += [
            helper.make_node("Cast", [name + _STEPS], [name + ".whole"], f"Cast:{name}", to=TensorProto.FLOAT),
            helper.make_node("Mul", [name + ".whole", name + _SCALE], [name], f"Mul:{name}"),
        ]
    if not nodes:
        return model
    graph = proto.graph
    made = helper.make_graph([*nodes, *graph.node], graph.name, list(graph.input), list(graph.output), constants)
    return serialize(made, proto.doc_string)


def is_rounded(network: Network) -> bool:
    """Whether every larger matrix is made of 255 steps a row, and the cells are those whose weights a graph holds."""
    large = [one.detach().numpy() for one in network.parameters() if one.ndim == 2 and one.numel() >= _LEAST]
    return network.config.cell == "lstm" and bool(large) and all(as_steps(one) is not None for one in large)


def state_in_graph(model: bytes, config: NetworkConfig) -> dict[str, torch.Tensor]:
    """The state of an LSTM over bytes as its graph holds it, whole numbers or not. Raises KeyError if it does not."""
    arrays = _constants(onnx.load_from_string(model))
    tokens = config.symbols.tokens()
    state = {
        "embedding.weight": arrays["embedding"][tokens],
        "head.weight": arrays["head_weight"].T[tokens],
        "head.bias": arrays["head_bias"][tokens],
    }
    for number in range(config.layers):
        for name, held in (("W", "W"), ("R", "R"), ("b", "B")):
            blocks = np.split(arrays[f"layer{number}_{held}"][0][: 4 * config.units], 4)
            i, o, f, g = blocks  # ONNX's order
            state[f"stack._layers.{number}.{name}"] = np.concatenate([i, f, g, o])
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in state.items()}


def _constants(proto: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    arrays = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    whole = [name.removesuffix(_STEPS) for name in arrays if name.endswith(_STEPS)]
    made = {name: arrays[name + _STEPS].astype(np.float32) * arrays[name + _SCALE] for name in whole}
    return {**{name: np.asarray(values) for name, values in arrays.items()}, **made}
