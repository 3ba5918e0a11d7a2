"""The training commands of `carousel`: parse, call, print. They join the command line by entry point."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from model_export import corpora
from model_export.errors import ExportError

err = Console(stderr=True)


def train(
    corpus: Annotated[Optional[list[str]], typer.Option(help="`stdlib`, `package:NAME`, or a file or folder; may repeat. The first is what the model is for.")] = None,
    include: Annotated[Optional[list[str]], typer.Option(help="Only files that match this glob; may repeat.")] = None,
    exclude: Annotated[Optional[list[str]], typer.Option(help="No files that match this glob; may repeat.")] = None,
    field: Annotated[Optional[str], typer.Option(help="The field of JSONL records that holds the text.")] = None,
    out: Annotated[Path, typer.Option(help="The model folder to make.")] = Path("models/mine"),
    minutes: Annotated[Optional[float], typer.Option(help="Train this long; the schedule fits itself to it. 10 if nothing is given.")] = None,
    megabytes: Annotated[Optional[float], typer.Option(help="Train on this many million bytes instead.")] = None,
    layers: int = 2,
    units: int = 512,
    embedding: int = 128,
    dropout: float = 0.0,
    tied: Annotated[bool, typer.Option(help="Share the embedding with the output layer.")] = False,
    rows: Annotated[int, typer.Option(help="Documents read side by side.")] = 64,
    time: Annotated[int, typer.Option(help="Bytes between two updates (truncated BPTT).")] = 200,
    learning_rate: float = 3e-3,
    focus: Annotated[float, typer.Option(help="The last share of the training that reads the first corpus alone.")] = 0.35,
    seed: int = 0,
    device: Annotated[Optional[str], typer.Option(help="cpu or cuda; cuda where there is one by default.")] = None,
    bfloat16: Annotated[bool, typer.Option(help="bf16 autocast.")] = True,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 is all.")] = 0,
    fresh: Annotated[bool, typer.Option(help="Start over although a checkpoint is there.")] = False,
) -> None:
    """Train a byte-level LSTM on text from disk and leave a model folder that `carousel serve` takes."""
    import torch

    from model_export.language_model import LanguageModelConfig
    from model_export.training import checkpoint
    from model_export.training.display import Display, draw_learning_curve
    from model_export.training.loop import Trainer, TrainingConfig, bits_per_byte
    from model_export.training.schedule import Schedule

    if minutes is None and megabytes is None:
        minutes = 10
    if threads:
        torch.set_num_threads(threads)
    schedule = Schedule(
        peak=learning_rate,
        seconds=None if minutes is None else minutes * 60,
        total_bytes=None if megabytes is None else int(megabytes * 1e6),
        focus=focus,
    )
    config = TrainingConfig(
        LanguageModelConfig(layers=layers, units=units, embedding=embedding, dropout=dropout, tied=tied),
        schedule,
        rows=rows,
        time=time,
        seed=seed,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        bfloat16=bfloat16,
    )
    specs = [corpora.resolve(c, include=include or (), exclude=exclude or (), field=field) for c in corpus or ["stdlib"]]
    with err.status("reading the corpus"):
        data = corpora.load(specs)
    for stats in data.statistics:
        skipped = ", ".join(f"{n} {why}" for why, n in sorted(stats.skipped.items()))
        err.print(
            f"{stats.name}: {stats.train_documents} documents, {stats.train_bytes / 1e6:.2f} MB to train on; "
            f"{stats.held_out_documents}, {stats.held_out_bytes / 1e6:.2f} MB held out"
            + (f"; skipped {skipped}" if skipped else "")
        )
    folder = out / "training"
    if fresh:
        (folder / checkpoint.CHECKPOINT_FILE).unlink(missing_ok=True)
    trainer = Trainer(config, data, folder)
    if trainer.resume():
        err.print(f"resumed at step {trainer.step}, {trainer.bytes_seen / 1e6:.1f} MB")
    with Display(folder, err) as display:
        trainer.run(display)
    draw_learning_curve(folder)
    first = [d for d in data.held_out if d.corpus == data.statistics[0].name]
    err.print(f"held out, {data.statistics[0].name}: {bits_per_byte(trainer.model, first, config):.4f} bits/byte")


def main() -> None:
    app = typer.Typer(add_completion=False)
    app.command()(train)
    try:
        app(standalone_mode=False)
    except ExportError as error:
        err.print(f"[red]error:[/red] {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
