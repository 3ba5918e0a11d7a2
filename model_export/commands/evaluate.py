"""`carousel evaluate`: held-out figures of a model folder's graphs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from model_export.commands.reporting import console, print_figures, reported, say

if TYPE_CHECKING:
    from model_export.evaluation import Figures

_CORPUS = "Whose held-out documents are read: `stdlib`, `package:NAME`, a file or a folder."


@reported
def evaluate(
    model: Annotated[Path, typer.Option(help="The model folder.")] = Path("models/python"),
    corpus: Annotated[str, typer.Option(help=_CORPUS)] = "stdlib",
    field: Annotated[str | None, typer.Option(help="The field of JSONL records that holds the text.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 is all.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON to standard output.")] = False,
) -> None:
    """Measure bits per byte and next-byte accuracy on held-out text, each document read from its start."""
    from model_export import corpora, evaluation
    from model_export.graph_session import GraphSession
    from service.model.manifest import read_graph, read_manifest

    manifest = read_manifest(model)
    documents = corpora.load([corpora.resolve(corpus, field=field)]).held_out
    unseen = evaluation.check_unseen(manifest.training, documents)
    figures: dict[str, Figures] = {}
    for precision, graph in manifest.graphs.items():
        session = GraphSession(read_graph(model, graph), graph, threads=threads or os.cpu_count() or 1)
        with console.status(f"reading the held-out documents with {precision}"):
            figures[precision] = evaluation.evaluate(session, manifest, documents)
    if json:
        any_graph = next(iter(figures.values()))
        document: dict[str, object] = {
            "bits_per_byte": {name: f.bits_per_byte for name, f in figures.items()},
            "top1_accuracy": {name: f.top1_accuracy for name, f in figures.items()},
            "top3_accuracy": {name: f.top3_accuracy for name, f in figures.items()},
            "model": manifest.name,
            "digest": manifest.digest(),
            "corpus": corpus,
            "documents": any_graph.documents,
            "bytes": any_graph.bytes,
            "unseen": unseen is evaluation.Unseen.CHECKED,
        }
        print_figures(document)
    else:
        console.print(_table(figures))
    say(f"Whether the model had seen them: {unseen.value}.")


def _table(figures: dict[str, Figures]) -> Table:
    table = Table("graph", title="Held-out documents")
    for heading in ("bits per byte", "top 1", "top 3", "documents", "MB"):
        table.add_column(heading, justify="right")
    for name, reached in figures.items():
        table.add_row(
            name,
            f"{reached.bits_per_byte:.4f}",
            f"{reached.top1_accuracy:.1%}",
            f"{reached.top3_accuracy:.1%}",
            f"{reached.documents}",
            f"{reached.bytes / 1e6:.2f}",
        )
    return table
