"""The fp32 graph: standard ONNX LSTM nodes with constant weights, readable in any viewer.

The weights must be constants: onnxruntime packs them at load, and only the packed kernels give a row the same bits
whether it runs alone or with others. For the same reason a tied head is stored as a matrix of its own.
"""

from __future__ import annotations

import numpy as np

from model_export.graphs import contract
from model_export.graphs.building import GraphBuilder, serialize
from model_export.weights import LanguageModelWeights, LstmLayer
from service.model.manifest import StateTensor


def states(weights: LanguageModelWeights) -> tuple[StateTensor, ...]:
    """h0, c0, h1, c1, ...: float32 [rows, units], starting at zero."""
    return contract.lstm_states([layer.units for layer in weights.layers], hidden="float32", initial_hidden=0.0)


def build(weights: LanguageModelWeights) -> bytes:
    """The model file for these weights. Raises ExportError if they cannot be a model."""
    weights.check()
    builder = GraphBuilder()
    below = builder.add("Gather", [builder.constant("embedding", weights.embedding), contract.TOKENS], "embedded")
    for number, layer in enumerate(weights.layers):
        below = _add_layer(builder, number, layer, below)
    wanted = builder.add("Gather", [below, contract.POSITIONS], "wanted", axis=0)  # [n, rows, units]
    product = builder.add("MatMul", [wanted, builder.constant("head_weight", weights.head.T)], "head_product")
    logits = builder.add("Add", [product, builder.constant("head_bias", weights.head_bias)], "logits")
    contract.add_distribution(builder, logits, weights.vocabulary_size)
    tensors = states(weights)
    graph = builder.graph("lstm", contract.inputs(tensors), contract.outputs(tensors, weights.vocabulary_size))
    return serialize(graph, "Byte-level LSTM language model, fp32. Gate order i, o, f, c; states are explicit.")


def _add_layer(builder: GraphBuilder, number: int, layer: LstmLayer, below: str) -> str:
    """One LSTM node between [rows, units] states; returns its output, [time, rows, units]."""
    first = builder.integers("first_axis", 0)
    direction = builder.integers("direction_axis", 1)
    names = [f"lstm{number}_{part}" for part in ("W", "R", "B")]
    no_second_bias = np.concatenate([layer.bias, np.zeros_like(layer.bias)])
    for name, array in zip(names, (layer.inputs, layer.recurrent, no_second_bias), strict=True):
        builder.constant(name, array[None])
    h = builder.add("Unsqueeze", [f"h{number}", first], f"h{number}_in")
    c = builder.add("Unsqueeze", [f"c{number}", first], f"c{number}_in")
    outputs = [f"lstm{number}_Y", f"lstm{number}_Y_h", f"lstm{number}_Y_c"]
    builder.add("LSTM", [below, *names, "", h, c], outputs, hidden_size=layer.units)
    builder.add("Squeeze", [outputs[1], first], f"h{number}_out")
    builder.add("Squeeze", [outputs[2], first], f"c{number}_out")
    return builder.add("Squeeze", [outputs[0], direction], f"lstm{number}_out")
