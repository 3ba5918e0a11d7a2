"""From trained weights to a model folder, by way of the parity check."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_export import folder as model_folder
from model_export import state_dicts
from model_export.corpora import Document
from model_export.errors import ExportError
from model_export.evaluation import evaluate
from model_export.graph_session import GraphSession
from model_export.graphs import contract
from model_export.isolation import check_steps_equal_chunks
from model_export.parity import ParityResult, check_against_torch
from model_export.state_dicts import TorchTensors
from model_export.training import checkpoint
from service.model.manifest import Manifest, Precision, Training

BYTES = 256
MEASURED_BYTES = 2_000_000  # enough for three digits; all of the standard library's held-out files


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Documents to measure the graphs on; `limit` bytes of them; longer ones are cut at one length."""

    documents: tuple[Document, ...]
    limit: int = MEASURED_BYTES


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written where, and how close to torch it came."""

    folder: Path
    manifest: Manifest
    parity: ParityResult


def export_checkpoint(
    run: Path, out: Path, *, name: str | None = None, held_out: HeldOut | None = None
) -> ExportResult:
    """Export the last checkpoint of a training run. Raises ExportError; `out` is unchanged then.

    run: the folder of the run, or the model folder around it.
    """
    saved = checkpoint.load(run) or checkpoint.load(run / "training")
    if saved is None:
        raise ExportError(f"no checkpoint in {run} or {run / 'training'}; make one: carousel train --out {run}")
    tensors = state_dicts.find(saved["model"])
    return export_tensors(tensors, out, name=name, training=training_record(saved), held_out=held_out)


def training_record(saved: Mapping[str, Any]) -> Training | None:
    """How the weights came to be, as the checkpoint tells it; None if it is from a run that recorded no command."""
    if "command" not in saved:
        return None
    return Training(
        command=saved["command"],
        bytes_seen=saved["bytes_seen"],
        seconds=round(saved["elapsed_s"], 1),
        corpora=tuple(saved["corpora"]),
        corpus_sha256=saved["corpus"],
    )


def export_tensors(
    tensors: TorchTensors,
    out: Path,
    *,
    name: str | None = None,
    training: Training | None = None,
    held_out: HeldOut | None = None,
) -> ExportResult:
    """Build the graphs, check them, and write the folder. Raises ExportError; `out` is unchanged then."""
    weights = tensors.weights()
    if weights.vocabulary_size != BYTES:
        raise ExportError(
            f"the model has {weights.vocabulary_size} tokens, but a served model reads and predicts the {BYTES} bytes; "
            "give --vocab with the file that says which token is which byte"
        )
    graphs = model_folder.build_graphs(weights)
    parity = check_against_torch(tensors, graphs["fp32"].model, graphs["fp32"].entry)
    for graph in graphs.values():
        check_steps_equal_chunks(graph.model, graph.entry, weights.vocabulary_size)
    manifest = Manifest(
        name=name or model_folder.model_name(out.absolute().name),
        vocabulary_size=weights.vocabulary_size,
        top_k=contract.top_k(weights.vocabulary_size),
        graphs={precision: graph.entry for precision, graph in graphs.items()},
        architecture=weights.architecture(),
        training=training,
    )
    if held_out is not None and held_out.documents:
        manifest = _measured(manifest, graphs, held_out)
    model_folder.write_folder(out, manifest, graphs)
    return ExportResult(out, manifest, parity)


def _measured(manifest: Manifest, graphs: Mapping[Precision, model_folder.BuiltGraph], held_out: HeldOut) -> Manifest:
    """The manifest with each graph's held-out bits per byte."""
    entries = {}
    for precision, graph in graphs.items():
        session = GraphSession(graph.model, graph.entry, threads=os.cpu_count() or 1)
        figures = evaluate(session, manifest, held_out.documents, limit=held_out.limit)
        entries[precision] = graph.entry.model_copy(update={"held_out_bits_per_byte": round(figures.bits_per_byte, 5)})
    return manifest.model_copy(update={"graphs": entries})
