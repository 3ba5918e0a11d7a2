"""The runtime on tiny real graphs: right results in any batch, and folders that cannot be served are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from model_export.folder import build_graphs, built_graph, write_folder
from model_export.graphs import contract, fp32, int8
from model_export.graphs.building import GraphBuilder, serialize
from model_export.weights import LanguageModelWeights, LstmLayer
from service.engine.following import follow_by_steps
from service.engine.ports import LIKELIEST, ModelError, States
from service.engine.reading import read_by_steps
from service.model.manifest import (
    Following,
    Manifest,
    ModelFolderError,
    Precision,
    StateTensor,
    read_manifest,
    write_manifest,
)
from service.runtime.onnx_model import load_model
from service.runtime.promise import draw_texts

UNITS = 24


def random_weights(layers: int = 2, seed: int = 0, scale: float = 2.0) -> LanguageModelWeights:
    generator = np.random.default_rng(seed)

    def uniform(*shape: int) -> NDArray[np.float32]:
        drawn: NDArray[np.float64] = generator.uniform(-scale, scale, shape) / np.sqrt(shape[-1])
        return drawn.astype(np.float32)

    widths = [8] + [UNITS] * layers
    cells = tuple(
        LstmLayer(uniform(4 * UNITS, width), uniform(4 * UNITS, UNITS), uniform(4 * UNITS)) for width in widths[:layers]
    )
    return LanguageModelWeights(uniform(256, 8), cells, uniform(256, UNITS), uniform(256))


def write_model(folder: Path, *, states: tuple[StateTensor, ...] | None = None, weights: int = 0) -> Path:
    """A folder with both graphs of a random model; `states` replaces what the manifest says of fp32."""
    model = random_weights(seed=weights)
    graphs = build_graphs(model)
    if states is not None:
        graphs["fp32"] = built_graph("fp32", graphs["fp32"].model, states)
    manifest = Manifest(name="tiny", top_k=16, graphs={name: built.entry for name, built in graphs.items()})
    write_folder(folder, manifest, graphs)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_row_ends_in_the_same_bits_in_any_batch_and_chunking(tmp_path: Path, precision: Precision) -> None:
    model = load_model(write_model(tmp_path / "m"), precision)
    generator = np.random.default_rng(1)
    tokens = generator.integers(0, 255, (30, 17))
    together = model.step(tokens, model.initial_states(17), all_probabilities=True)
    for row in range(17):
        states: States = model.initial_states(1)
        for chunk in np.array_split(tokens[:, row : row + 1], generator.integers(1, 12)):
            alone = model.step(chunk, states, all_probabilities=True)
            states = alone.states
        for mine, theirs in zip(alone.states, together.states, strict=True):
            assert mine[0].tobytes() == theirs[row].tobytes()
        assert alone.log_probabilities is not None and together.log_probabilities is not None
        assert alone.log_probabilities[0].tobytes() == together.log_probabilities[row].tobytes()
        np.testing.assert_array_equal(alone.top_tokens[0], together.top_tokens[row])


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_following_gives_the_bits_of_single_steps_at_every_row_count_and_length(
    tmp_path: Path, precision: Precision
) -> None:
    """1 to 70 rows, 1 to 17 steps, half of the tokens the model's own choice, every other row from a huge state."""
    model = load_model(write_model(tmp_path / "m"), precision)
    generator = np.random.default_rng(2)
    starts = draw_texts(model, 70, generator).states
    for rows in range(1, 71):
        steps = (rows - 1) % 17 + 1
        chosen = generator.permutation(70)[:rows]
        states: States = [state[chosen] for state in starts]
        tokens = generator.integers(0, 256, (steps, rows))
        tokens[1:][generator.random((steps - 1, rows)) < 0.5] = LIKELIEST
        found, expected = model.follow(tokens, states), follow_by_steps(model, tokens, states)
        for mine, theirs in zip(found.states, expected.states, strict=True):
            assert mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes(), (rows, steps)
        assert found.top_log_probabilities.tobytes() == expected.top_log_probabilities.tobytes()
        assert found.top_tokens.tobytes() == expected.top_tokens.tobytes()
        ends = model.follow(tokens, states, ends_only=True).states
        assert [state.tobytes() for state in ends] == [state[-1:].tobytes() for state in expected.states]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_reading_gives_the_bits_of_single_steps_at_every_row_count_and_length(
    tmp_path: Path, precision: Precision
) -> None:
    """1 to 70 rows, 1 to 17 tokens, every other row from a huge state; the head is what the distribution says."""
    model = load_model(write_model(tmp_path / "m"), precision)
    generator = np.random.default_rng(3)
    starts = draw_texts(model, 70, generator).states
    for rows in range(1, 71):
        chosen = generator.permutation(70)[:rows]
        states: States = [state[chosen] for state in starts]
        tokens = generator.integers(0, 256, ((rows - 1) % 17 + 1, rows))
        found, expected = model.read(tokens, states), read_by_steps(model, tokens, states)
        for mine, theirs in zip(found.states, expected.states, strict=True):
            assert mine.tobytes() == theirs.tobytes(), rows
        for name in ("log_probabilities", "top_log_probabilities", "top_tokens"):
            assert getattr(found, name).shape == getattr(expected, name).shape
            assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), (rows, name)
        likeliest = np.take_along_axis(found.log_probabilities, found.top_tokens, axis=2)
        assert likeliest.tobytes() == found.top_log_probabilities.tobytes()
        followed = model.follow(tokens, states)  # and so is the head of a step, which leaves the distribution out
        assert followed.top_log_probabilities.tobytes() == found.top_log_probabilities.tobytes()


