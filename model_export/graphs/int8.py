"""The int8 graph: fixed-scale activations, exact int32 sums, the cell written out.

A row has the same bits in any batch and any chunking. h = o * tanh(c) lies in (-1, 1), so it is quantized at a fixed
scale of 1/127 with zero point 128 and no look at any row; states carry it as uint8. Weights are quantized symmetrically
per output channel to +-64, so that the pair sums of CPUs without VNNI (255 * 64 * 2 = 32,640) fit in int16. Products
are `MatMulInteger` -> Cast -> Mul -> Add: the fused operators multiply and add in one rounding on some CPUs and so
change bits.

Layer 0 reads tokens, so its input product and bias are a table of one float32 row per token, gathered.

Layer by layer, the input product of all the chunk's tokens is computed at once; then a `Scan` over the tokens adds the
recurrent product to it in int32, before the one Cast. A chunk of one token runs the same nodes, so a step and a chunk
compute the same sums, and one graph serves both. docs/decisions/003-graphs.md has the measurements.
"""

from __future__ import annotations

import numpy as np
from onnx import GraphProto, TensorProto

from model_export.errors import ExportError
from model_export.graphs import contract
from model_export.graphs.building import GraphBuilder, serialize, tensor
from model_export.graphs.quantization import HIDDEN_STEPS, QuantizedMatrix, quantize
from model_export.weights import Array, LanguageModelWeights
from service.model.manifest import StateTensor

ZERO_POINT = 128


def token_table(weights: LanguageModelWeights) -> Array:
    """Layer 0's input product and bias for every token: float32 [vocabulary, 4 * units], summed in float64."""
    first = weights.layers[0]
    products = weights.embedding.astype(np.float64) @ first.inputs.T.astype(np.float64)
    with np.errstate(over="ignore"):
        return (products + first.bias).astype(np.float32)


def states(weights: LanguageModelWeights) -> tuple[StateTensor, ...]:
    """h0, c0, h1, c1, ...: h uint8 starting at 128 (zero), c float32, both [rows, units]."""
    units = [layer.units for layer in weights.layers]
    return contract.lstm_states(units, hidden="uint8", initial_hidden=ZERO_POINT)


def build(weights: LanguageModelWeights) -> bytes:
    """The model file for these weights. Raises ExportError if they cannot be a model."""
    weights.check()
    builder = GraphBuilder()
    _add_constants(builder, weights)
    hidden = _add_layers(builder, weights)
    wanted = builder.add("Gather", [hidden, contract.POSITIONS], "wanted", axis=0)  # uint8 [n, rows, units]
    sums = builder.add("MatMulInteger", [wanted, "head_weight", "h_zero"], "logit_sums")
    logits = _add_scaled(builder, sums, "head", "head_bias", "logits")
    contract.add_distribution(builder, logits, weights.vocabulary_size)
    tensors = states(weights)
    graph = builder.graph("lstm_int8", contract.inputs(tensors), contract.outputs(tensors, weights.vocabulary_size))
    return serialize(graph, "Byte-level LSTM language model, int8 weights, fixed-scale h. Gate order i, o, f, c.")


def _add_constants(builder: GraphBuilder, weights: LanguageModelWeights) -> None:
    table = token_table(weights)
    if not np.isfinite(table).all():
        raise ExportError("the embedding times layer 0's weights overflows float32; the weights are too large to serve")
    builder.constant("token_table", table)
    builder.constant("h_scale", np.array(1 / HIDDEN_STEPS, np.float32))
    builder.constant("h_zero", np.array(ZERO_POINT, np.uint8))
    for number, layer in enumerate(weights.layers):
        builder.integers(f"gates_{layer.units}", 3 * layer.units, layer.units)
        if number == 0:
            _add_matrix(builder, "layer0", "_from_self", quantize(layer.recurrent))
            continue
        both = quantize(np.concatenate([layer.inputs, layer.recurrent], axis=1))  # one scale, so that sums can be added
        below = layer.inputs.shape[1]
        builder.constant(f"layer{number}_weight_from_below", both.values[:below])
        builder.constant(f"layer{number}_weight_from_self", both.values[below:])
        builder.constant(f"layer{number}_scale", both.product_scale)
        builder.constant(f"layer{number}_bias", layer.bias)
    _add_matrix(builder, "head", "", quantize(weights.head))
    builder.constant("head_bias", weights.head_bias)


