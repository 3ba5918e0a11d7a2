"""`carousel train`: from text on disk to a model folder."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from model_export.commands.reporting import console, print_figures, reported, say, serve_line

if TYPE_CHECKING:
    from model_export.corpora import Statistics
    from model_export.training.run import RunResult

INTERRUPTED = 130  # what a shell says of a program that Ctrl-C ended
DEFAULT_MINUTES = 10.0

_CORPUS = "What to read: `stdlib`, `package:NAME`, a file or a folder; may repeat. The model is for the first."
_INCLUDE = "Only files that match this glob; may repeat."
_EXCLUDE = "No files that match this glob; may repeat."
_MINUTES = "Train this long; the schedule fits itself to it. 10 if no length is given."
_TIED = "Share the embedding with the output layer; needs --embedding equal to --units."
_START_FROM = "Go on from the weights of this model folder; its shape is taken, a lower --learning-rate is wise."
_FOCUS = "The last share of the training that reads the first corpus alone."


@reported
def train(
    corpus: Annotated[list[str] | None, typer.Option(help=_CORPUS)] = None,
    include: Annotated[list[str] | None, typer.Option(help=_INCLUDE)] = None,
    exclude: Annotated[list[str] | None, typer.Option(help=_EXCLUDE)] = None,
    field: Annotated[str | None, typer.Option(help="The field of JSONL records that holds the text.")] = None,
    out: Annotated[Path, typer.Option(help="The model folder to make.")] = Path("models/mine"),
    minutes: Annotated[float | None, typer.Option(help=_MINUTES)] = None,
    megabytes: Annotated[float | None, typer.Option(help="Train on this many million bytes instead.")] = None,
    layers: Annotated[int, typer.Option(min=1)] = 2,
    units: Annotated[int, typer.Option(min=1, help="Width of h and c of each layer.")] = 512,
    embedding: Annotated[int, typer.Option(min=1)] = 128,
    dropout: Annotated[float, typer.Option(help="Between layers.")] = 0.0,
    tied: Annotated[bool, typer.Option(help=_TIED)] = False,
    rows: Annotated[int, typer.Option(min=1, help="Documents read side by side.")] = 64,
    time: Annotated[int, typer.Option(min=1, help="Bytes between two updates (truncated BPTT).")] = 200,
    start_from: Annotated[Path | None, typer.Option(help=_START_FROM)] = None,
    learning_rate: Annotated[float, typer.Option(help="The highest rate, after the warm-up.")] = 3e-3,
    focus: Annotated[float, typer.Option(help=_FOCUS)] = 0.35,
    seed: int = 0,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; cuda by default where there is one.")] = None,
    bfloat16: Annotated[bool, typer.Option(help="bf16 autocast of the forward pass.")] = True,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 is all.")] = 0,
    fresh: Annotated[bool, typer.Option(help="Start over although a checkpoint is there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON to standard output.")] = False,
) -> None:
    """Train a byte-level LSTM on text from disk and leave a model folder that `carousel serve` takes.

    The same command resumes a run that was stopped or killed. Ctrl-C stops early, and leaves a model too.
    """
    from model_export import corpora

    chosen = (tuple(include or ()), tuple(exclude or ()))
    specs = [corpora.resolve(c, include=chosen[0], exclude=chosen[1], field=field) for c in corpus or ["stdlib"]]

    import torch

    from model_export.language_model import LanguageModelConfig
    from model_export.training.loop import TrainingConfig
    from model_export.training.run import train_to_folder
    from model_export.training.schedule import Schedule
    from model_export.training.starting import read_starting_point

    if threads:
        torch.set_num_threads(threads)
    if minutes is None and megabytes is None:
        minutes = DEFAULT_MINUTES
    seconds = None if minutes is None else 60 * minutes
    total_bytes = None if megabytes is None else int(megabytes * 1e6)
    shape = LanguageModelConfig(layers=layers, units=units, embedding=embedding, dropout=dropout, tied=tied)
    start = None if start_from is None else read_starting_point(start_from, dropout=dropout)
    config = TrainingConfig(
        shape if start is None else start.config,
        Schedule(peak=learning_rate, seconds=seconds, total_bytes=total_bytes, focus=focus),
        rows=rows,
        time=time,
        seed=seed,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        bfloat16=bfloat16,
        started_from=None if start is None else start.digest,
    )
    with console.status("reading the corpus"):
        data = corpora.load(specs)
    console.print(corpus_table(data.statistics))
    command = recorded_command(sys.argv)
    result = train_to_folder(config, data, out, command=command, console=console, start=start, fresh=fresh)
    _tell(result, out, as_json=json)
    if not result.completed:
        raise typer.Exit(INTERRUPTED)


def corpus_table(statistics: Sequence[Statistics]) -> Table:
    """What each corpus gave, for people."""
    table = Table("corpus", title="Text")
    for heading in ("documents", "MB", "held out", "MB held out"):
        table.add_column(heading, justify="right")
    table.add_column("skipped")
    for stats in statistics:
        table.add_row(
            stats.name,
            f"{stats.train_documents:,}",
            f"{stats.train_bytes / 1e6:.2f}",
            f"{stats.held_out_documents:,}",
            f"{stats.held_out_bytes / 1e6:.2f}",
            ", ".join(f"{count} {why}" for why, count in sorted(stats.skipped.items())),
        )
    return table


def recorded_command(arguments: Sequence[str]) -> str:
    """The command line as the manifest keeps it: without where the model goes and how it is shown."""
    kept: list[str] = []
    rest = list(arguments[2 if arguments[1:2] == ["train"] else 1 :])
    while rest:
        argument = rest.pop(0)
        if argument == "--out":
            del rest[:1]
        elif argument not in ("--json", "--fresh") and not argument.startswith("--out="):
            kept.append(argument)
    return shlex.join(["carousel", "train", *kept])


def _tell(result: RunResult, out: Path, *, as_json: bool) -> None:
    manifest = result.export.manifest
    measured = {name: graph.held_out_bits_per_byte for name, graph in manifest.graphs.items()}
    if as_json:
        figures: dict[str, object] = {
            "model": str(out),
            "digest": manifest.digest(),
            "completed": result.completed,
            "bytes_seen": result.bytes_seen,
            "seconds": round(result.seconds, 1),
            "bits_per_byte": measured,
        }
        print_figures(figures)
    for name, bits in measured.items():
        if bits is not None:
            say(f"{name}: {bits:.4f} bits/byte held out")
    if not result.completed:
        say(f"stopped after {result.bytes_seen / 1e6:.1f} MB; the same command resumes. What there is was exported.")
    say(f"Serve it with:\n  {serve_line(out)}")
