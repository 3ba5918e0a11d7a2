"""The int8 graph: fixed-scale activations, exact int32 sums, the cell written out.

A row has the same bits in any batch and any chunking. h = o * tanh(c) lies in (-1, 1), so it is quantized at a fixed
scale of 1/127 with zero point 128 and no look at any row; states carry it as uint8. Weights are quantized symmetrically
per output channel to +-64, so that the pair sums of CPUs without VNNI (255 * 64 * 2 = 32,640) fit in int16. Products
are `MatMulInteger` -> Cast -> Mul -> Add: the fused operators multiply and add in one rounding on some CPUs and so
change bits.

Layer 0 reads tokens, so its input product and bias are a table of one float32 row per token, gathered. The head's
outputs stand in the order of how likely their tokens are: looking for the 16 likeliest in ascending order of the tokens
takes 15 % of a step of 64 rows, because later letters push out earlier ones all the time, and in this order 6 %.

One file runs in three ways, the branches of two `If` nodes (`int8_branches.py`): a single step, several steps of which
some feed the graph's own choice, and a chunk of any length, which is what a caller gets who sets neither flag. The
branches share the weights and compute the same sums, so they give the same bits. docs/decisions/003-graphs.md has the
measurements.
"""

from __future__ import annotations

import numpy as np

from model_export.errors import ExportError
from model_export.graphs import contract
from model_export.graphs.building import GraphBuilder, serialize
from model_export.graphs.calibration import calibrate
from model_export.graphs.int8_branches import Branch, add_choice, add_chunk, add_follow, add_single_step
from model_export.graphs.quantization import HIDDEN_STEPS, Inputs, quantize
from model_export.weights import Array, LanguageModelWeights, LstmLayer
from service.model.manifest import Following, StateTensor

ZERO_POINT = 128


def token_table(layer: LstmLayer, embedding: Array, missing: Array) -> Array:
    """Layer 0's input product and bias for every token: float32 [vocabulary, 4 * units], summed in float64.

    missing: what quantization took from the recurrent products on average.
    """
    products = embedding.astype(np.float64) @ layer.inputs.T.astype(np.float64)
    with np.errstate(over="ignore"):
        return (products + layer.bias + missing).astype(np.float32)


def states(weights: LanguageModelWeights) -> tuple[StateTensor, ...]:
    """h0, c0, h1, c1, ...: h uint8 starting at 128 (zero), c float32, both [rows, units]."""
    units = [layer.units for layer in weights.layers]
    return contract.lstm_states(units, hidden="uint8", initial_hidden=ZERO_POINT)


def following(weights: LanguageModelWeights) -> Following:
    """How a caller has the graph feed its own choice."""
    return Following(flag=contract.FOLLOW, states=tuple(contract.followed_states(states(weights))))


def build(weights: LanguageModelWeights) -> bytes:
    """The model file for these weights. Raises ExportError if they cannot be a model."""
    weights.check()
    builder = GraphBuilder()
    flags = contract.add_flags(builder)
    _add_constants(builder, weights)
    tensors = states(weights)
    described = contract.outputs(tensors, weights.vocabulary_size) + contract.followed_outputs(tensors)
    names = ("single_step", "follow", "chunk", "several")
    step, follow, chunk, several = (Branch(builder, name, weights, described) for name in names)
    add_single_step(step, tensors)
    add_follow(follow, tensors)
    add_chunk(chunk, tensors)
    add_choice(several, contract.FOLLOW, follow, chunk)
    add_choice(builder, contract.SINGLE_STEP, step, several)
    graph = builder.graph("lstm_int8", contract.inputs(tensors) + flags, described)
    return serialize(graph, "Byte-level LSTM language model, int8 weights, fixed-scale h. Gate order i, o, f, c.")


def _add_constants(builder: GraphBuilder, weights: LanguageModelWeights) -> None:
    calibration = calibrate(weights)
    builder.constant("h_scale", np.array(1 / HIDDEN_STEPS, np.float32))
    builder.constant("h_zero", np.array(ZERO_POINT, np.uint8))
    for number, (layer, inputs) in enumerate(zip(weights.layers, calibration.inputs, strict=False)):
        if number == 0:
            missing = _add_matrix(builder, "layer0", layer.recurrent, inputs)
            table = token_table(layer, weights.embedding, missing)
            if not np.isfinite(table).all():
                raise ExportError("the embedding times layer 0's weights overflows float32; they are too large")
            builder.constant("token_table", table)
            continue
        both = np.concatenate([layer.inputs, layer.recurrent], axis=1)  # one scale, so that sums can be added
        missing = _add_matrix(builder, f"layer{number}", both, inputs)
        builder.constant(f"layer{number}_bias", layer.bias + missing)
    order = calibration.likeliest_first
    missing = _add_matrix(builder, "head", weights.head[order], calibration.inputs[-1])
    builder.constant("head_bias", weights.head_bias[order] + missing)
    builder.constant("likeliest_first", order)
    builder.constant("places_of_tokens", np.argsort(order))


def _add_matrix(builder: GraphBuilder, name: str, weights: Array, inputs: Inputs) -> Array:
    """int8 [1, inputs, outputs], of which each branch makes a matrix of its own; returns what is missing."""
    matrix = quantize(weights, inputs)
    builder.constant(f"{name}_weight", matrix.values[None])
    builder.constant(f"{name}_scale", matrix.product_scale)
    return matrix.missing
