"""inspect.onnx: the same network, but it tells every signal of every layer after every token.

Nobody writes these graphs. torch.fx follows a cell's `step`, the equations as they stand in the cell's file, and each
operation that depends on what is read becomes a node in the body of a Scan; what depends on weights alone is worked
out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from torch import Tensor, fx

from model_export.cells.cell import Cell
from model_export.cells.followed import followed
from model_export.errors import ExportError
from model_export.graphs import contract, recurrent, series
from model_export.graphs.building import GraphBuilder, serialize, tensor
from service.model.manifest import Signal


def signals(layers: Sequence[Cell]) -> tuple[Signal, ...]:
    """What the graph tells: an output for each signal of each layer, float32 [time, rows, units]."""
    return tuple(
        Signal(output=f"layer{number}_{letter}", layer=number, letter=letter, width=layer.units)
        for number, layer in enumerate(layers)
        for letter in layer.signals
    )


def build(embedding: recurrent.Array, layers: Sequence[Cell]) -> bytes:
    """The file: tokens int64 [time, rows] and the states before in; all signals, and the states after, out.

    embedding: float32 [tokens, width]. Raises ExportError for a cell that has no single steps.
    """
    builder = GraphBuilder()
    below = builder.add("Gather", [builder.constant("embedding", embedding), contract.TOKENS], "embedded")
    return _built(builder, below, layers, tensor(contract.TOKENS, "int64", ["time", "rows"]))


def build_of_numbers(layers: Sequence[Cell], *, mean: float, scale: float) -> bytes:
    """The same of a network over a series: values float32 [time, rows, width] in, in their own unit, as `series.build`.

    Raises ExportError for a cell that has no single steps.
    """
    builder = GraphBuilder()
    below = series.scaled(builder, mean=mean, scale=scale)
    return _built(builder, below, layers, tensor(series.VALUES, "float32", ["time", "rows", layers[0].inputs]))


def _built(builder: GraphBuilder, below: str, layers: Sequence[Cell], read: onnx.ValueInfoProto) -> bytes:
    """The file, from what the lowest layer reads on. read: what goes into the graph beside the states."""
    states = recurrent.states(layers)
    for number, layer in enumerate(layers):
        own = [state for state in states if state.layer == number]
        told = [signal.output for signal in signals(layers) if signal.layer == number]
        _add_layer(builder, number, layer, below, [s.input for s in own], [s.output for s in own], told)
        below = f"layer{number}_h"
    inputs = [read, *(tensor(state.input, state.dtype, ["rows", state.width]) for state in states)]
    outputs = [tensor(one.output, "float32", ["time", "rows", one.width]) for one in signals(layers)]
    outputs += [tensor(state.output, state.dtype, ["rows", state.width]) for state in states]
    return serialize(builder.graph("inspect", inputs, outputs), "All signals of a recurrent network, step by step.")


def _add_layer(
    builder: GraphBuilder,
    number: int,
    layer: Cell,
    below: str,
    before: Sequence[str],
    after: Sequence[str],
    told: Sequence[str],
) -> None:
    """One Scan over the steps of a layer."""
    if not layer.causal:
        raise ExportError("a layer that knows what comes next has no single steps to tell of")
    body = builder.subgraph(f"layer{number}")
    read = body.own("read")
    held = [body.own(f"{letter}_before") for letter in layer.states]
    states, shown = _Writer(layer, builder, body).run(_Name(read), *map(_Name, held))
    ends = [body.add("Identity", [state.name], body.own(f"after{n}")) for n, state in enumerate(states)]
    steps = [body.add("Identity", [shown[one].name], body.own(f"told_{one}")) for one in layer.signals]
    given = [tensor(one, "float32", ["rows", layer.units]) for one in held]
    given.append(tensor(read, "float32", ["rows", layer.inputs]))
    made = [tensor(one, "float32", ["rows", layer.units]) for one in (*ends, *steps)]
    graph = body.graph(body.own("step"), given, made, with_constants=False)
    builder.add("Scan", [*before, below], [*after, *told], num_scan_inputs=1, body=graph)


@dataclass(frozen=True, slots=True)
class _Name:
    """A value of the graph that depends on what is read."""

    name: str


_OPERATORS = {
    "matmul": "MatMul",
    "add": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "truediv": "Div",
    "pow": "Pow",
    "sqrt": "Sqrt",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
}


class _Writer(fx.Interpreter):
    """Runs a cell's step on names in place of numbers, and writes the nodes that this takes."""

    def __init__(self, cell: Cell, outer: GraphBuilder, body: GraphBuilder) -> None:
        super().__init__(followed(cell))
        self._outer, self._body, self._count = outer, body, 0

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An operation: done if it concerns weights alone, written if not."""
        if any(isinstance(one, _Name) for one in args):
            return self._write(target.__name__, args, kwargs)
        return super().call_function(target, args, kwargs)

    def call_method(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The same of a method."""
        if isinstance(args[0], _Name):
            return self._write(target, args, kwargs)
        return super().call_method(target, args, kwargs)

    def _write(self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if what == "chunk":
            outputs = [self._fresh() for _ in range(args[1])]
            self._body.add("Split", [args[0].name], outputs, axis=kwargs["dim"], num_outputs=args[1])
            return tuple(map(_Name, outputs))
        if what == "mean":
            axes = self._outer.integers("last_axis", kwargs["dim"])
            keep = int(kwargs["keepdim"])
            return _Name(self._body.add("ReduceMean", [args[0].name, axes], self._fresh(), keepdims=keep))
        if what not in _OPERATORS or kwargs:
            raise ExportError(f"inspect.onnx has no form for {what!r} of a cell's step")
        return _Name(self._body.add(_OPERATORS[what], [self._operand(one) for one in args], self._fresh()))

    def _operand(self, value: _Name | Tensor | float) -> str:
        if isinstance(value, _Name):
            return value.name
        constant = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        return self._outer.constant(self._fresh(), constant.astype(np.float32))

    def _fresh(self) -> str:
        self._count += 1
        return self._body.own(f"value{self._count}")
