"""How cells stand in an ONNX graph: the operators LSTM, GRU and RNN where they fit, a Scan where none does.

All weights are constants of the graph: only kernels that are packed at load give a row the same bits alone and in a
batch. Gate orders differ: ours, torch's, is i, f, g, o; ONNX's LSTM has i, o, f, c (which is g), its peepholes i, o, f,
and its GRU z, r, h (which is n).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model_export.graphs.building import GraphBuilder, tensor
from model_export.weights import onnx_gates

Weights = tuple[Tensor, Tensor, Tensor]
"""W [blocks * units, inputs], R [blocks * units, units] and b [blocks * units]."""


def array(values: Tensor) -> NDArray[np.float32]:
    """The numbers as the graph holds them."""
    return values.detach().cpu().numpy().astype(np.float32)


def matrix_product(nodes: GraphBuilder, name: str, read: str, matrix: Tensor, bias: Tensor | None = None) -> str:
    """read [..., inputs] times the matrix [outputs, inputs], plus the bias; returns `name`."""
    weight = nodes.constant(f"{name}_weight", array(matrix).T)
    if bias is None:
        return nodes.add("MatMul", [read, weight], name)
    product = nodes.add("MatMul", [read, weight], f"{name}_product")
    return nodes.add("Add", [product, nodes.constant(f"{name}_bias", array(bias))], name)


def lstm_node(
    nodes: GraphBuilder,
    name: str,
    below: str,
    weights: Weights,
    before: Sequence[str],
    after: Sequence[str],
    *,
    peepholes: Tensor | None = None,
) -> str:
    """An LSTM node between states h and c, [rows, units]. peepholes: [3, units], of i, f and o."""
    W, R, b = (onnx_gates(array(block)) for block in weights)
    constants = _constants(nodes, name, W=W, R=R, B=np.concatenate([b, np.zeros_like(b)]))
    p = ""
    if peepholes is not None:
        of_i, of_f, of_o = array(peepholes)
        p = nodes.constant(f"{name}_P", np.concatenate([of_i, of_o, of_f])[None])
    states = [_with_direction(nodes, state) for state in before]
    outputs = [f"{name}_Y", f"{name}_Y_h", f"{name}_Y_c"]
    nodes.add("LSTM", [below, *constants, "", *states, p], outputs, hidden_size=R.shape[1])
    return _without_direction(nodes, name, outputs, after)


def bidirectional_lstm_node(nodes: GraphBuilder, name: str, below: str, weights: Sequence[Weights]) -> str:
    """An LSTM node of both directions, both starting from zeros; [time, rows, 2 * units]."""
    each = [[onnx_gates(array(block)) for block in direction] for direction in weights]
    W, R, b = (np.stack(blocks) for blocks in zip(*each, strict=True))
    names = ("W", "R", "B")
    values = (W, R, np.concatenate([b, np.zeros_like(b)], axis=1))
    constants = [nodes.constant(f"{name}_{n}", value) for n, value in zip(names, values, strict=True)]
    units = R.shape[2]
    y = nodes.add("LSTM", [below, *constants], f"{name}_Y", hidden_size=units, direction="bidirectional")
    rows_first = nodes.add("Transpose", [y], f"{name}_Y_by_row", perm=[0, 2, 1, 3])  # [time, rows, 2, units]
    return nodes.add("Reshape", [rows_first, nodes.integers(f"{name}_sizes", 0, 0, 2 * units)], f"{name}_h")


def gru_node(
    nodes: GraphBuilder,
    name: str,
    below: str,
    weights: tuple[Tensor, Tensor, Tensor, Tensor],
    before: Sequence[str],
    after: Sequence[str],
    *,
    reset_after: bool,
) -> str:
    """A GRU node; weights in blocks r, z, n, then the bias inside of the reset, [units]."""
    W, R, b = (_gru_gates(array(block)) for block in weights[:3])
    second = np.concatenate([np.zeros_like(b[: 2 * R.shape[1]]), array(weights[3])])
    constants = _constants(nodes, name, W=W, R=R, B=np.concatenate([b, second]))
    states = [_with_direction(nodes, state) for state in before]
    outputs = [f"{name}_Y", f"{name}_Y_h"]
    reset = int(reset_after)
    nodes.add("GRU", [below, *constants, "", *states], outputs, hidden_size=R.shape[1], linear_before_reset=reset)
    return _without_direction(nodes, name, outputs, after)


def _gru_gates(values: NDArray[np.float32]) -> NDArray[np.float32]:
    r, z, n = np.split(values, 3)
    return np.concatenate([z, r, n])


def rnn_node(
    nodes: GraphBuilder,
    name: str,
    below: str,
    weights: Weights,
    before: Sequence[str],
    after: Sequence[str],
    activation: str,
) -> str:
    """An RNN node. A row of zeros rides along, because onnxruntime adds a lone row up in another order than several."""
    W, R, b = (array(block) for block in weights)
    constants = _constants(nodes, name, W=W, R=R, B=np.concatenate([b, np.zeros_like(b)]))
    one_more = nodes.integers("one_row_more", 0, 0, 0, 0, 1, 0)
    padded = nodes.add("Pad", [below, one_more], f"{name}_padded")
    states = [nodes.add("Pad", [_with_direction(nodes, s), one_more], f"{name}_{s}_padded") for s in before]
    outputs = [f"{name}_Y", f"{name}_Y_h"]
    given = [padded, *constants, "", *states]
    nodes.add("RNN", given, outputs, hidden_size=R.shape[1], activations=[activation])
    bounds = [nodes.integers(f"number_{n}", n) for n in (0, -1)]
    rows = nodes.integers("rows_of_outputs", 2)
    cut = [f"{name}_Y_cut", f"{name}_Y_h_cut"]
    nodes.add("Slice", [outputs[0], *bounds, rows], cut[0])
    nodes.add("Slice", [outputs[1], *bounds, nodes.integers("direction_axis", 1)], cut[1])
    return _without_direction(nodes, name, cut, after)


def _constants(nodes: GraphBuilder, name: str, **values: NDArray[np.float32]) -> list[str]:
    return [nodes.constant(f"{name}_{part}", value[None]) for part, value in values.items()]


def _with_direction(nodes: GraphBuilder, state: str) -> str:
    """[rows, units] -> [1, rows, units], as the operators want it."""
    return nodes.add("Unsqueeze", [state, nodes.integers("first_axis", 0)], f"{state}_in")


def _without_direction(nodes: GraphBuilder, name: str, outputs: Sequence[str], after: Sequence[str]) -> str:
    for output, state in zip(outputs[1:], after, strict=True):
        nodes.add("Squeeze", [output, nodes.integers("first_axis", 0)], state)
    return nodes.add("Squeeze", [outputs[0], nodes.integers("direction_axis", 1)], f"{name}_h")


class ScanBody:
    """One step of a cell that is written out. `read` and `before` name what the step is given, [rows, ...] each.

    Constants lie in the graph around it: onnxruntime packs them for the subgraphs right inside of it.
    """

    def __init__(self, outer: GraphBuilder, name: str, units: int, states: Sequence[str]) -> None:
        self.outer, self.nodes = outer, outer.subgraph(name)
        self.name, self.units, self.states = name, units, states
        self.read = self.nodes.own("read")
        self.before = [self.nodes.own(f"{letter}_before") for letter in states]
        self._count = 0

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; returns its output."""
        self._count += 1
        return self.nodes.add(operator, inputs, self.nodes.own(f"value{self._count}"), **attributes)

    def split(self, value: str, parts: int) -> list[str]:
        """Cut [rows, parts * units] into its blocks."""
        names = [f"{value}_block{part}" for part in range(parts)]
        self.nodes.add("Split", [value], names, axis=1, num_outputs=parts)
        return names

    def constant(self, name: str, value: Tensor) -> str:
        """A vector of the layer."""
        return self.outer.constant(f"{self.name}_{name}", array(value))

    def product(self, value: str, matrix: Tensor, name: str) -> str:
        """value [rows, units] times the layer's matrix [outputs, units]."""
        return self.add("MatMul", value, self.outer.constant(f"{self.name}_{name}", array(matrix).T))


def scan(
    body: ScanBody, read: str, read_width: int, results: Sequence[str], before: Sequence[str], after: Sequence[str]
) -> str:
    """Run the body over `read`, [time, rows, read_width]. results: its states after a step, h first; returns all h."""
    nodes, units = body.nodes, body.units
    output = nodes.own("h_of_step")
    nodes.add("Identity", [results[0]], output)
    ends = [nodes.add("Identity", [result], nodes.own(f"after{n}")) for n, result in enumerate(results)]
    given = [tensor(state, "float32", ["rows", units]) for state in body.before]
    given.append(tensor(body.read, "float32", ["rows", read_width]))
    made = [tensor(end, "float32", ["rows", units]) for end in (*ends, output)]
    graph = nodes.graph(nodes.own("step"), given, made, with_constants=False)
    hidden = f"{body.name}_h"
    body.outer.add("Scan", [*before, read], [*after, hidden], num_scan_inputs=1, body=graph)
    return hidden
