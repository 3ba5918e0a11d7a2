"""A model folder appears whole or not at all, says how it came to be, and is refused when it was changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model_export import folder as model_folder
from model_export.errors import ExportError, ParityError
from model_export.export import HeldOut, export_checkpoint, export_tensors
from model_export.graphs import fp32
from model_export.language_model import LanguageModelConfig
from model_export.training.loop import Trainer
from service.model.manifest import Manifest, ModelFolderError, read_graph, read_manifest
from tests.unit.model_export import tiny


def _trained(folder: Path) -> None:
    trainer = Trainer(tiny.training(), tiny.corpus(), folder, command="carousel train --corpus tiny")
    for _ in range(3):
        trainer.train_step()
    trainer.save()


def test_a_checkpoint_becomes_a_folder_with_its_history(tmp_path: Path) -> None:
    _trained(tmp_path / "model" / "training")
    result = export_checkpoint(tmp_path / "model", tmp_path / "model", held_out=HeldOut(tiny.corpus().held_out))
    manifest = read_manifest(tmp_path / "model")
    assert manifest == result.manifest
    assert manifest.name == "model" and set(manifest.graphs) == {"fp32", "int8"}
    assert manifest.training is not None
    assert manifest.training.command == "carousel train --corpus tiny"
    assert manifest.training.corpora[0].train_documents == 5
    assert manifest.training.corpora[0].skipped == {"empty": 2}
    assert manifest.architecture["units"] == 12
    for graph in manifest.graphs.values():
        assert 0 < len(read_graph(tmp_path / "model", graph)) == graph.bytes
        assert graph.held_out_bits_per_byte is not None and 6 < graph.held_out_bits_per_byte < 9
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_exporting_the_same_checkpoint_twice_gives_the_same_digest(tmp_path: Path) -> None:
    _trained(tmp_path / "run")
    one, two = (export_checkpoint(tmp_path / "run", tmp_path / name) for name in ("one", "two"))
    assert one.manifest.digest() == two.manifest.digest()


def test_a_run_without_a_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="carousel train"):
        export_checkpoint(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("there_before", [False, True])
def test_a_failed_parity_check_leaves_no_half_folder_and_an_old_model_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there_before: bool
) -> None:
    out = tmp_path / "out"
    if there_before:
        export_tensors(tiny.tensors(tiny.SHAPES[0]), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()} if there_before else None

    def break_gates(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array[::-1])

    monkeypatch.setattr("model_export.state_dicts.onnx_gates", break_gates)
    with pytest.raises(ParityError):
        export_tensors(tiny.tensors(tiny.SHAPES[1]), out)
    assert ({path.name: path.read_bytes() for path in out.iterdir()} if out.exists() else None) == before
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if there_before else [])


def test_a_folder_whose_graph_was_changed_is_refused(tmp_path: Path) -> None:
    manifest = export_tensors(tiny.tensors(tiny.SHAPES[0]), tmp_path / "m").manifest
    path = tmp_path / "m" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFolderError, match="the file was changed"):
        read_graph(tmp_path / "m", manifest.graphs["fp32"])
    path.write_bytes(data[:-1])
    with pytest.raises(ModelFolderError, match="bytes"):
        read_graph(tmp_path / "m", manifest.graphs["fp32"])


def test_an_export_keeps_the_training_beside_it_and_removes_graphs_it_no_longer_names(tmp_path: Path) -> None:
    tensors = tiny.tensors(tiny.SHAPES[0])
    export_tensors(tensors, tmp_path / "m")
    (tmp_path / "m" / "training").mkdir()
    weights = tensors.weights()
    built = model_folder.built_graph("fp32", fp32.build(weights), fp32.states(weights))
    manifest = Manifest(name="m", top_k=16, graphs={"fp32": built.entry})
    model_folder.write_folder(tmp_path / "m", manifest, {"fp32": built})
    assert {path.name for path in (tmp_path / "m").iterdir()} == {"model.onnx", "manifest.json", "training"}


def test_a_model_over_other_tokens_than_bytes_asks_for_its_vocabulary(tmp_path: Path) -> None:
    config = LanguageModelConfig(vocabulary=65, layers=1, units=8, embedding=4)
    with pytest.raises(ExportError, match="--vocab"):
        export_tensors(tiny.tensors(config), tmp_path / "m")


def test_a_model_name_is_made_from_any_folder_name() -> None:
    assert model_folder.model_name("my model (2)") == "my-model-2"
    assert model_folder.model_name("...") == "model"


def test_a_checkpoint_with_broken_weights_is_refused(tmp_path: Path) -> None:
    trainer = Trainer(tiny.training(), tiny.corpus(), tmp_path / "run")
    with torch.no_grad():
        trainer.model.embedding.weight[0, 0] = float("nan")
    trainer.save()
    with pytest.raises(ExportError, match="embedding: 1 of"):
        export_checkpoint(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()
