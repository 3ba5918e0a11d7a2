"""The three ways in which the int8 graph runs: a single step, several steps with its own choices among them, a chunk.

Single step: every layer in turn, one product over [h from below, own h]. Follow: the same nodes as the body of one
`Scan` over the steps, which carries the states and the likeliest token. Chunk: layer by layer, the input product of all
tokens at once, then a `Scan` over the tokens that adds the recurrent product in int32, before the one Cast. So all
three compute the same sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto, TensorProto, ValueInfoProto

from model_export.graphs import contract
from model_export.graphs.building import GraphBuilder, tensor
from model_export.weights import LanguageModelWeights
from service.model.manifest import StateTensor


class Branch(GraphBuilder):
    """One branch of an `If`: its nodes, and the weights as constants of its own.

    `outputs` describes what every branch gives, under the names that the graph around it has for them.
    """

    def __init__(
        self, outer: GraphBuilder, name: str, weights: LanguageModelWeights, outputs: Sequence[ValueInfoProto]
    ) -> None:
        super().__init__(outer.constants, f"{name}_")
        self.name, self.weights = name, weights
        self.outputs = outputs
        self._weights: dict[str, str] = {}

    def weight(self, matrix: str, inputs: slice | None = None) -> str:
        """A weight, int8 [inputs, outputs], or the rows of it that belong to some of the inputs.

        onnxruntime packs a constant for the products of the graph that holds it and of the subgraphs right inside, no
        deeper, and at one row packed products are four times as fast. It also computes at load what follows from
        constants alone: so the file holds a matrix once, as [1, inputs, outputs], and each branch squeezes its own.
        """
        name = self.own(f"{matrix}_weight") + ("" if inputs is None else f"_{inputs.start}_{inputs.stop}")
        if name not in self._weights:
            source = f"{matrix}_weight"
            if inputs is not None:
                bounds = [self.integers(f"number_{n}", n) for n in (inputs.start, inputs.stop, 1)]
                source = self.add("Slice", [source, *bounds], f"{name}_part")
            self._weights[name] = self.add("Squeeze", [source, self.integers("first_axis", 0)], name)
        return self._weights[name]

    def leave_empty(self, output: ValueInfoProto) -> None:
        """Give an output without elements, as branches do for what they do not compute."""
        kind = output.type.tensor_type
        dimensions = [dimension.dim_value for dimension in kind.shape.dim]  # 0 where any size may stand
        empty = TensorProto(data_type=kind.elem_type, dims=dimensions, name=self.own(f"no_{output.name}"))
        self.add("Constant", [], self.own(output.name), value=empty)

    def whole(self) -> GraphProto:
        """The branch as a graph."""
        outputs = [_renamed(output, self.own(output.name)) for output in self.outputs]
        return self.graph(self.name, [], outputs, with_constants=False)


def add_choice(builder: GraphBuilder, flag: str, then: Branch, otherwise: Branch) -> None:
    """An `If` between two branches, whose results are the builder's own."""
    names = [builder.own(output.name) for output in then.outputs]
    builder.add("If", [flag], names, then_branch=then.whole(), else_branch=otherwise.whole())


def add_single_step(branch: Branch, states: Sequence[StateTensor]) -> None:
    """tokens [1, rows] -> the states after it and its tops."""
    first = branch.integers("first_axis", 0)
    token = branch.add("Squeeze", [contract.TOKENS, first], branch.own("token"))
    before, after = [state.input for state in states], [branch.own(state.output) for state in states]
    hidden = _add_layers(branch, branch, token, before, after)
    hidden = branch.add("Unsqueeze", [hidden, first], branch.own("hidden"))  # [1, rows, units]
    _add_head(branch, branch, hidden)
    for output in (contract.log_probabilities(branch.weights.vocabulary_size), *contract.followed_outputs(states)):
        branch.leave_empty(output)


