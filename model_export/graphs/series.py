"""The fp32 graph of a stack of cells over real numbers: values in, what is expected of the next step out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model_export.cells.cell import Cell
from model_export.errors import ExportError
from model_export.graphs import recurrent
from model_export.graphs.building import GraphBuilder, serialize, tensor

VALUES = "values"
EXPECTED = "expected"

Array = NDArray[np.float32]


def build(layers: Sequence[Cell], head: Array, head_bias: Array, *, mean: float, scale: float) -> bytes:
    """The model file; values keep their own unit on either side. head: [width, outputs of the top layer].

    mean, scale: what is taken from every value, and what it is divided by then. Raises ExportError if a weight is NaN
    or infinite.
    """
    _check(layers, head, head_bias)
    width = len(head)
    builder = GraphBuilder()
    below = scaled(builder, mean=mean, scale=scale)
    states = recurrent.states(layers)
    for number, layer in enumerate(layers):
        own = [state for state in states if state.layer == number]
        below = layer.add_to(builder, f"layer{number}", below, [s.input for s in own], [s.output for s in own])
    product = builder.add("MatMul", [below, builder.constant("head_weight", head.T)], "head_product")
    said = builder.add("Add", [product, builder.constant("head_bias", head_bias)], "head")
    spread = builder.add("Mul", [said, "scale"], "spread")
    builder.add("Add", [spread, "mean"], EXPECTED)
    by_step: list[int | str] = ["time", "rows", width]
    inputs = [tensor(VALUES, "float32", by_step)] + [tensor(s.input, s.dtype, ["rows", s.width]) for s in states]
    outputs = [tensor(EXPECTED, "float32", by_step)] + [tensor(s.output, s.dtype, ["rows", s.width]) for s in states]
    kinds = ", ".join(type(layer).__name__ for layer in layers)
    return serialize(
        builder.graph("series", inputs, outputs),
        f"Forecast of a series of real numbers, fp32, explicit states. Layers: {kinds}.",
    )


def scaled(builder: GraphBuilder, *, mean: float, scale: float) -> str:
    """What the lowest layer reads: the values less their mean, over their scale; both are constants of these names."""
    centred = builder.add("Sub", [VALUES, builder.constant("mean", np.float32(mean))], "centred")
    return builder.add("Div", [centred, builder.constant("scale", np.float32(scale))], "scaled")


def _check(layers: Sequence[Cell], head: Array, head_bias: Array) -> None:
    if head.shape != (len(head_bias), layers[-1].outputs) or layers[0].inputs != len(head_bias):
        raise ExportError(f"a head of {head.shape} does not fit layers from {layers[0].inputs} numbers to as many")
    named = {"head": head, "head bias": head_bias}
    for number, layer in enumerate(layers):
        named |= {f"layer {number} {name}": value.detach().cpu().numpy() for name, value in layer.named_parameters()}
    for name, values in named.items():
        if not np.isfinite(values).all():
            raise ExportError(f"{name}: some values are NaN or infinite; train again with a lower learning rate")
