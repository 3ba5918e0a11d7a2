"""One training run from corpus to model folder: resume, train, export, measure; interrupted runs end servable too."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from model_export import state_dicts
from model_export.corpora import Corpus
from model_export.export import ExportResult, HeldOut, export_tensors, training_record
from model_export.training import checkpoint
from model_export.training.display import Display, draw_learning_curve
from model_export.training.loop import Trainer, TrainingConfig
from model_export.training.starting import StartingPoint
from service.model.manifest import Training

TRAINING_FOLDER = "training"


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended: `completed` is False if it was interrupted before its schedule's end."""

    completed: bool
    bytes_seen: int
    seconds: float
    export: ExportResult


class StopRequest:
    """Set by the first Ctrl-C; a second one interrupts at once, and the last checkpoint stays as it is."""

    def __init__(self) -> None:
        self.made = False

    def __call__(self) -> bool:
        """Whether a stop was asked for."""
        return self.made

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT over while in the block; main thread only."""
        before = signal.getsignal(signal.SIGINT)

        def stop(number: int, frame: FrameType | None) -> None:
            self.made = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def train_to_folder(
    config: TrainingConfig,
    corpus: Corpus,
    out: Path,
    *,
    command: str,
    console: Console,
    start: StartingPoint | None = None,
    fresh: bool = False,
) -> RunResult:
    """Train, or resume what `out` holds, and leave a model folder there. Main thread only.

    The first Ctrl-C ends the training early, with a checkpoint and an export; held-out figures are left out then.
    Raises TrainingError, CorpusError, ExportError; the checkpoint stays.
    """
    folder = out / TRAINING_FOLDER
    if fresh and folder.exists():
        shutil.rmtree(folder)
    trainer = Trainer(config, corpus, folder, command=command)
    if start is not None:
        trainer.model.load_state_dict(start.weights)
    if trainer.resume():
        console.print(f"resumed at step {trainer.step}, {trainer.bytes_seen / 1e6:.1f} MB read")
    stop = StopRequest()
    display = Display(folder, console, resumed_step=trainer.step, progress=trainer.progress)
    with stop.listening(), display:
        console.print("training; Ctrl-C stops early and leaves a model")
        completed = trainer.run(display, stop)
    draw_learning_curve(folder)
    with console.status("exporting and checking against torch"):
        before = None if start is None else start.training
        exported = _export(folder, out, corpus, before, measured=completed)
    return RunResult(completed, trainer.bytes_seen, trainer.elapsed_s, exported)


def _export(folder: Path, out: Path, corpus: Corpus, before: Training | None, *, measured: bool) -> ExportResult:
    saved = checkpoint.load(folder) or {}
    held_out = None
    if measured:
        first = corpus.statistics[0].name  # the corpus that the model is for
        held_out = HeldOut(tuple(d for d in corpus.held_out if d.corpus == first))
    training = training_record(saved)
    if training is not None:
        training = training.model_copy(update={"started_from": before})
    return export_tensors(state_dicts.find(saved["model"]), out, training=training, held_out=held_out)