def add_follow(branch: Branch, states: Sequence[StateTensor]) -> None:
    """tokens [steps, rows], negative where the row's likeliest is to be fed -> the states and tops of every step."""
    step, first = branch.subgraph("step"), branch.constant("first", np.array(0, np.int64))
    before = [tensor(step.own(state.input), state.dtype, ["rows", state.width]) for state in states]
    after = [tensor(step.own(state.output), state.dtype, ["rows", state.width]) for state in states]
    kept = [_renamed(value, f"{value.name}_kept") for value in after]
    likeliest, given, chosen = (tensor(step.own(n), "int64", ["rows"]) for n in ("likeliest", "given", "chosen"))
    k = contract.top_k(branch.weights.vocabulary_size)
    top = tensor(step.own(contract.TOP_LOG_PROBABILITIES), "float32", ["rows", k])
    top_tokens = tensor(step.own(contract.TOP_TOKENS), "int64", ["rows", k])

    free = step.add("Less", [given.name, first], step.own("free"))
    token = step.add("Where", [free, likeliest.name, given.name], step.own("token"))
    hidden = _add_layers(step, branch, token, [v.name for v in before], [v.name for v in after])
    _add_head(step, branch, hidden)
    step.add("Gather", [top_tokens.name, first], chosen.name, axis=1)
    for value, copy in zip(after, kept, strict=True):
        step.add("Identity", [value.name], copy.name)
    body = step.graph(
        step.own("body"),
        [likeliest, *before, given],
        [chosen, *after, *kept, top, top_tokens],
        with_constants=False,
    )

    start = branch.add("Gather", [contract.TOKENS, first], branch.own("start"), axis=0)
    carried = [branch.own("last_chosen"), *(branch.own(state.output) for state in states)]
    stacked = [*contract.followed_states(states), contract.TOP_LOG_PROBABILITIES, contract.TOP_TOKENS]
    results = carried + [branch.own(name) for name in stacked]
    branch.add("Scan", [start, *(s.input for s in states), contract.TOKENS], results, num_scan_inputs=1, body=body)
    branch.leave_empty(contract.log_probabilities(branch.weights.vocabulary_size))


def add_chunk(branch: Branch, states: Sequence[StateTensor]) -> None:
    """tokens [time, rows] -> the states after the last and the distributions at the wanted positions."""
    below = branch.add("Gather", ["token_table", contract.TOKENS], branch.own("layer0_from_below"))
    for number, layer in enumerate(branch.weights.layers):
        read = layer.inputs.shape[1]
        if number:
            weight = branch.weight(f"layer{number}", slice(0, read))
            below = branch.add("MatMulInteger", [below, weight, "h_zero"], branch.own(f"layer{number}_from_below"))
        own_weight = branch.weight(f"layer{number}", slice(read, read + layer.units) if number else None)
        outputs = [branch.own(name) for name in (f"h{number}_out", f"c{number}_out", f"layer{number}_hidden")]
        body = _layer_body(branch, number, layer.units, own_weight)
        branch.add("Scan", [f"h{number}", f"c{number}", below], outputs, num_scan_inputs=1, body=body)
        below = outputs[2]
    wanted = branch.add("Gather", [below, contract.POSITIONS], branch.own("wanted"), axis=0)  # uint8 [n, rows, units]
    ordered = _add_head(branch, branch, wanted)
    branch.add("Gather", [ordered, "places_of_tokens"], branch.own(contract.LOG_PROBABILITIES), axis=-1)
    for output in contract.followed_outputs(states):
        branch.leave_empty(output)


def _layer_body(branch: Branch, number: int, units: int, own_weight: str) -> GraphProto:
    """One token of one layer: (h, c, what comes from below) -> (h, c, h)."""
    body = branch.subgraph(f"layer{number}")
    h, h_after, hidden = (tensor(body.own(n), "uint8", ["rows", units]) for n in ("h", "h_after", "hidden"))
    c, c_after = (tensor(body.own(n), "float32", ["rows", units]) for n in ("c", "c_after"))
    below = tensor(body.own("below"), "int32" if number else "float32", ["rows", 4 * units])
    sums = body.add("MatMulInteger", [h.name, own_weight, "h_zero"], body.own("own_sums"))
    if number == 0:  # from below: the token's row of the table, float32
        gates = _add_scaled(body, sums, "layer0", below.name, "gates")
    else:  # from below: int32 sums, to be added before the Cast
        sums = body.add("Add", [below.name, sums], body.own("sums"))
        gates = _add_scaled(body, sums, f"layer{number}", f"layer{number}_bias", "gates")
    _add_cell(body, gates, c.name, h_after.name, c_after.name)
    body.add("Identity", [h_after.name], hidden.name)
    return body.graph(body.own("body"), [h, c, below], [h_after, c_after, hidden], with_constants=False)


