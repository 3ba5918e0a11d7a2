"""The training loop: teacher forcing over streams with truncated back-propagation through time.

Notable: the forward pass runs under bfloat16 autocast where the device has it, the weights and the optimizer stay
float32; states are carried between chunks and detached (truncated BPTT, Williams & Peng 1990); gradients are clipped
by their norm (Pascanu et al. 2013); everything that decides the next step is in the checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from model_export.corpora import SEPARATOR, Corpus, Document, cap_per_document
from model_export.errors import TrainingError
from model_export.language_model import LanguageModel, LanguageModelConfig
from model_export.training import checkpoint
from model_export.training.schedule import Schedule
from model_export.training.streams import IGNORED, DocumentStreams

SMOOTHING = 0.98


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What decides a run's result, beside the corpus."""

    model: LanguageModelConfig
    schedule: Schedule
    rows: int = 64
    time: int = 200
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    device: str = "cpu"
    bfloat16: bool = True
    checkpoint_every_s: float = 60.0
    evaluate_every: float = 0.05  # of the whole
    evaluate_bytes: int = 120_000
    started_from: str | None = None  # digest of the model whose weights are the first ones

    def fingerprint(self) -> dict[str, object]:
        """What must be equal for a checkpoint to be resumed: not the length of the run, which may be extended."""
        shape = {**self.model.as_dict(), "rows": self.rows, "time": self.time, "seed": self.seed}
        return shape if self.started_from is None else {**shape, "started_from": self.started_from}


@dataclass(frozen=True, slots=True)
class Report:
    """What the loop says after each step."""

    step: int
    bytes_seen: int
    elapsed_s: float
    progress: float
    bits_per_byte: float
    smoothed: float
    learning_rate: float
    held_out: float | None


Listener = Callable[[Report], None]


def never() -> bool:
    """A run that nobody stops."""
    return False


