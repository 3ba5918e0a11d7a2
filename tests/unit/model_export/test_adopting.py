"""Someone's ONNX graph: paired by what its states do, found out where a pair is wrong, fitted to the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, compose, helper

from model_export.adopting.adopt import adopt
from model_export.errors import ExportError
from model_export.folder import built_graph
from model_export.graph_session import GraphSession
from model_export.graphs import fp32, int8
from model_export.graphs.building import GraphBuilder, tensor
from service.model.manifest import read_graph, read_manifest
from tests.unit.model_export import tiny

_CONFIG = tiny.SHAPES[2]  # three layers


def _ours() -> ModelProto:
    return onnx.load_model_from_string(fp32.build(tiny.tensors(_CONFIG).weights()))


def _save(model: ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def _renamed(names: dict[str, str]) -> ModelProto:
    """Our graph with other tensor names."""
    model = _ours()
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    return model


def _foreign(*, head: str = "logits", batch_first: bool = False) -> ModelProto:
    """As torch.onnx.export writes nn.LSTM: states stacked over layers, no positions, no top-k."""
    weights = tiny.tensors(_CONFIG).weights()
    layers, units = len(weights.layers), weights.layers[0].units
    inner = compose.add_prefix(_ours(), "x/")
    builder = GraphBuilder({c.name: c for c in inner.graph.initializer})
    tokens = builder.add("Transpose", ["ids"], "by_time", perm=[1, 0]) if batch_first else "ids"
    builder.add("Identity", [tokens], "x/tokens")
    length = builder.add("Squeeze", [builder.add("Shape", [tokens], "shape", start=0, end=1)], "length")
    zero, one = (builder.constant(f"n{n}", np.array(n, np.int64)) for n in (0, 1))
    builder.add("Range", [zero, length, one], "x/positions")
    axis = builder.integers("axis", 0)
    for letter in "hc":
        parts = [f"x/{letter}{layer}" for layer in range(layers)]
        builder.add("Split", [f"{letter}n"], [f"{part}_one" for part in parts], axis=0, num_outputs=layers)
        for part in parts:
            builder.add("Squeeze", [f"{part}_one", axis], part)
    builder.nodes.extend(inner.graph.node)
    for letter in "hc":
        parts = [
            builder.add("Unsqueeze", [f"x/{letter}{layer}_out", axis], f"{letter}{layer}_up") for layer in range(layers)
        ]
        builder.add("Concat", parts, f"{letter}n_next", axis=0)
    source = {"logits": "x/logits", "log-probabilities": "x/log_probabilities", "probabilities": "probabilities"}[head]
    if head == "probabilities":
        builder.add("Exp", ["x/log_probabilities"], "probabilities")
    if batch_first:
        builder.add("Transpose", [source], "head", perm=[1, 0, 2])
    else:
        builder.add("Identity", [source], "head")
    stacked: list[int | str] = [layers, "rows", units]
    graph = builder.graph(
        "foreign",
        [tensor("ids", "int64", ["a", "b"]), *(tensor(f"{letter}n", "float32", stacked) for letter in "ch")],
        [
            tensor("head", "float32", ["a", "b", 256]),
            *(tensor(f"{letter}n_next", "float32", stacked) for letter in "ch"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_a_graph_of_our_contract_is_adopted_as_it_is(tmp_path: Path) -> None:
    data = fp32.build(tiny.tensors(_CONFIG).weights())
    (tmp_path / "m.onnx").write_bytes(data)
    result = adopt(tmp_path / "m.onnx", tmp_path / "out")
    assert result.added == () and result.broken_promise is None
    manifest = read_manifest(tmp_path / "out")
    assert read_graph(tmp_path / "out", manifest.graphs["fp32"]) == data
    assert manifest.graphs["fp32"].states == fp32.states(tiny.tensors(_CONFIG).weights())


def test_an_int8_graph_is_adopted_with_its_uint8_states(tmp_path: Path) -> None:
    weights = tiny.tensors(_CONFIG).weights()
    (tmp_path / "m.onnx").write_bytes(int8.build(weights))
    result = adopt(tmp_path / "m.onnx", tmp_path / "out")
    assert result.manifest.graphs["int8"].states == int8.states(weights)


@pytest.mark.parametrize("head", ["logits", "log-probabilities", "probabilities"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_graph_from_elsewhere_is_wrapped_and_gives_what_ours_gives(
    tmp_path: Path, head: str, batch_first: bool
) -> None:
    result = adopt(_save(_foreign(head=head, batch_first=batch_first), tmp_path / "m.onnx"), tmp_path / "out")
    assert "top-k" in result.added and result.broken_promise is None
    weights = tiny.tensors(_CONFIG).weights()
    ours = built_graph("fp32", fp32.build(weights), fp32.states(weights))
    entry = result.manifest.graphs["fp32"]
    sessions = GraphSession(ours.model, ours.entry), GraphSession(read_graph(tmp_path / "out", entry), entry)
    tokens = np.random.default_rng(0).integers(0, 256, (9, 4))
    expected, found = (session.run(tokens, session.initial_states(4), [2, -1]) for session in sessions)
    assert np.allclose(found.log_probabilities, expected.log_probabilities, atol=1e-5)
    for name, value in expected.states.items():
        assert np.allclose(found.states[name], value, atol=1e-6), name


def test_outputs_whose_names_lie_are_paired_by_what_they_do(tmp_path: Path) -> None:
    """h and c of layer 1 swapped by name, and layers 0 and 2: all of one shape, so nothing but behaviour tells."""
    lies = {"h1_out": "c1_out", "c1_out": "h1_out", "h0_out": "h2_out", "h2_out": "h0_out"}
    path = _save(_renamed(lies), tmp_path / "m.onnx")
    result = adopt(path, tmp_path / "out")
    assert {str(p.input): str(p.output) for p in result.pairs} == {
        "h0": "h2_out",
        "c0": "c0_out",
        "h1": "c1_out",
        "c1": "h1_out",
        "h2": "h0_out",
        "c2": "c2_out",
    }


@pytest.mark.parametrize("pair", [("h0", "c0_out"), ("h0", "h1_out"), ("c2", "c1_out")])
def test_a_wrong_pair_is_refused_with_the_right_one(tmp_path: Path, pair: tuple[str, str]) -> None:
    path = _save(_ours(), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=f"--pair {pair[0]}={pair[1]} is wrong.*--pair {pair[0]}={pair[0]}_out"):
        adopt(path, tmp_path / "out", pairs=dict([pair]))
    assert not (tmp_path / "out").exists()


def _two_towers() -> ModelProto:
    """Two one-layer networks side by side: their states are alike in everything that a probe sees."""
    builder = GraphBuilder()
    table = builder.constant("table", np.random.default_rng(0).standard_normal((256, 4)).astype(np.float32))
    weight = builder.constant("weight", np.random.default_rng(1).standard_normal((4, 256)).astype(np.float32))
    embedded = builder.add("Gather", [table, "tokens"], "embedded")
    total = builder.add("CumSum", [embedded, builder.constant("zero", np.array(0, np.int64))], "total")
    values = embedded
    for name in "ab":
        values = builder.add("Add", [total, name], f"{name}_all")
        builder.add("Gather", [values, builder.constant("last", np.array(-1, np.int64))], f"{name}_next", axis=0)
    both = builder.add("Add", ["a_all", "b_all"], "both")
    builder.add("MatMul", [both, weight], "head")
    graph = builder.graph(
        "towers",
        [tensor("tokens", "int64", ["time", "rows"]), *(tensor(n, "float32", ["rows", 4]) for n in "ab")],
        [
            tensor("head", "float32", ["time", "rows", 256]),
            *(tensor(f"{n}_next", "float32", ["rows", 4]) for n in "ab"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_states_that_cannot_be_told_apart_ask_for_flags(tmp_path: Path) -> None:
    path = _save(_two_towers(), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="ambiguous; give --pair a=OUTPUT --pair b=OUTPUT with outputs among a_next"):
        adopt(path, tmp_path / "out")
    result = adopt(path, tmp_path / "out", pairs={"a": "a_next", "b": "b_next"})
    assert {str(p.input): str(p.output) for p in result.pairs} == {"a": "a_next", "b": "b_next"}


def test_states_that_do_not_chain_are_refused(tmp_path: Path) -> None:
    """The head adds the length of the chunk, which no state carries."""
    model = _foreign()
    head = next(node for node in model.graph.node if node.output[0] == "head")
    head.output[0] = "honest"
    cast = helper.make_node("Cast", ["length"], ["real_length"], to=TensorProto.FLOAT)
    wave = helper.make_node("Mul", ["honest", "real_length"], ["head"])
    place = list(model.graph.node).index(head) + 1
    model.graph.node.insert(place, cast)
    model.graph.node.insert(place + 1, wave)
    with pytest.raises(ExportError, match="do not chain"):
        adopt(_save(model, tmp_path / "m.onnx"), tmp_path / "out")


def _without_states(model: ModelProto) -> None:
    del model.graph.output[1:]


def _old_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 11


def _unknown_domain(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _external_data(model: ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def _broken_weights(model: ModelProto) -> None:
    big = max(model.graph.initializer, key=lambda constant: len(constant.raw_data))
    big.raw_data = np.full(len(big.raw_data) // 4, np.nan, np.float32).tobytes()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_states, "states go in and 0 come out"),
        (_old_opset, "opset 13 or later"),
        (_unknown_domain, "com.example"),
        (_external_data, "outside of the file"),
        (_broken_weights, "NaN"),
    ],
)
def test_a_graph_that_cannot_be_served_is_refused(
    tmp_path: Path, damage: Callable[[ModelProto], None], message: str
) -> None:
    model = _foreign()
    damage(model)
    with pytest.raises(ExportError, match=message):
        adopt(_save(model, tmp_path / "m.onnx"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08not onnx at all")
    with pytest.raises(ExportError):
        adopt(tmp_path / "m.onnx", tmp_path / "out")
    with pytest.raises(ExportError, match="cannot be read"):
        adopt(tmp_path / "none.onnx", tmp_path / "out")


@pytest.mark.parametrize(
    "flags", [{"tokens": "none"}, {"head": "none"}, {"pairs": {"hn": "none"}}, {"pairs": {"x": "y"}}]
)
def test_flags_that_name_no_tensor_are_refused_with_the_list(tmp_path: Path, flags: dict[str, object]) -> None:
    path = _save(_foreign(), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match=r"Inputs: ids int64 \[\?, \?\]"):
        adopt(path, tmp_path / "out", **flags)  # type: ignore[arg-type]  # the flags differ in type
