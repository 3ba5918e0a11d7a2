"""Fits a foreign graph to the contract: one [rows, width] tensor per state, wanted positions, log-softmax and top-k."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, compose, helper

from model_export.adopting.foreign import BYTES, PROBE_ROWS, ForeignGraph
from model_export.adopting.pairing import Pair
from model_export.errors import ExportError
from model_export.graphs import contract
from model_export.graphs.building import PRODUCER, GraphBuilder
from service.model.manifest import StateTensor

INNER = "inner/"

HeadKind = Literal["logits", "log-probabilities", "probabilities"]


def fits_contract(graph: ForeignGraph) -> bool:
    """Whether the graph can be served as it stands."""
    outputs = {tensor.name for tensor in graph.outputs}
    tops = {contract.TOP_LOG_PROBABILITIES, contract.TOP_TOKENS} <= outputs
    plain = all(lane.slice is None for lane in (*graph.state_inputs, *graph.state_outputs))
    named = graph.positions is not None and graph.head == contract.LOG_PROBABILITIES
    tokens = graph.tokens.name == contract.TOKENS and graph.tokens.dtype == "int64" and graph.time_major
    return tops and plain and named and tokens


def state_tensors(pairs: Sequence[Pair], *, own_names: bool) -> tuple[StateTensor, ...]:
    """The manifest's entries; `own_names` keeps the graph's, otherwise they are called h0, c0, h1, ..."""
    states = []
    for pair in pairs:
        name = f"{'h' if pair.role == 'hidden' else 'c'}{pair.layer}"
        states.append(
            StateTensor(
                input=pair.input.tensor if own_names else name,
                output=pair.output.tensor if own_names else f"{name}_out",
                role=pair.role,
                layer=pair.layer,
                dtype="uint8" if pair.input.dtype == "uint8" else "float32",
                width=pair.input.width,
                initial=128.0 if pair.input.dtype == "uint8" else 0.0,
            )
        )
    return tuple(states)


def head_kind(graph: ForeignGraph) -> HeadKind:
    """What the head gives, told by its sums over a few tokens."""
    tokens = np.random.default_rng(2).integers(0, 128, (4, PROBE_ROWS))
    values = graph.run(tokens, graph.blank_states(PROBE_ROWS))[graph.head].astype(np.float64)
    if not np.isfinite(values).all():
        raise ExportError(f"{graph.head} holds NaN or infinities; the weights are broken")
    if (values >= 0).all() and np.allclose(values.sum(axis=-1), 1, atol=1e-3):
        return "probabilities"
    with np.errstate(over="ignore"):
        return "log-probabilities" if np.allclose(np.exp(values).sum(axis=-1), 1, atol=1e-3) else "logits"


def wrap(graph: ForeignGraph, pairs: Sequence[Pair]) -> tuple[bytes, tuple[str, ...]]:
    """The model file of the contract around the foreign graph, and what was added, in words."""
    inner = compose.add_prefix(graph.model, INNER)
    states = state_tensors(pairs, own_names=False)
    builder = GraphBuilder({constant.name: constant for constant in inner.graph.initializer})
    added = _add_inputs(builder, graph, pairs, states)
    builder.nodes.extend(inner.graph.node)
    added += _add_outputs(builder, graph, pairs, states)
    outer = builder.graph("adopted", contract.inputs(states), contract.outputs(states, BYTES))
    model = helper.make_model(
        outer,
        opset_imports=list(graph.model.opset_import),
        ir_version=graph.model.ir_version,
        producer_name=PRODUCER,
        functions=list(inner.functions),
        doc_string="A graph from elsewhere, fitted to the contract.",
    )
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True), tuple(added)


def _add_inputs(
    builder: GraphBuilder, graph: ForeignGraph, pairs: Sequence[Pair], states: Sequence[StateTensor]
) -> list[str]:
    """tokens and states -> the inner graph's inputs."""
    added = []
    tokens = contract.TOKENS
    if not graph.time_major:
        tokens = builder.add("Transpose", [tokens], "tokens_by_row", perm=[1, 0])
        added.append("tokens transposed")
    kind = TensorProto.INT32 if graph.tokens.dtype == "int32" else TensorProto.INT64
    builder.add("Cast", [tokens], INNER + graph.tokens.name, to=kind)
    if graph.positions is not None:  # the wrapper picks the positions itself, from all of them
        length = builder.add("Shape", [contract.TOKENS], "length", start=0, end=1)
        count = builder.add("Squeeze", [length], "count")
        zero, one = (builder.constant(f"number_{n}", np.array(n, np.int64)) for n in (0, 1))
        builder.add("Range", [zero, count, one], INNER + graph.positions)
    first = builder.integers("first_axis", 0)
    name_of = {pair.input: state.input for pair, state in zip(pairs, states, strict=True)}
    for tensor in dict.fromkeys(lane.tensor for lane in graph.state_inputs):
        lanes = [lane for lane in graph.state_inputs if lane.tensor == tensor]
        if lanes[0].slice is None:
            builder.add("Identity", [name_of[lanes[0]]], INNER + tensor)
            continue
        parts = [builder.add("Unsqueeze", [name_of[lane], first], f"{name_of[lane]}_layer") for lane in lanes]
        builder.add("Concat", parts, INNER + tensor, axis=0)
        added.append(f"{tensor} stacked from its {len(lanes)} layers")
    return added


def _add_outputs(
    builder: GraphBuilder, graph: ForeignGraph, pairs: Sequence[Pair], states: Sequence[StateTensor]
) -> list[str]:
    """The inner graph's outputs -> next states and the distributions at the wanted positions."""
    for pair, state in zip(pairs, states, strict=True):
        if pair.output.slice is None:
            builder.add("Identity", [INNER + pair.output.tensor], state.output)
        else:
            index = builder.constant(f"layer_{pair.output.slice}", np.array(pair.output.slice, np.int64))
            builder.add("Gather", [INNER + pair.output.tensor, index], state.output, axis=0)
    kind = head_kind(graph)
    added = ["the choice of positions", "top-k"]
    values = INNER + graph.head
    if not graph.time_major:
        values = builder.add("Transpose", [values], "head_by_time", perm=[1, 0, 2])
    values = builder.add("Gather", [values, contract.POSITIONS], "wanted", axis=0)
    if kind == "probabilities":
        values = builder.add("Log", [values], "log_head")
    contract.add_distribution(builder, values, BYTES)
    if kind != "log-probabilities":
        added.append(f"log-softmax over the {kind}")
    return added
