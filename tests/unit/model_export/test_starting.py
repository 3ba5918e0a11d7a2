"""Training that goes on from a model folder starts with exactly its weights and remembers the first run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console

from model_export.errors import TrainingError
from model_export.export import export_tensors
from model_export.language_model import LanguageModel, LanguageModelConfig
from model_export.state_dicts import find
from model_export.training.loop import TrainingConfig
from model_export.training.run import train_to_folder
from model_export.training.schedule import Schedule
from model_export.training.starting import read_starting_point
from service.model.manifest import Training, read_manifest
from tests.unit.model_export import tiny


@pytest.mark.parametrize("shape", tiny.SHAPES, ids=str)
def test_the_weights_come_back_from_the_graph_as_they_went_in(tmp_path: Path, shape: LanguageModelConfig) -> None:
    torch.manual_seed(1)
    model = LanguageModel(shape)
    export_tensors(find(model.state_dict()), tmp_path / "m")
    start = read_starting_point(tmp_path / "m")
    assert start.config == shape
    again = LanguageModel(start.config)
    again.load_state_dict(start.weights)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_run_that_goes_on_keeps_the_first_runs_record_and_resumes(tmp_path: Path) -> None:
    corpus, quiet = tiny.corpus(), Console(quiet=True)
    first = train_to_folder(tiny.training(total_bytes=2_000), corpus, tmp_path / "a", command="one", console=quiet)
    start = read_starting_point(tmp_path / "a")
    config = TrainingConfig(
        start.config, Schedule(total_bytes=1_000, warmup_steps=5), rows=3, time=17, started_from=start.digest
    )
    for _ in range(2):  # the second time it resumes at its end
        train_to_folder(config, corpus, tmp_path / "b", command="two", console=quiet, start=start)
        training = read_manifest(tmp_path / "b").training
        assert training is not None and training.command == "two"
        assert isinstance(training.started_from, Training) and training.started_from.command == "one"
    assert read_manifest(tmp_path / "b").digest() != first.export.manifest.digest()


def test_a_folder_that_is_no_trained_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--start-from"):
        read_starting_point(tmp_path)
