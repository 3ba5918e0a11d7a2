"""The exported graphs: equal to torch, equal to themselves in any batch and chunking, exact in their integers."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model_export import folder
from model_export.errors import ExportError, ParityError
from model_export.evaluation import evaluate
from model_export.graph_session import GraphSession, StateArrays, open_session
from model_export.graphs import contract, fp32, int8
from model_export.graphs.building import GraphBuilder, serialize, tensor
from model_export.graphs.calibration import calibrate
from model_export.graphs.quantization import HIDDEN_STEPS, WEIGHT_LIMIT, Inputs, QuantizedMatrix, quantize
from model_export.isolation import check_steps_equal_chunks
from model_export.language_model import LanguageModelConfig
from model_export.parity import check_against_torch
from service.model.manifest import Graph, Manifest
from tests.unit.model_export import tiny

BUILDERS = {"fp32": (fp32.build, fp32.states), "int8": (int8.build, int8.states)}


def _built(precision: str, config: LanguageModelConfig) -> folder.BuiltGraph:
    return folder.build_graphs(tiny.tensors(config).weights())["int8" if precision == "int8" else "fp32"]


def _name(config: LanguageModelConfig) -> str:
    return f"{config.layers}x{config.units}" + "-tied" * config.tied


@pytest.mark.parametrize("config", tiny.SHAPES, ids=_name)
def test_the_fp32_graph_agrees_with_torch_over_chained_steps_and_chunks(config: LanguageModelConfig) -> None:
    tensors = tiny.tensors(config)
    built = _built("fp32", config)
    result = check_against_torch(tensors, built.model, built.entry)
    assert result.steps >= 20 and result.chunks == 5
    assert result.largest_difference < 1e-4


@pytest.mark.parametrize("config", tiny.SHAPES, ids=_name)
@pytest.mark.parametrize("precision", BUILDERS)
def test_every_batch_and_chunking_gives_the_bits_of_the_row_alone(precision: str, config: LanguageModelConfig) -> None:
    """70 row counts, each with its own neighbours and cut: h, c and all probabilities after 24 tokens, bit for bit."""
    built = _built(precision, config)
    session = GraphSession(built.model, built.entry)
    generator = np.random.default_rng(1)
    tokens = generator.integers(0, 256, (24, 70))
    start = _extreme_states(built.entry, 70)
    alone = [_read(session, tokens[:, [row]], {n: v[[row]] for n, v in start.items()}, [1] * 24) for row in range(70)]
    for rows in range(1, 71):
        chosen = generator.permutation(70)[:rows]
        cut = int(generator.integers(1, 24))
        cuts = ([24], [cut, 24 - cut])[rows % 2]
        together = _read(session, tokens[:, chosen], {n: v[chosen] for n, v in start.items()}, cuts)
        for name, values in together.items():
            for place, row in enumerate(chosen):
                assert values[place].tobytes() == alone[row][name][0].tobytes(), (rows, cuts, name)


def _extreme_states(graph: Graph, rows: int) -> StateArrays:
    generator = np.random.default_rng(2)
    states: StateArrays = {}
    for state in graph.states:
        if state.dtype == "uint8":
            states[state.input] = generator.integers(1, 256, (rows, state.width)).astype(np.uint8)
        else:
            size = generator.choice([0.1, 1.0, 30.0, 1e30], (rows, 1)) if state.role == "cell" else 0.3
            states[state.input] = (generator.standard_normal((rows, state.width)) * size).astype(np.float32)
    return states


def _read(
    session: GraphSession, tokens: NDArray[np.int64], states: StateArrays, cuts: list[int]
) -> dict[str, NDArray[np.generic]]:
    """Feed the tokens in pieces; the last distribution and the states, each [rows, ...]."""
    start = 0
    for length in cuts:
        outcome = session.run(np.ascontiguousarray(tokens[start : start + length]), states, [-1])
        states, start = outcome.states, start + length
    last = {"log_probabilities": outcome.log_probabilities[0], "top_tokens": outcome.top_tokens[0]}
    assert np.isfinite(last["log_probabilities"]).all()
    return {**last, **states}


def test_int8_gives_the_same_bits_on_two_threads_as_on_one() -> None:
    built = _built("int8", LanguageModelConfig(layers=2, units=64, embedding=8))
    one, two = (GraphSession(built.model, built.entry, threads=threads) for threads in (1, 2))
    tokens = np.random.default_rng(3).integers(0, 256, (24, 33))
    start = _extreme_states(built.entry, 33)
    expected = _read(one, tokens, start, [1] * 24)
    for name, values in _read(two, tokens, start, [7, 17]).items():
        assert values.tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("precision", BUILDERS)
def test_the_same_weights_give_the_same_file(precision: str) -> None:
    config = tiny.SHAPES[1]
    assert _built(precision, config).model == _built(precision, config).model


@pytest.mark.parametrize("precision", BUILDERS)
def test_graphs_name_their_producer_and_hold_standard_operators_alone(precision: str) -> None:
    model = onnx.load_model_from_string(_built(precision, tiny.SHAPES[0]).model)
    assert model.producer_name == "carousel"
    assert {opset.domain for opset in model.opset_import} == {""}
    operators = {node.op_type for node in model.graph.node}
    assert ("LSTM" in operators) == (precision == "fp32")


@pytest.mark.parametrize("precision", BUILDERS)
def test_positions_choose_which_distributions_are_computed(precision: str) -> None:
    built = _built(precision, tiny.SHAPES[1])
    session = GraphSession(built.model, built.entry)
    tokens = np.random.default_rng(0).integers(0, 256, (6, 3))
    everything = session.run(tokens, session.initial_states(3), range(6))
    chosen = session.run(tokens, session.initial_states(3), [4, -1])
    assert chosen.log_probabilities.tobytes() == everything.log_probabilities[[4, 5]].tobytes()
    none = session.run(tokens, session.initial_states(3), [])
    assert none.log_probabilities.shape == (0, 3, 256)
    assert all(none.states[name].tobytes() == value.tobytes() for name, value in everything.states.items())


def test_top_tokens_are_the_best_first_and_ties_go_to_the_smaller() -> None:
    tensors = tiny.tensors(tiny.SHAPES[0])
    flat = dataclasses.replace(tensors, head=np.zeros_like(tensors.head), head_bias=np.zeros_like(tensors.head_bias))
    for built in folder.build_graphs(flat.weights()).values():
        session = GraphSession(built.model, built.entry)
        outcome = session.run(np.array([[65]]), session.initial_states(1), [0])
        assert outcome.top_tokens[0, 0].tolist() == list(range(16))
        assert outcome.top_log_probabilities[0, 0] == pytest.approx(np.log(1 / 256), abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from(["random", "largest", "alternating"]))
@settings(max_examples=30, deadline=None)
def test_integer_products_are_exact_at_the_extremes(seed: int, inputs: int, kind: str) -> None:
    """uint8 h less its zero point times +-64, against int64: also where the sums are as large as they can be."""
    generator = np.random.default_rng(seed)
    h = generator.integers(0, 256, (5, inputs * 16)).astype(np.uint8)
    values = generator.integers(-64, 65, (inputs * 16, 12)).astype(np.int8)
    if kind == "largest":
        h[:], values[:] = 255, 64
        h[0] = 0
    elif kind == "alternating":
        values[::2], values[1::2], h[:] = 64, -64, 255
    builder = GraphBuilder()
    builder.constant("weight", values)
    zero = builder.constant("zero", np.array(int8.ZERO_POINT, np.uint8))
    builder.add("MatMulInteger", ["h", "weight", zero], "sums")
    shapes = [tensor("h", "uint8", ["rows", h.shape[1]])], [tensor("sums", "int32", ["rows", 12])]
    session = open_session(serialize(builder.graph("product", *shapes), ""))
    (sums,) = session.run(None, {"h": h})
    assert (sums == (h.astype(np.int64) - int8.ZERO_POINT) @ values.astype(np.int64)).all()


def test_quantized_weights_stay_within_64_and_lose_less_than_plain_rounding() -> None:
    generator = np.random.default_rng(0)
    weights = generator.standard_normal((7, 333)).astype(np.float32)
    weights[3] = 0
    weights[4] = 1e-40
    weights[5, 0] = 30  # one large weight must not coarsen all others without need
    matrix = quantize(weights, Inputs.unknown(333))
    assert np.abs(matrix.values).max() == WEIGHT_LIMIT
    assert not matrix.values[:, 3].any() and np.isfinite(matrix.scale).all()
    plain = np.maximum(np.abs(weights).max(axis=1, keepdims=True) / WEIGHT_LIMIT, np.finfo(np.float32).tiny)
    loss = ((matrix.values.T * matrix.scale[:, None] - weights) ** 2).sum(axis=1)
    assert (loss <= ((np.rint(weights / plain) * plain - weights) ** 2).sum(axis=1) * 1.0001).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 300))
@settings(max_examples=25, deadline=None)
def test_errors_cancel_on_inputs_that_go_together(seed: int, outputs: int, width: int) -> None:
    """On inputs of few directions the products err less than with plain rounding, and not at all on average."""
    generator = np.random.default_rng(seed)
    weights = generator.standard_normal((outputs, width)).astype(np.float32)
    causes = generator.standard_normal((400, 3)) @ generator.standard_normal((3, width)) * 20
    h = np.rint(np.clip(causes + generator.standard_normal((400, width)) + 30, -127, 127))
    h[:, generator.random(width) < 0.1] = 0  # units that never fire
    inputs = Inputs(h.mean(axis=0), np.atleast_2d(np.cov(h.T, bias=True)))
    found, plain = quantize(weights, inputs), quantize(weights, Inputs.unknown(width))

    def errors(matrix: QuantizedMatrix) -> NDArray[np.float64]:
        products = h @ (matrix.values * matrix.scale.astype(np.float64)) / HIDDEN_STEPS
        return np.asarray(h @ weights.T.astype(np.float64) / HIDDEN_STEPS - products)

    np.testing.assert_allclose(errors(found).mean(axis=0), found.missing, atol=1e-4)
    assert np.abs(found.values).max() <= WEIGHT_LIMIT
    if width >= 30:
        assert errors(found).var(axis=0).sum() < errors(plain).var(axis=0).sum()


def test_a_model_that_predicts_nothing_finite_is_quantized_without_a_text_of_its_own() -> None:
    tensors = tiny.tensors(tiny.SHAPES[0])
    tensors.head[:] = 3e38
    calibration = calibrate(tensors.weights())
    assert all((inputs.covariance == np.eye(len(inputs.mean))).all() for inputs in calibration.inputs)
    assert calibration.likeliest_first.tolist() == list(range(256))


def test_int8_predicts_like_fp32() -> None:
    config = LanguageModelConfig(layers=2, units=64, embedding=16)
    tensors = tiny.tensors(config, scale=1.5)
    manifest = Manifest(name="tiny", top_k=16, graphs={"fp32": _built("fp32", config).entry})
    figures = {}
    for precision, (build, states) in BUILDERS.items():
        weights = tensors.weights()
        built = folder.built_graph("fp32", build(weights), states(weights))
        figures[precision] = evaluate(GraphSession(built.model, built.entry), manifest, tiny.corpus().train)
    assert figures["int8"].bits_per_byte == pytest.approx(figures["fp32"].bits_per_byte, rel=3e-3)


@pytest.mark.parametrize("wrong", ["gate order", "bias twice"])
def test_parity_fails_where_the_conversion_is_wrong(wrong: str) -> None:
    tensors = tiny.tensors(tiny.SHAPES[1])
    weights = tensors.weights()
    layer = weights.layers[1]
    if wrong == "gate order":
        broken = dataclasses.replace(layer, recurrent=np.roll(layer.recurrent, layer.units, axis=0))
    else:
        broken = dataclasses.replace(layer, bias=layer.bias * 2)
    weights = dataclasses.replace(weights, layers=(weights.layers[0], broken))
    built = folder.built_graph("fp32", fp32.build(weights), fp32.states(weights))
    with pytest.raises(ParityError, match="differs from torch"):
        check_against_torch(tensors, built.model, built.entry)


def test_a_graph_whose_rows_touch_each_other_is_found_out() -> None:
    """One scale over the whole batch, as DynamicQuantizeLSTM takes it."""
    weights = tiny.tensors(tiny.SHAPES[0]).weights()
    states = fp32.states(weights)
    model = onnx.load_model_from_string(fp32.build(weights))
    logits = next(node for node in model.graph.node if node.output[0] == "logits")
    logits.output[0] = "clean"
    leak = [
        onnx.helper.make_node("ReduceMax", ["clean"], ["largest"], keepdims=0),
        onnx.helper.make_node("Div", ["clean", "largest"], ["logits"]),
    ]
    place = list(model.graph.node).index(logits) + 1
    for number, node in enumerate(leak):
        model.graph.node.insert(place + number, node)
    built = folder.built_graph("fp32", model.SerializeToString(), states)
    with pytest.raises(ParityError, match="expected equal bits"):
        check_steps_equal_chunks(built.model, built.entry, 256)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["embedding", "head", "head_bias"])
def test_weights_that_are_no_numbers_are_refused_by_name(where: str, value: float) -> None:
    tensors = tiny.tensors(tiny.SHAPES[0])
    getattr(tensors, where).flat[3] = value
    with pytest.raises(ExportError, match=f"{where.replace('_', ' ')}: 1 of .* NaN or infinite"):
        tensors.weights()


def test_weights_too_large_for_float32_products_are_refused() -> None:
    tensors = tiny.tensors(tiny.SHAPES[0])
    tensors.embedding[:] = 3e38
    with pytest.raises(ExportError, match="overflows"):
        int8.build(tensors.weights())


def test_the_contract_pairs_every_state_by_name_role_and_layer() -> None:
    weights = tiny.tensors(tiny.SHAPES[2]).weights()
    states = int8.states(weights)
    assert [(s.input, s.output, s.role, s.layer, s.dtype, s.initial) for s in states[:2]] == [
        ("h0", "h0_out", "hidden", 0, "uint8", 128),
        ("c0", "c0_out", "cell", 0, "float32", 0),
    ]
    assert len(states) == 6
    assert contract.top_k(256) == 16 and contract.top_k(9) == 9
