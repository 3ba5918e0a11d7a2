"""The manifest refuses what does not fit, and says which field."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from service.model.manifest import (
    UNSERVED_FILE,
    Graph,
    Manifest,
    ModelFolderError,
    StateTensor,
    read_graph,
    read_manifest,
    write_manifest,
)

DATA = b"not really a graph"


def manifest_of(data: bytes = DATA) -> Manifest:
    states = (
        StateTensor(input="h0", output="h0_out", role="hidden", layer=0, dtype="float32", width=4, initial=0),
        StateTensor(input="c0", output="c0_out", role="cell", layer=0, dtype="float32", width=4, initial=0),
    )
    graph = Graph(file="model.onnx", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), states=states)
    return Manifest(name="tiny", top_k=4, graphs={"fp32": graph})


def folder_with(tmp_path: Path, manifest: Manifest, data: bytes = DATA) -> Path:
    (tmp_path / "model.onnx").write_bytes(data)
    write_manifest(tmp_path, manifest)
    return tmp_path


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    manifest = manifest_of()
    folder = folder_with(tmp_path, manifest)
    assert read_manifest(folder) == manifest
    assert read_graph(folder, manifest.graphs["fp32"]) == DATA


def test_a_folder_without_a_manifest_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="carousel train"):
        read_manifest(tmp_path)
    (tmp_path / "somebody.onnx").write_bytes(DATA)
    with pytest.raises(ModelFolderError, match=r"has an ONNX file but no manifest\.json; `carousel adopt` makes"):
        read_manifest(tmp_path)


def test_a_folder_that_is_exported_and_not_served_says_why(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(DATA)
    (tmp_path / UNSERVED_FILE).write_text("it looks back at everything. " * 100, encoding="utf-8")
    with pytest.raises(ModelFolderError, match="is exported for other tools and cannot be served: it looks back") as e:
        read_manifest(tmp_path)
    assert len(str(e.value)) < 1200 + len(str(tmp_path))


def test_a_note_that_is_no_text_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / UNSERVED_FILE).write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(ModelFolderError, match="is not a model folder"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("top_k", 0, "top_k"),
        ("name", "../escape", "name"),
        ("surprise", 1, "surprise"),
        ("format", 2, "format"),
        ("graphs", {}, "graphs"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, field: str, value: object, named: str) -> None:
    folder = folder_with(tmp_path, manifest_of())
    document = json.loads((folder / "manifest.json").read_text())
    document[field] = value
    (folder / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(ModelFolderError, match=named):
        read_manifest(folder)


def test_a_changed_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    manifest = manifest_of()
    folder = folder_with(tmp_path, manifest, DATA[:-1] + b"!")
    with pytest.raises(ModelFolderError, match="sha256"):
        read_graph(folder, manifest.graphs["fp32"])
    (folder / "model.onnx").write_bytes(DATA + b"more")
    with pytest.raises(ModelFolderError, match="bytes"):
        read_graph(folder, manifest.graphs["fp32"])
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelFolderError, match="cannot be read"):
        read_graph(folder, manifest.graphs["fp32"])


def test_the_digest_names_the_graphs_and_nothing_else() -> None:
    one, same, other = manifest_of(), manifest_of().model_copy(update={"name": "renamed"}), manifest_of(b"other")
    assert one.digest() == same.digest() != other.digest()