def test_following_hands_out_states_that_later_calls_leave_alone(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path / "m"))
    tokens = np.full((8, 64), LIKELIEST)
    tokens[0] = 65
    first = model.follow(tokens, model.initial_states(64))
    kept = [state.copy() for state in first.states]
    for _ in range(3):
        model.follow(np.abs(tokens), [state[-1] for state in first.states])
        model.step(tokens[:1], model.initial_states(64))
    assert all(state.tobytes() == copy.tobytes() for state, copy in zip(first.states, kept, strict=True))


def test_following_from_a_state_of_nan_is_refused_or_gives_probabilities(tmp_path: Path) -> None:
    """int8 rounds h to a whole number whatever it is, so nothing that is no number comes near the head."""
    folder, tokens = write_model(tmp_path / "m"), np.array([[1, 2], [LIKELIEST, 3]])
    for precision in ("fp32", "int8"):
        model = load_model(folder, precision)
        states = [np.full(s.shape, np.nan, s.dtype) if s.dtype == np.float32 else s for s in model.initial_states(2)]
        if precision == "fp32":
            with pytest.raises(ModelError, match="not finite"):
                model.follow(tokens, states)
        else:
            assert np.isfinite(model.follow(tokens, states).top_log_probabilities).all()


def test_a_folder_that_knows_no_single_steps_and_no_following_gives_the_same(tmp_path: Path) -> None:
    """Folders that were written before there were such ways, and graphs from elsewhere."""
    folder = write_model(tmp_path / "m")
    new, manifest = load_model(folder), read_manifest(folder)
    old = manifest.graphs["int8"].model_copy(update={"single_step": None, "follow": None})
    write_manifest(folder, manifest.model_copy(update={"graphs": {**manifest.graphs, "int8": old}}))
    plain = load_model(folder)
    tokens = np.array([[65, 66], [LIKELIEST, 67], [LIKELIEST, LIKELIEST]])
    for one, other in (
        (plain.follow(tokens, plain.initial_states(2)), new.follow(tokens, new.initial_states(2))),
        (plain.step(tokens[:1], plain.initial_states(2)), new.step(tokens[:1], new.initial_states(2))),
    ):
        assert [state.tobytes() for state in one.states] == [state.tobytes() for state in other.states]
        assert one.top_tokens.tobytes() == other.top_tokens.tobytes()
    assert plain.identity.numerics_id == new.identity.numerics_id


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"single_step": "one_step"}, "no optional input 'one_step'"),
        ({"follow": Following(flag="lead", states=("h0_steps", "c0_steps", "h1_steps", "c1_steps"))}, "input 'lead'"),
        ({"follow": Following(flag="follow", states=("h0_steps", "c0_steps"))}, "4 states need as many outputs"),
        ({"follow": Following(flag="follow", states=("h0_steps",) * 4)}, "each with a name of its own"),
        ({"follow": Following(flag="follow", states=("h0_steps", "c0", "h1_steps", "c1_steps"))}, "no output 'c0'"),
        ({"follow": Following(flag="follow", states=("c0_steps", "h0_steps", "h1_steps", "c1_steps"))}, "says uint8"),
        ({"follow": Following(flag="follow", states=("h1_steps", "c0_steps", "h0_steps", "c1_steps"))}, "differs"),
    ],
)
def test_a_manifest_that_tells_the_ways_to_run_wrongly_is_refused(
    tmp_path: Path, change: dict[str, object], named: str
) -> None:
    folder = write_model(tmp_path / "m")
    manifest = read_manifest(folder)
    wrong = manifest.graphs["int8"].model_copy(update=change)
    write_manifest(folder, manifest.model_copy(update={"graphs": {"int8": wrong}}))
    with pytest.raises(ModelFolderError, match=named):
        load_model(folder)


