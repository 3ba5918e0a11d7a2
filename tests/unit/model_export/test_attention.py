"""Attention: what is exported is what torch computes, no step sees a later one, and nobody serves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from model_export.errors import ExportError, ParityError
from model_export.lab import attending_folder
from model_export.lab.attention import AttendingNetwork
from model_export.lab.experiments import attention, long_gap, remember
from model_export.lab.network import NetworkConfig
from service.model.manifest import ModelFolderError
from service.runtime.onnx_model import load_model

_SHIPPED = Path(__file__).resolve().parents[3] / "models" / "lab" / "attention"


@pytest.fixture
def network() -> AttendingNetwork:
    torch.manual_seed(2)
    made = AttendingNetwork(NetworkConfig(remember.LETTERS, units=7))
    with torch.no_grad():
        made.A.normal_(std=3.0)
    return made


def test_what_is_exported_is_what_torch_computes(network: AttendingNetwork, tmp_path: Path) -> None:
    attending_folder.save(network, tmp_path)
    again = attending_folder.load(tmp_path)
    assert attending_folder.check(again, (tmp_path / attending_folder.GRAPH_FILE).read_bytes()) < 1e-5
    with torch.no_grad():
        again.U.add_(0.1)
    with pytest.raises(ParityError, match="log_probabilities of sequences"):
        attending_folder.check(again, (tmp_path / attending_folder.GRAPH_FILE).read_bytes())


def test_no_step_sees_a_later_one_and_the_weights_are_shares(network: AttendingNetwork) -> None:
    symbols = torch.randint(0, remember.LETTERS.size, (9, 4))
    other = symbols.clone()
    other[5:] = (other[5:] + 1) % remember.LETTERS.size
    with torch.no_grad():
        torch.testing.assert_close(network.scores(symbols)[:5], network.scores(other)[:5])
    weights = network.weights(symbols)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(4, 9))
    assert not weights.triu(1).any()


def test_a_place_that_is_hidden_changes_what_comes_after_it_alone(network: AttendingNetwork) -> None:
    symbols = torch.randint(0, remember.LETTERS.size, (9, 4))
    with torch.no_grad():
        seen, hidden = network.scores_without(symbols, None), network.scores_without(symbols, 3)
    torch.testing.assert_close(seen[:4], hidden[:4])
    assert (seen[4:] != hidden[4:]).any()


def test_a_network_that_has_learned_nothing_looks_everywhere_alike() -> None:
    torch.manual_seed(0)
    fresh = AttendingNetwork(NetworkConfig(remember.LETTERS, units=5))
    weights = fresh.weights(torch.zeros(6, 1, dtype=torch.long))[0]
    torch.testing.assert_close(weights[-1], torch.full((6,), 1 / 6))


def test_the_shipped_network_answers_over_any_gap_as_its_graph_does() -> None:
    assert sum(path.stat().st_size for path in _SHIPPED.iterdir()) <= 1 << 20
    network = attending_folder.load(_SHIPPED)
    session = onnxruntime.InferenceSession(_SHIPPED / attending_folder.GRAPH_FILE)
    for gap in (1, 60, 300):
        tests = attention.rounds(gap)[:20]
        assert attention.answered_right(network, tests) == 1.0
        batch = long_gap.only_answers(tests)
        (told,) = session.run([attending_folder.LOG_PROBABILITIES], {attending_folder.SYMBOLS: batch.inputs.numpy()})
        right = (told.argmax(axis=-1) == batch.targets.numpy())[batch.counted.numpy()]
        assert np.all(right)


def test_it_is_exported_and_not_served(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="cannot be served: this network looks back at everything"):
        load_model(_SHIPPED)
    with pytest.raises(ExportError, match="is no network that attends"):
        attending_folder.load(tmp_path)
