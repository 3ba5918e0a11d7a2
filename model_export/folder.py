"""Writing a model folder: graphs and manifest appear together or not at all."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_export.graphs import contract, fp32, int8
from model_export.weights import LanguageModelWeights
from service.model.manifest import (
    MANIFEST_FILE,
    Following,
    Graph,
    Inspection,
    Manifest,
    Precision,
    StateTensor,
    read_graph,
    write_manifest,
)

GRAPH_FILES: Mapping[Precision, str] = {"fp32": "model.onnx", "int8": "model.int8.onnx"}
INSPECTION_FILE = "inspect.onnx"


@dataclass(frozen=True, slots=True)
class BuiltGraph:
    """A graph that is ready to be written: the file's bytes and its entry in the manifest."""

    model: bytes
    entry: Graph


def built_graph(
    precision: Precision,
    model: bytes,
    states: Sequence[StateTensor],
    *,
    single_step: str | None = None,
    follow: Following | None = None,
) -> BuiltGraph:
    """Describe a graph whose tensors have the names of the contract."""
    return BuiltGraph(
        model,
        Graph(
            file=GRAPH_FILES[precision],
            sha256=hashlib.sha256(model).hexdigest(),
            bytes=len(model),
            states=tuple(states),
            single_step=single_step,
            follow=follow,
        ),
    )


def build_graphs(weights: LanguageModelWeights) -> dict[Precision, BuiltGraph]:
    """Both graphs of a model. Raises ExportError if the weights cannot be one."""
    return {
        "fp32": built_graph("fp32", fp32.build(weights), fp32.states(weights)),
        "int8": built_graph(
            "int8",
            int8.build(weights),
            int8.states(weights),
            single_step=contract.SINGLE_STEP,
            follow=int8.following(weights),
        ),
    }


def model_name(text: str) -> str:
    """A name that the manifest takes, made from a folder's or file's name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:64] or "model"


def write_folder(
    folder: Path, manifest: Manifest, graphs: Mapping[Precision, BuiltGraph], inspection: bytes | None = None
) -> None:
    """Write graphs and manifest beside the folder, check what was written, then move them in, the manifest last.

    A reader finds the old model, or for a moment none that passes its digests, or the new one; never half of one that
    passes. Files of the folder that the manifest does not name (a training run) stay.
    inspection: the file that `manifest.inspect` names, if it names one.
    """
    files = {graph.entry.file: graph.model for graph in graphs.values()}
    entries: list[Graph | Inspection] = list(manifest.graphs.values())
    if manifest.inspect is not None and inspection is not None:
        files[manifest.inspect.file] = inspection
        entries.append(manifest.inspect)
    with _staging(folder) as staging:
        for name, data in files.items():
            (staging / name).write_bytes(data)
        write_manifest(staging, manifest)
        for entry in entries:
            read_graph(staging, entry)
        folder.mkdir(parents=True, exist_ok=True)
        for name in files:
            (staging / name).replace(folder / name)
        (staging / MANIFEST_FILE).replace(folder / MANIFEST_FILE)
        for stale in {*GRAPH_FILES.values(), INSPECTION_FILE} - {entry.file for entry in entries}:
            (folder / stale).unlink(missing_ok=True)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder on the same file system, gone afterwards whatever happens."""
    parents = [parent for parent in folder.absolute().parents if parent.exists()]
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=parents[0]))
    try:
        yield staging
    finally:
        shutil.rmtree(staging)