def test_the_top_of_the_distribution_is_its_top(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path / "m"))
    result = model.step(np.array([[255, 65]]), model.initial_states(2), all_probabilities=True)
    assert result.log_probabilities is not None
    np.testing.assert_allclose(np.exp(result.log_probabilities.astype(np.float64)).sum(axis=1), 1.0, atol=1e-5)
    for row in range(2):
        expected = np.argsort(-result.log_probabilities[row], kind="stable")[: model.top_k]
        np.testing.assert_array_equal(result.top_tokens[row], expected)


def test_int8_is_the_default_and_each_graph_has_a_numerics_id_of_its_own(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    default, exact, again = load_model(folder), load_model(folder, "fp32"), load_model(folder)
    assert default.shapes[0].dtype == np.uint8
    assert default.identity == again.identity
    assert default.identity.digest == exact.identity.digest
    assert default.identity.numerics_id != exact.identity.numerics_id


def test_swapped_state_tensors_are_noticed_by_the_probe(tmp_path: Path) -> None:
    model = random_weights()
    h0, c0, *rest = fp32.states(model)
    swapped = (h0.model_copy(update={"output": c0.output}), c0.model_copy(update={"output": h0.output}), *rest)
    folder = write_model(tmp_path / "m", states=swapped)
    with pytest.raises(ModelFolderError, match="fed back to its own input"):
        load_model(folder, "fp32")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"input": "h9"}, "no input 'h9'"),
        ({"output": "h9_out"}, "no output 'h9_out'"),
        ({"width": UNITS + 1}, f"width {UNITS}"),
        ({"dtype": "uint8"}, "tensor\\(float\\)"),
    ],
)
def test_a_state_tensor_that_does_not_match_is_named(tmp_path: Path, change: dict[str, object], named: str) -> None:
    first, *rest = fp32.states(random_weights())
    folder = write_model(tmp_path / "m", states=(first.model_copy(update=change), *rest))
    with pytest.raises(ModelFolderError, match=named):
        load_model(folder, "fp32")


def test_an_input_that_the_manifest_does_not_name_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", states=fp32.states(random_weights())[:-1])
    with pytest.raises(ModelFolderError, match="does not name"):
        load_model(folder, "fp32")


def write_leaky_model(folder: Path) -> Path:
    """A folder whose graph is what onnxruntime's quantize_dynamic makes of a random model's fp32 graph."""
    healthy = write_model(folder / "healthy")
    quantize_dynamic(healthy / "model.onnx", folder / "leaky.onnx", weight_type=QuantType.QInt8)
    leaky = (folder / "leaky.onnx").read_bytes()
    assert b"DynamicQuantizeLSTM" in leaky
    manifest = read_manifest(healthy)
    built = built_graph("int8", leaky, manifest.graphs["fp32"].states)
    write_folder(folder / "leaky", manifest.model_copy(update={"graphs": {"int8": built.entry}}), {"int8": built})
    return folder / "leaky"


def test_a_graph_whose_quantization_looks_at_other_rows_is_refused(tmp_path: Path) -> None:
    folder = write_leaky_model(tmp_path)
    with pytest.raises(ModelFolderError, match="depends on the batch") as refusal:
        load_model(folder)
    for named in ("DynamicQuantizeLSTM", "--allow-batch-dependent", "carousel export"):
        assert named in str(refusal.value)


def test_it_is_served_where_that_is_allowed_and_says_what_it_does(tmp_path: Path) -> None:
    model = load_model(write_leaky_model(tmp_path), allow_batch_dependent=True)
    assert model.batch_dependence is not None and "what another is shown" in model.batch_dependence
    assert load_model(tmp_path / "healthy", allow_batch_dependent=True).batch_dependence is None


