"""Recurrent operators that are laid out batch first (`layout=1`), which onnxruntime refuses, made time-major."""

from __future__ import annotations

import onnx
from google.protobuf.message import DecodeError
from onnx import NodeProto, helper

_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_INITIAL_STATES = (5, 6)  # places among the inputs of h and c
_SEQUENCE_BACK = [2, 0, 1, 3]  # [time, directions, rows, units] -> [rows, time, directions, units]
_SWAP = [1, 0, 2]


def time_major(data: bytes) -> bytes:
    """The same model, each recurrent node reading [time, rows, ...] between transpositions.

    A file without such nodes, or which is no ONNX file, is returned as it is.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        return data
    if not any(_is_batch_first(node) for node in model.graph.node):
        return data
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes += _turned(node) if _is_batch_first(node) else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _is_batch_first(node: NodeProto) -> bool:
    return node.op_type in _RECURRENT and any(a.name == "layout" and a.i == 1 for a in node.attribute)


def _turned(node: NodeProto) -> list[NodeProto]:
    """Transpositions of what the node reads, the node, and transpositions of what it gives."""
    turned = NodeProto()
    turned.CopyFrom(node)
    kept = [attribute for attribute in node.attribute if attribute.name != "layout"]
    del turned.attribute[:]
    turned.attribute.extend(kept)
    before, after = [], []
    for place in (0, *_INITIAL_STATES):
        if place < len(node.input) and node.input[place]:
            name = f"{node.output[0] or node.name}/time_major_input_{place}"
            before.append(helper.make_node("Transpose", [node.input[place]], [name], perm=_SWAP))
            turned.input[place] = name
    for place, output in enumerate(node.output):
        if output:
            name = f"{output}/time_major"
            order = _SEQUENCE_BACK if place == 0 else _SWAP
            after.append(helper.make_node("Transpose", [name], [output], perm=order))
            turned.output[place] = name
    return [*before, turned, *after]