def _add_matrix(builder: GraphBuilder, name: str, part: str, matrix: QuantizedMatrix) -> None:
    builder.constant(f"{name}_weight{part}", matrix.values)
    builder.constant(f"{name}_scale", matrix.product_scale)


def _add_scaled(builder: GraphBuilder, sums: str, name: str, addend: str, output: str) -> str:
    """int32 sums -> float32, scaled, plus the addend."""
    real = builder.add("Cast", [sums], f"{output}_real", to=TensorProto.FLOAT)
    scaled = builder.add("Mul", [real, f"{name}_scale"], f"{output}_scaled")
    return builder.add("Add", [scaled, addend], output)


def _add_layers(builder: GraphBuilder, weights: LanguageModelWeights) -> str:
    """Every layer over the whole chunk, to the next states; returns the top layer's h, uint8 [time, rows, units]."""
    below = builder.add("Gather", ["token_table", contract.TOKENS], "layer0_from_below")
    for number, layer in enumerate(weights.layers):
        if number:
            weight = f"layer{number}_weight_from_below"
            below = builder.add("MatMulInteger", [below, weight, "h_zero"], f"layer{number}_from_below")
        outputs = [f"h{number}_out", f"c{number}_out", f"layer{number}_hidden"]
        body = _scan_body(builder, number, layer.units)
        builder.add("Scan", [f"h{number}", f"c{number}", below], outputs, num_scan_inputs=1, body=body)
        below = outputs[2]
    return below


def _scan_body(builder: GraphBuilder, number: int, units: int) -> GraphProto:
    """One token of one layer: (h, c, what comes from below) -> (h, c, h)."""
    body, name = builder.body(), f"scan{number}"
    h, c, below = f"{name}_h", f"{name}_c", f"{name}_below"
    own = body.add("MatMulInteger", [h, f"layer{number}_weight_from_self", "h_zero"], f"{name}_own_sums")
    if number == 0:  # from below: the token's row of the table, float32
        gates = _add_scaled(body, own, "layer0", below, f"{name}_gates")
    else:  # from below: int32 sums, to be added before the Cast
        sums = body.add("Add", [below, own], f"{name}_sums")
        gates = _add_scaled(body, sums, f"layer{number}", f"layer{number}_bias", f"{name}_gates")
    h_after, c_after = _add_cell(body, gates, c, units, name)
    hidden = body.add("Identity", [h_after], f"{name}_hidden")
    return body.graph(
        name,
        [
            tensor(h, "uint8", ["rows", units]),
            tensor(c, "float32", ["rows", units]),
            tensor(below, "float32" if number == 0 else "int32", ["rows", 4 * units]),
        ],
        [
            tensor(h_after, "uint8", ["rows", units]),
            tensor(c_after, "float32", ["rows", units]),
            tensor(hidden, "uint8", ["rows", units]),
        ],
        with_constants=False,
    )


def _add_cell(builder: GraphBuilder, gates: str, c: str, units: int, name: str) -> tuple[str, str]:
    """c' = f * c + i * g, h' = o * tanh(c') (Gers et al. 2000); gates [rows, 4 * units] are i, o, f, g. h' is uint8."""
    builder.add("Split", [gates, f"gates_{units}"], [f"{name}_iof", f"{name}_g"], axis=1)
    builder.add("Sigmoid", [f"{name}_iof"], f"{name}_opened")
    builder.add("Split", [f"{name}_opened"], [f"{name}_i", f"{name}_o", f"{name}_f"], axis=1, num_outputs=3)
    candidate = builder.add("Tanh", [f"{name}_g"], f"{name}_candidate")
    kept = builder.add("Mul", [f"{name}_f", c], f"{name}_kept")
    written = builder.add("Mul", [f"{name}_i", candidate], f"{name}_written")
    c_after = builder.add("Add", [kept, written], f"{name}_c_after")
    squashed = builder.add("Tanh", [c_after], f"{name}_squashed")
    h_real = builder.add("Mul", [f"{name}_o", squashed], f"{name}_h_real")
    return builder.add("QuantizeLinear", [h_real, "h_scale", "h_zero"], f"{name}_h_after"), c_after