def rnn_graph(units: int, generator: np.random.Generator) -> bytes:
    """A language model of the RNN operator, which pads a lone row and so computes it otherwise than a row of many."""
    builder = GraphBuilder()

    def uniform(*shape: int) -> NDArray[np.float32]:
        drawn: NDArray[np.float64] = generator.uniform(-1, 1, shape)
        return drawn.astype(np.float32)

    builder.add("Gather", [builder.constant("embedding", uniform(256, 37)), "tokens"], "x")
    builder.constant("W", uniform(1, units, 37))
    builder.constant("R", uniform(1, units, units))
    axis, directions = builder.integers("axis", 0), builder.integers("directions", 1)
    builder.add("Unsqueeze", ["h0", axis], "h0_in")
    builder.add("RNN", ["x", "W", "R", "", "", "h0_in"], ["y", "y_h"], hidden_size=units)
    builder.add("Squeeze", ["y_h", axis], "h0_out")
    builder.add("Squeeze", ["y", directions], "hidden")
    builder.add("Gather", ["hidden", "positions"], "wanted", axis=0)
    builder.add("MatMul", ["wanted", builder.constant("head", uniform(units, 256))], "logits")
    contract.add_distribution(builder, "logits", 256)
    (state,) = rnn_states(units)
    return serialize(builder.graph("rnn", contract.inputs([state]), contract.outputs([state], 256)), "")


def rnn_states(units: int) -> list[StateTensor]:
    return [StateTensor(input="h0", output="h0_out", role="hidden", layer=0, dtype="float32", width=units, initial=0.0)]


def test_the_rnn_operator_which_treats_a_lone_row_otherwise_is_recognized(tmp_path: Path) -> None:
    built = built_graph("fp32", rnn_graph(100, np.random.default_rng(0)), rnn_states(100))
    write_folder(tmp_path / "m", Manifest(name="rnn", top_k=16, graphs={"fp32": built.entry}), {"fp32": built})
    with pytest.raises(ModelFolderError, match="depends on the batch"):
        load_model(tmp_path / "m")


def test_a_manifest_that_claims_int8_and_holds_fp32_is_refused(tmp_path: Path) -> None:
    weights = random_weights()
    for states in (fp32.states(weights), int8.states(weights)):
        built = built_graph("int8", fp32.build(weights), states)
        write_folder(tmp_path / "m", Manifest(name="tiny", top_k=16, graphs={"int8": built.entry}), {"int8": built})
        with pytest.raises(ModelFolderError, match="multiplies no integers"):
            load_model(tmp_path / "m")


def test_all_zero_rows_and_layers_give_right_answers(tmp_path: Path) -> None:
    weights = random_weights()
    first, second = weights.layers
    zeros = LstmLayer(np.zeros_like(second.inputs), np.zeros_like(second.recurrent), np.zeros_like(second.bias))
    some = first.recurrent.copy()
    some[::3] = 0
    model = replace(weights, layers=(replace(first, recurrent=some), zeros))
    graphs = build_graphs(model)
    manifest = Manifest(name="tiny", top_k=16, graphs={name: built.entry for name, built in graphs.items()})
    write_folder(tmp_path / "m", manifest, graphs)
    tokens = np.random.default_rng(0).integers(0, 256, (24, 3))
    for precision in graphs:
        loaded = load_model(tmp_path / "m", precision)
        found = loaded.step(tokens, loaded.initial_states(3), all_probabilities=True).log_probabilities
        assert found is not None
        head = weights.head_bias.astype(np.float64)  # the layer of zeros says nothing: what is left is the bias
        expected = head - np.log(np.exp(head).sum())
        np.testing.assert_allclose(found, np.tile(expected, (3, 1)), atol=1e-5)


def test_weights_with_nan_are_refused_at_load(tmp_path: Path) -> None:
    """The export refuses them too; this is a file that came from elsewhere."""
    weights = random_weights()
    graph = onnx.load_from_string(fp32.build(weights))
    for constant in graph.graph.initializer:
        if constant.data_type == onnx.TensorProto.FLOAT:
            constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant) * np.nan, constant.name))
    built = built_graph("fp32", graph.SerializeToString(), fp32.states(weights))
    write_folder(tmp_path / "m", Manifest(name="nan", top_k=16, graphs={"fp32": built.entry}), {"fp32": built})
    with pytest.raises(ModelFolderError, match="not finite"):
        load_model(tmp_path / "m")


def test_a_precision_that_is_not_there_and_a_file_that_is_no_graph_are_refused(tmp_path: Path) -> None:
    built = built_graph("fp32", b"garbage", fp32.states(random_weights()))
    write_folder(tmp_path / "m", Manifest(name="tiny", top_k=16, graphs={"fp32": built.entry}), {"fp32": built})
    with pytest.raises(ModelFolderError, match="no int8 graph, only fp32"):
        load_model(tmp_path / "m", "int8")
    with pytest.raises(ModelFolderError, match="not a graph"):
        load_model(tmp_path / "m")