class Trainer:
    """One run, from nothing or from a checkpoint. Owns the model, the optimizer and the place in the data.

    `command` is the command line that a reader of the manifest would repeat.
    """

    def __init__(self, config: TrainingConfig, corpus: Corpus, folder: Path, *, command: str = "") -> None:
        torch.manual_seed(config.seed)
        self.config, self.corpus, self.folder, self.command = config, corpus, folder, command
        self.model = LanguageModel(config.model).to(config.device)
        weights = [p for p in self.model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            weights, lr=config.schedule.peak, betas=(0.9, 0.98), weight_decay=config.weight_decay, fused=True
        )
        self._weights = weights
        self._streams = DocumentStreams(corpus.train, rows=config.rows, time=config.time, seed=config.seed)
        self._states = self.model.initial_states(config.rows)
        self.step = 0
        self.bytes_seen = 0
        self.elapsed_s = 0.0
        self.smoothed: float | None = None
        self.held_out: float | None = None
        self._corpus_digest = corpus.digest()

    def resume(self) -> bool:
        """Continue from the folder's checkpoint if there is one. Raises TrainingError if it belongs to another run."""
        saved = checkpoint.load(self.folder)
        if saved is None:
            return False
        for name, wanted in (
            ("fingerprint", self.config.fingerprint()),
            ("corpus", self._corpus_digest),
        ):
            if saved[name] != wanted:
                raise TrainingError(
                    f"{self.folder} holds another run's checkpoint: its {name} is {saved[name]}, not {wanted}; "
                    "repeat its options, choose another --out, or give --fresh to start over"
                )
        self.model.load_state_dict(saved["model"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._streams.restore(saved["streams"])
        self._states = (saved["h"].to(self.config.device), saved["c"].to(self.config.device))
        torch.set_rng_state(saved["rng"])
        self.step, self.bytes_seen, self.elapsed_s = saved["step"], saved["bytes_seen"], saved["elapsed_s"]
        self.smoothed, self.held_out = saved["smoothed"], saved["held_out"]
        return True

    def save(self) -> None:
        """Write the checkpoint."""
        state: dict[str, Any] = {
            "fingerprint": self.config.fingerprint(),
            "corpus": self._corpus_digest,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "streams": self._streams.state(),
            "h": self._states[0].cpu(),
            "c": self._states[1].cpu(),
            "rng": torch.get_rng_state(),
            "step": self.step,
            "bytes_seen": self.bytes_seen,
            "elapsed_s": self.elapsed_s,
            "smoothed": self.smoothed,
            "held_out": self.held_out,
            "command": self.command,
            "corpora": [statistics.as_dict() for statistics in self.corpus.statistics],
        }
        checkpoint.save(self.folder, state)

    @property
    def progress(self) -> float:
        """The share that is done, in [0, 1]."""
        return self.config.schedule.progress(self.elapsed_s, self.bytes_seen)

    def run(self, listen: Listener, stopping: Callable[[], bool] = never) -> bool:
        """Train to the end of the schedule, or until `stopping()`; returns whether the end was reached.

        A checkpoint is written every `checkpoint_every_s` and at the end, always between two steps: an exception leaves
        the last one as it was. `stopping` is asked after every step.
        """
        saved_at = started = time.monotonic()
        before_s = self.elapsed_s
        evaluated_at = self._evaluation_due()
        stopped = stopping()
        while self.progress < 1 and not stopped:
            loss = self.train_step()
            self.elapsed_s = before_s + time.monotonic() - started
            due = self._evaluation_due()
            if due > evaluated_at:
                self.held_out = self._held_out_sample()
            listen(self._report(loss, fresh=due > evaluated_at))
            evaluated_at = due
            if time.monotonic() - saved_at > self.config.checkpoint_every_s:
                self.save()
                saved_at = time.monotonic()
            stopped = stopping()
        self.save()
        return not stopped

    def _evaluation_due(self) -> int:
        return math.floor(self.progress / self.config.evaluate_every)

    def _held_out_sample(self) -> float | None:
        documents, limit = self.corpus.held_out, self.config.evaluate_bytes
        return bits_per_byte(self.model, documents, self.config, limit=limit) if documents else None

    def train_step(self) -> float:
        """One chunk of every row, one step of the optimizer. Returns the chunk's bits per byte."""
        schedule, progress = self.config.schedule, self.progress
        for group in self._optimizer.param_groups:
            group["lr"] = schedule.learning_rate(self.step, progress)
        chunk = self._streams.chunk(focused=schedule.focused(progress))
        keep = torch.from_numpy(~chunk.fresh).to(self.config.device).float()[None, :, None]
        states = (self._states[0] * keep, self._states[1] * keep)
        inputs = torch.from_numpy(chunk.inputs).to(self.config.device)
        targets = torch.from_numpy(chunk.targets).to(self.config.device)
        with autocast(self.config):
            logits, states = self.model(inputs, states)
        self._states = (states[0].detach().float(), states[1].detach().float())
        loss = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch ships it without annotations
        torch.nn.utils.clip_grad_norm_(self._weights, self.config.clip)
        self._optimizer.step()
        bits = float(loss.item()) / math.log(2)
        if not math.isfinite(bits):
            raise TrainingError(f"the loss is {bits} at step {self.step}; lower --learning-rate")
        self.smoothed = bits if self.smoothed is None else SMOOTHING * self.smoothed + (1 - SMOOTHING) * bits
        self.step += 1
        self.bytes_seen += chunk.tokens
        return bits

    def _report(self, bits: float, *, fresh: bool) -> Report:
        progress = self.progress
        return Report(
            self.step,
            self.bytes_seen,
            self.elapsed_s,
            progress,
            bits,
            self.smoothed if self.smoothed is not None else bits,
            self.config.schedule.learning_rate(self.step, progress),
            self.held_out if fresh else None,
        )


def autocast(config: TrainingConfig) -> torch.autocast:
    """The bfloat16 context of a run."""
    return torch.autocast(config.device.split(":")[0], dtype=torch.bfloat16, enabled=config.bfloat16)


def bits_per_byte(
    model: LanguageModel, documents: Sequence[Document], config: TrainingConfig, *, limit: int | None = None
) -> float:
    """Mean negative log2-probability of every byte of every document, each read from the initial state.

    `limit` reads about that many bytes; documents are cut at one length if they must be. The end of a document is not
    counted: bits per byte are of the text. Documents run side by side in batches of similar length.
    """
    share = cap_per_document(documents, limit)
    texts = sorted((d.text[:share] for d in documents), key=len, reverse=True)
    total_bits, total_bytes = 0.0, 0
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(texts), config.rows):
            batch = texts[start : start + config.rows]
            total_bits += _bits_of(model, batch, config)
            total_bytes += sum(map(len, batch))
    model.train(was_training)
    return total_bits / total_bytes


def _bits_of(model: LanguageModel, texts: Sequence[bytes], config: TrainingConfig) -> float:
    documents = [Document("", "", text) for text in texts]
    streams = DocumentStreams(documents, rows=len(texts), time=512, seed=0).in_order()
    states = model.initial_states(len(texts))
    total = torch.zeros((), dtype=torch.float64)
    for chunk in streams:
        with autocast(config):
            logits, states = model(torch.from_numpy(chunk.inputs).to(config.device), states)
        targets = torch.from_numpy(chunk.targets)
        targets[targets == SEPARATOR] = IGNORED
        total += _summed(logits, targets.to(config.device)).double().cpu()
    return float(total) / math.log(2)


def _summed(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