def _add_layers(nodes: GraphBuilder, branch: Branch, token: str, before: Sequence[str], after: Sequence[str]) -> str:
    """All layers, one token; returns the top layer's h, uint8 [rows, units].

    token: int64 [rows].  before, after: the names of h0, c0, h1, c1, ... before and after it.
    """
    below = ""
    for number in range(len(branch.weights.layers)):
        h, c = before[2 * number : 2 * number + 2]
        h_after, c_after = after[2 * number : 2 * number + 2]
        name = f"layer{number}"
        if number == 0:
            read, addend = h, nodes.add("Gather", ["token_table", token], nodes.own("layer0_from_below"))
        else:
            read, addend = nodes.add("Concat", [below, h], nodes.own(f"{name}_reads"), axis=1), f"{name}_bias"
        sums = nodes.add("MatMulInteger", [read, branch.weight(name), "h_zero"], nodes.own(f"{name}_sums"))
        gates = _add_scaled(nodes, sums, name, addend, f"{name}_gates")
        _add_cell(nodes, gates, c, h_after, c_after)
        below = h_after
    return below


def _add_head(nodes: GraphBuilder, branch: Branch, hidden: str) -> str:
    """The likeliest tokens after `hidden`, uint8 [..., units]; returns all log-probabilities, likeliest token first."""
    sums = nodes.add("MatMulInteger", [hidden, branch.weight("head"), "h_zero"], nodes.own("logit_sums"))
    logits = _add_scaled(nodes, sums, "head", "head_bias", "logits")
    ordered = nodes.add("LogSoftmax", [logits], nodes.own("ordered"), axis=-1)
    k = nodes.integers("top_k", contract.top_k(branch.weights.vocabulary_size))
    tops = [nodes.own(name) for name in (contract.TOP_LOG_PROBABILITIES, "top_places")]
    nodes.add("TopK", [ordered, k], tops, axis=-1)
    nodes.add("Gather", ["likeliest_first", tops[1]], nodes.own(contract.TOP_TOKENS))
    return ordered


def _add_scaled(nodes: GraphBuilder, sums: str, name: str, addend: str, output: str) -> str:
    """int32 sums -> float32, scaled, plus the addend."""
    real = nodes.add("Cast", [sums], nodes.own(f"{output}_real"), to=TensorProto.FLOAT)
    scaled = nodes.add("Mul", [real, f"{name}_scale"], nodes.own(f"{output}_scaled"))
    return nodes.add("Add", [scaled, addend], nodes.own(output))


def _add_cell(nodes: GraphBuilder, gates: str, c: str, h_after: str, c_after: str) -> None:
    """c' = f * c + i * g, h' = o * tanh(c') (Gers et al. 2000); gates [rows, 4 * units] are i, o, f, g. h' is uint8."""
    name = gates.removesuffix("gates")
    parts = [f"{name}{gate}_sum" for gate in "iofg"]
    nodes.add("Split", [gates], parts, axis=1, num_outputs=4)
    i, o, f = (nodes.add("Sigmoid", [part], part.removesuffix("_sum")) for part in parts[:3])
    candidate = nodes.add("Tanh", [parts[3]], f"{name}candidate")
    kept = nodes.add("Mul", [f, c], f"{name}kept")
    written = nodes.add("Mul", [i, candidate], f"{name}written")
    nodes.add("Add", [kept, written], c_after)
    squashed = nodes.add("Tanh", [c_after], f"{name}squashed")
    h_real = nodes.add("Mul", [o, squashed], f"{name}h_real")
    nodes.add("QuantizeLinear", [h_real, "h_scale", "h_zero"], h_after)


def _renamed(value: ValueInfoProto, name: str) -> ValueInfoProto:
    renamed = ValueInfoProto()
    renamed.CopyFrom(value)
    renamed.name = name
    return renamed
