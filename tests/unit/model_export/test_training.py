"""A training run: learns, resumes to the bit, starts with a forget bias of one, and survives being stopped."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model_export.errors import TrainingError
from model_export.language_model import LanguageModel, LanguageModelConfig
from model_export.training import checkpoint
from model_export.training.loop import Report, Trainer, TrainingConfig, bits_per_byte
from tests.unit.model_export import tiny


def _losses(config: TrainingConfig, folder: Path, *, stop_after: int | None = None) -> list[float]:
    """Train (or resume) in `folder`; the loss of every step."""
    trainer = Trainer(config, tiny.corpus(), folder)
    trainer.resume()
    losses: list[float] = []

    def listen(report: Report) -> None:
        losses.append(report.bits_per_byte)

    completed = trainer.run(listen, lambda: stop_after is not None and len(losses) >= stop_after)
    assert completed == (stop_after is None)
    return losses


def test_the_forget_gate_starts_with_a_bias_of_one_once() -> None:
    model = LanguageModel(LanguageModelConfig(layers=2, units=8, embedding=4))
    for layer in range(2):
        first, second = (getattr(model.lstm, f"bias_{name}_l{layer}") for name in ("ih", "hh"))
        assert first[8:16].tolist() == [1.0] * 8
        assert not second.any() and not second.requires_grad


def test_training_learns(tmp_path: Path) -> None:
    losses = _losses(tiny.training(total_bytes=15_000), tmp_path)
    assert losses[0] == pytest.approx(8.0, abs=0.5)
    assert losses[-1] < 5.0


def test_the_same_seed_gives_the_same_first_hundred_losses_and_another_seed_others(tmp_path: Path) -> None:
    runs = [
        _losses(tiny.training(seed=seed, dropout=0.1), tmp_path / name, stop_after=100)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("stopped_after", [1, 37, 120])
def test_a_stopped_run_resumes_to_the_same_losses_as_one_that_was_not(tmp_path: Path, stopped_after: int) -> None:
    config = tiny.training(total_bytes=8_000, dropout=0.2)
    whole = _losses(config, tmp_path / "whole")
    parts = _losses(config, tmp_path / "parts", stop_after=stopped_after) + _losses(config, tmp_path / "parts")
    assert parts == whole


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    config = tiny.training(total_bytes=8_000)
    whole = _losses(config, tmp_path / "whole")
    killed = Trainer(config, tiny.corpus(), tmp_path / "killed")
    for _ in range(30):
        killed.train_step()
    killed.save()
    for _ in range(11):  # lost: the process dies before the next checkpoint
        killed.train_step()
    assert _losses(config, tmp_path / "killed") == whole[30:]


def test_a_checkpoint_of_other_options_or_another_corpus_is_refused(tmp_path: Path) -> None:
    config = tiny.training()
    Trainer(config, tiny.corpus(), tmp_path).save()
    with pytest.raises(TrainingError, match="fingerprint"):
        Trainer(dataclasses.replace(config, rows=2), tiny.corpus(), tmp_path).resume()
    with pytest.raises(TrainingError, match="corpus"):
        Trainer(config, tiny.corpus(words=61), tmp_path).resume()


def test_a_damaged_checkpoint_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / checkpoint.CHECKPOINT_FILE).write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="--fresh"):
        checkpoint.load(tmp_path)


def test_a_loss_that_is_not_a_number_ends_the_run_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    trainer = Trainer(tiny.training(), tiny.corpus(), tmp_path)
    trainer.save()
    with torch.no_grad():
        trainer.model.head.bias[0] = math.nan
    with pytest.raises(TrainingError, match="--learning-rate"):
        trainer.run(lambda report: None)
    saved = checkpoint.load(tmp_path)
    assert saved is not None and saved["step"] == 0
    assert torch.isfinite(saved["model"]["head.bias"]).all()


def test_a_longer_length_extends_a_finished_run(tmp_path: Path) -> None:
    first = _losses(tiny.training(total_bytes=3_000), tmp_path)
    more = _losses(tiny.training(total_bytes=6_000), tmp_path)
    assert len(more) >= len(first) // 2


def test_held_out_bits_per_byte_do_not_depend_on_how_documents_are_batched() -> None:
    model = LanguageModel(LanguageModelConfig(layers=1, units=8, embedding=4))
    documents = tiny.corpus(documents=5).train
    config = tiny.training()
    together = bits_per_byte(model, documents, config)
    alone = bits_per_byte(model, documents, dataclasses.replace(config, rows=1))
    assert together == pytest.approx(alone, rel=1e-5)
    assert bits_per_byte(model, documents, config, limit=1) > 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: LanguageModelConfig(layers=0),
        lambda: LanguageModelConfig(units=-1),
        lambda: LanguageModelConfig(dropout=1.0),
        lambda: LanguageModelConfig(tied=True, units=8, embedding=4),
    ],
)
def test_impossible_networks_are_refused(make: Callable[[], LanguageModelConfig]) -> None:
    with pytest.raises(TrainingError):
        make()
