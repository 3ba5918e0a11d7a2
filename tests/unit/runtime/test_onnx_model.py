"""The runtime on tiny real graphs: right results in any batch, and folders that cannot be served are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from model_export.folder import BuiltGraph, built_graph, write_folder
from model_export.graphs import fp32, int8
from model_export.weights import LanguageModelWeights, LstmLayer
from service.engine.ports import States
from service.model.manifest import Manifest, ModelFolderError, Precision, StateTensor, read_manifest
from service.runtime.onnx_model import load_model

UNITS = 24


def random_weights(layers: int = 2, seed: int = 0) -> LanguageModelWeights:
    generator = np.random.default_rng(seed)

    def uniform(*shape: int) -> NDArray[np.float32]:
        drawn: NDArray[np.float64] = generator.uniform(-2, 2, shape) / np.sqrt(shape[-1])
        return drawn.astype(np.float32)

    widths = [8] + [UNITS] * layers
    cells = tuple(
        LstmLayer(uniform(4 * UNITS, width), uniform(4 * UNITS, UNITS), uniform(4 * UNITS)) for width in widths[:layers]
    )
    return LanguageModelWeights(uniform(256, 8), cells, uniform(256, UNITS), uniform(256))


def write_model(folder: Path, *, states: tuple[StateTensor, ...] | None = None, weights: int = 0) -> Path:
    """A folder with both graphs of a random model; `states` replaces what the manifest says of fp32."""
    model = random_weights(seed=weights)
    graphs: dict[Precision, BuiltGraph] = {
        "fp32": built_graph("fp32", fp32.build(model), states or fp32.states(model)),
        "int8": built_graph("int8", int8.build(model), int8.states(model)),
    }
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


def test_a_graph_whose_quantization_looks_at_other_rows_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    quantize_dynamic(folder / "model.onnx", folder / "leaky.onnx", weight_type=QuantType.QInt8)
    leaky = (folder / "leaky.onnx").read_bytes()
    assert b"DynamicQuantizeLSTM" in leaky
    manifest = read_manifest(folder)
    built = built_graph("fp32", leaky, manifest.graphs["fp32"].states)
    write_folder(tmp_path / "leaky", manifest.model_copy(update={"graphs": {"fp32": built.entry}}), {"fp32": built})
    with pytest.raises(ModelFolderError, match="depends on the batch"):
        load_model(tmp_path / "leaky", "fp32")


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
