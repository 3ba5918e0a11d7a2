"""Models of numbers: what the lab exports is loaded and keeps the promise; what does not fit is refused in words."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from model_export.errors import ExportError, ParityError
from model_export.graph_of_series import check_series_steps_equal_chunks
from model_export.lab import series_folder
from model_export.lab.series import SeriesConfig, SeriesNetwork
from service.engine.ports import States
from service.model.manifest import MANIFEST_FILE, ModelFolderError, read_manifest
from service.model.series_manifest import SeriesManifest, read_any_manifest
from service.runtime.series_model import load_series_model
from service.runtime.series_promise import check_series_promise
from service.settings import ModelConfig
from service.tensor_serving import load_tensor_model

_LAB = Path(__file__).resolve().parents[3] / "models" / "lab"


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "peephole-lstm", "layer-norm-lstm", "feed-forward"])
def test_any_causal_cell_reads_numbers_and_keeps_the_promise(cell: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = SeriesNetwork(SeriesConfig(cell=cell, units=6, layers=2, mean=3.0, scale=7.0))
    series_folder.save(network, tmp_path, name=cell, what="sold", step="month")
    model = load_series_model(tmp_path)
    assert (model.width, model.names, model.step) == (1, ("sold",), "month")
    assert check_series_promise(model, rounds=2, seed=5) is None
    values = np.linspace(-5, 20, 24, dtype=np.float32).reshape(-1, 1, 1)
    said, _ = model.read_chunk(values, model.initial_states(1))
    loaded = series_folder.load(tmp_path)
    with torch.no_grad():
        expected, _ = loaded(torch.from_numpy(values), loaded.initial(1))
    np.testing.assert_allclose(said, expected.numpy(), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("cell", ["lstm", "gru", "layer-norm-lstm"])
def test_inspect_onnx_tells_every_signal_of_a_series_that_is_cut_in_two(cell: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = SeriesNetwork(SeriesConfig(cell=cell, units=5, layers=2, mean=3.0, scale=7.0))
    inspect = series_folder.save(network, tmp_path, name=cell, what="sold", step="month").inspect
    assert inspect is not None
    session = onnxruntime.InferenceSession(tmp_path / inspect.file)
    values = np.linspace(-5, 20, 24, dtype=np.float32).reshape(-1, 1, 1)
    states = {s.input: np.full((1, s.width), s.initial, s.dtype) for s in inspect.states}
    names = [one.output for one in inspect.signals]
    told: list[list[NDArray[np.float32]]] = []
    for part in (values[:7], values[7:]):
        told.append(session.run(names, {inspect.values: part, **states}))
        ends = session.run([s.output for s in inspect.states], {inspect.values: part, **states})
        states = {s.input: end for s, end in zip(inspect.states, ends, strict=True)}
    _, watched = network.watch(torch.from_numpy(values))
    for signal, first, second in zip(inspect.signals, *told, strict=True):
        wanted = watched[signal.layer][signal.letter].numpy()
        np.testing.assert_allclose(np.concatenate([first, second]), wanted, atol=1e-4)


def test_the_shipped_series_has_inspect_onnx_of_its_own_network() -> None:
    manifest, network = read_any_manifest(_LAB / "season"), series_folder.load(_LAB / "season")
    assert isinstance(manifest, SeriesManifest) and manifest.inspect is not None
    file = _LAB / "season" / manifest.inspect.file
    assert hashlib.sha256(file.read_bytes()).hexdigest() == manifest.inspect.sha256
    values = np.linspace(0, 200, 30, dtype=np.float32).reshape(-1, 1, 1)
    states = {s.input: np.full((1, s.width), s.initial, s.dtype) for s in manifest.inspect.states}
    (c,) = onnxruntime.InferenceSession(file).run(["layer0_c"], {manifest.inspect.values: values, **states})
    _, (watched,) = network.watch(torch.from_numpy(values))
    np.testing.assert_allclose(c, watched["c"].numpy(), atol=1e-3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(_LAB / "season", tmp_path / "season"))


def _edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / MANIFEST_FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(width=2, names=[]), "has width 1, manifest.json says 2"),
        (lambda d: d.update(width=0), "width: 0 is not from 1"),
        (lambda d: d.update(names=["a", "b"]), "names: 2 names for 1 numbers of a step"),
        (lambda d: d.update(graphs={}), "there is no such field"),
        (lambda d: d.update(example=[1.0, float("nan")]), "example: not whole steps of 1 finite numbers"),
        (lambda d: d.update(width=2, names=[], example=[1.0, 2.0, 3.0]), "example: not whole steps of 2 finite"),
        (lambda d: d.update(format=3), "format: 3 is not one of 2"),
        (lambda d: d["graph"].update(expected="forecast"), "has no output 'forecast'"),
        (lambda d: d["graph"].update(sha256="0" * 64), "the file was changed"),
        (lambda d: d["graph"]["states"].pop(), "wants inputs that manifest.json does not name: c0"),
        (lambda d: d["graph"]["states"][0].update(dtype="uint8"), "are float32"),
        (lambda d: [s.update(output="h0_out") for s in d["graph"]["states"]], "'h0_out' is paired twice"),
        (
            lambda d: [s.update(output=o) for s, o in zip(d["graph"]["states"], ("c0_out", "h0_out"), strict=True)],
            "depends on the batch or the chunking.*pair its states rightly",
        ),
    ],
)
def test_a_folder_that_does_not_fit_is_refused(folder: Path, change: Callable[[Any], object], message: str) -> None:
    _edited(folder, change)
    with pytest.raises(ModelFolderError, match=message):
        load_series_model(folder)


def _with_graph(folder: Path, change: Callable[[onnx.ModelProto], object]) -> bytes:
    path = folder / "model.onnx"
    model = onnx.load(path)
    change(model)
    data: bytes = model.SerializeToString()
    path.write_bytes(data)
    about = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    _edited(folder, lambda document: document["graph"].update(about))
    return data


def test_a_weight_that_is_no_number_is_refused(folder: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        (bias,) = [one for one in model.graph.initializer if one.name == "head_bias"]
        bias.CopyFrom(numpy_helper.from_array(np.array([np.nan], np.float32), "head_bias"))

    _with_graph(folder, spoil)
    with pytest.raises(ModelFolderError, match="'head_bias' is not finite"):
        load_series_model(folder)


def test_a_graph_whose_rows_touch_is_refused_at_export_and_at_load(folder: Path) -> None:
    def mix(model: onnx.ModelProto) -> None:
        """The mean of all rows is taken from the values of each."""
        (first,) = [node for node in model.graph.node if node.input[0] == "values"]
        first.input[0] = "mixed"
        axes = numpy_helper.from_array(np.array([1], np.int64), "rows_axis")
        model.graph.initializer.append(axes)
        model.graph.node.insert(0, onnx.helper.make_node("ReduceMax", ["values", "rows_axis"], ["most"], keepdims=1))
        model.graph.node.insert(1, onnx.helper.make_node("Sub", ["values", "most"], ["mixed"]))

    data = _with_graph(folder, mix)
    manifest = read_any_manifest(folder)
    assert isinstance(manifest, SeriesManifest)
    with pytest.raises(ParityError, match="against itself alone"):
        check_series_steps_equal_chunks(data, manifest.graph, 1, mean=0.0, scale=1.0)
    with pytest.raises(ModelFolderError, match="depends on the batch or the chunking"):
        load_series_model(folder)


def test_a_network_whose_weights_are_no_numbers_is_not_exported(tmp_path: Path) -> None:
    network = SeriesNetwork(SeriesConfig(units=3))
    with torch.no_grad():
        network.head.bias.fill_(float("nan"))
    with pytest.raises(ExportError, match="head bias: some values are NaN"):
        series_folder.save(network, tmp_path / "out", name="x", what="y", step="z")
    assert not (tmp_path / "out").exists()


def test_each_reader_of_manifests_says_who_serves_the_other_kind(folder: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"reads numbers.*`carousel serve` answers it over /v2"):
        read_manifest(folder)
    with pytest.raises(ModelFolderError, match="reads words, not numbers"):
        load_series_model(_LAB / "gates")
    with pytest.raises(ModelFolderError, match="fp32 alone"):
        load_tensor_model(ModelConfig(folder, "int8", 1, False))


def test_a_vocabulary_that_is_none_is_refused(tmp_path: Path) -> None:
    for number, (change, message) in enumerate(
        (
            (lambda d: d["words"].pop(), "a word for each token"),
            (lambda d: d["words"].__setitem__(2, ","), "not all different"),
            (lambda d: d.update(start_token=3), "start_token: 3 is not that of the end"),
        )
    ):
        copied = Path(shutil.copytree(_LAB / "gates", tmp_path / str(number)))
        _edited(copied, change)
        with pytest.raises(ModelFolderError, match=message):
            load_tensor_model(ModelConfig(copied, None, 1, False))


class _Tilted:
    """Reads as a sum does, but a batch of more than one row a little otherwise."""

    width = 1

    def initial_states(self, rows: int) -> States:
        return [np.zeros((rows, 1), np.float32)]

    def read_chunk(
        self, inputs: NDArray[np.int64] | NDArray[np.float32], states: States
    ) -> tuple[NDArray[np.float32], States]:
        sums = np.cumsum(inputs.astype(np.float32), axis=0) + states[0].astype(np.float32)
        tilted = (sums + (np.float32(1) if inputs.shape[1] > 1 else np.float32(0))).astype(np.float32)
        return tilted, [sums[-1].astype(np.float32)]


def test_a_reader_that_breaks_the_promise_is_found() -> None:
    difference = check_series_promise(_Tilted(), rounds=1)
    assert difference is not None
    assert "what is expected depends on the batch" in str(difference)
