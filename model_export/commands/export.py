"""`carousel export`: from a training run's checkpoint, or weights trained elsewhere, to a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_export.commands.reporting import print_figures, reported, say, serve_line
from model_export.errors import ExportError

_CORPUS = "Measure held-out bits per byte on this corpus and keep them in the manifest."
_VOCAB = "JSON that says which token is which byte: a list, or an object from entries to tokens."
_START = "The vocabulary's entry that begins a text; it becomes byte 0xFF."


@reported
def export(
    run: Annotated[Path | None, typer.Option(help="A folder that `carousel train` made.")] = None,
    weights: Annotated[Path | None, typer.Option(help="An nn.LSTM language model's state dict.")] = None,
    vocab: Annotated[Path | None, typer.Option(help=_VOCAB)] = None,
    start: Annotated[str | None, typer.Option(help=_START)] = None,
    drop: Annotated[list[str] | None, typer.Option(help="Leave this vocabulary entry out; may repeat.")] = None,
    out: Annotated[Path | None, typer.Option(help="The model folder to make; the run's own by default.")] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the folder's by default.")] = None,
    corpus: Annotated[str | None, typer.Option(help=_CORPUS)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON to standard output.")] = False,
) -> None:
    """Write the ONNX graphs and the manifest of a trained model, after checking them against torch."""
    from model_export import corpora, state_dicts
    from model_export.export import HeldOut, export_checkpoint, export_tensors
    from model_export.foreign_vocabulary import read_vocabulary, to_bytes

    if (run is None) == (weights is None):
        raise ExportError("give either --run DIR (a training run) or --weights FILE (a state dict)")
    if weights is None and (vocab is not None or start is not None or drop):
        raise ExportError("--vocab, --start and --drop go with --weights; a training run already speaks bytes")
    held_out = None
    if corpus is not None:
        held_out = HeldOut(corpora.load([corpora.resolve(corpus)]).held_out)
    if run is not None:
        result = export_checkpoint(run, out or run, name=name, held_out=held_out)
    elif weights is not None:
        tensors = state_dicts.find(state_dicts.read_file(weights))
        if vocab is not None:
            tensors = to_bytes(tensors, read_vocabulary(vocab), start=start, drop=drop or ())
        result = export_tensors(tensors, out or Path("models") / weights.stem, name=name, held_out=held_out)
    measured = {precision: graph.held_out_bits_per_byte for precision, graph in result.manifest.graphs.items()}
    if json:
        figures: dict[str, object] = {
            "model": str(result.folder),
            "digest": result.manifest.digest(),
            "largest_difference": result.parity.largest_difference,
            "bits_per_byte": measured,
        }
        print_figures(figures)
    parity = result.parity
    chains = f"{len(parity.rows)} chains of {parity.steps} steps and a chunk"
    say(f"{chains} agree with torch to {parity.largest_difference:.1e}")
    say(f"Serve it with:\n  {serve_line(result.folder)}")
