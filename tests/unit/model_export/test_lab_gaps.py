"""Long gaps and first biases: how a training begins and ends, who was sooner, and that an interrupted run goes on."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from model_export.errors import TrainingError
from model_export.lab.bench import PARTS_FILE, Bench
from model_export.lab.experiment import Experiment
from model_export.lab.experiments import attention, forget_bias, long_gap, peepholes, remember
from model_export.lab.network import NetworkConfig
from model_export.lab.training import fit, new_network


def test_the_head_begins_with_what_is_known_without_reading_anything() -> None:
    network = new_network(NetworkConfig(remember.LETTERS, units=6), 0)
    long_gap.begin(network, long_gap.WAYS["both"])
    with torch.no_grad():
        expected = torch.softmax(network.head.bias, dim=0)
    assert expected[remember.LETTERS.encode("ab")].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    as_it_was = new_network(NetworkConfig(remember.LETTERS, units=6), 0)
    long_gap.begin(as_it_was, long_gap.WAYS["drawn"])
    assert not torch.equal(as_it_was.head.bias, network.head.bias)


def test_a_batch_of_both_rounds_asks_for_each_letter_once_and_one_that_is_drawn_has_its_own() -> None:
    both = long_gap.batches(long_gap.WAYS["both"], 7, 0)(0)
    assert both.targets[both.counted].tolist() == remember.LETTERS.encode("ab").tolist()
    drawn = long_gap.batches(long_gap.WAYS["drawn"], 7, 0)
    first, second = drawn(0), drawn(1)
    assert first.inputs.shape == (11, 16)
    assert not torch.equal(first.inputs, second.inputs)


def test_a_training_ends_when_both_answers_are_sure_and_not_when_they_are_guessed() -> None:
    network = new_network(NetworkConfig(remember.LETTERS, units=6), 0)
    long_gap.begin(network, long_gap.WAYS["both"])
    guessing = long_gap.Settled(network, 5)
    assert not any(guessing() for _ in range(20))


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ([10, 20], [30, 40], 1.0),
        ([10, 20], [10, 20], 0.5),
        ([None, None], [None, None], 0.5),
        ([None, 10], [20, 20], 0.5),
    ],
)
def test_who_is_not_done_is_later_than_all_who_are_and_as_good_as_others_who_are_not(
    one: list[int | None], other: list[int | None], share: float
) -> None:
    assert forget_bias.sooner({"1": one, "0": other}) == share


def test_a_training_that_would_never_be_looked_at_is_refused() -> None:
    experiment = forget_bias.EXPERIMENT
    with pytest.raises(TrainingError, match="every: every 1000 steps is never, of 20; at most as many as steps"):
        experiment.with_settings({"every": "1000", "steps": "20"})


class _Interrupted(Exception):
    """What Ctrl-C is to a run."""


@pytest.mark.parametrize("module", [attention, peepholes], ids=["attention", "peepholes"])
def test_a_run_that_was_interrupted_goes_on_with_what_it_had_finished(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def fit_some(*given: Any, **named: Any) -> float:
        trained.append(given[4])
        if len(trained) == 3:
            raise _Interrupted
        return fit(*given, **named)

    monkeypatch.setattr(module, "fit", fit_some)
    experiment: Experiment[Any] = module.EXPERIMENT
    settings = experiment.with_settings({"steps": "1", "seeds": "1", "units": "2"})
    bench = Bench(tmp_path, tmp_path / "out", experiment=experiment.name, full=True)
    with pytest.raises(_Interrupted):
        experiment.run(bench, settings)
    experiment.run(bench, settings)
    assert trained[3:] == [trained[2], *(what for what in trained[4:] if what not in trained[:3])]
    assert not (tmp_path / "out" / experiment.name / PARTS_FILE).exists()
