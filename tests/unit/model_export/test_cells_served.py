"""Every causal cell is exported with its states, agrees with torch, and keeps the promise in the server's runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from model_export.cells.catalogue import CELLS
from model_export.errors import ExportError
from model_export.graphs import recurrent
from model_export.lab import model_folder
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.symbols import Symbols
from service.model.manifest import read_manifest
from service.runtime.onnx_model import load_model
from service.runtime.promise import check_promise

_LETTERS = Symbols.letters("aXb")
_CAUSAL = [name for name in CELLS if name != "bidirectional-lstm"]
_STATES = {"feed-forward": [], "rnn": ["h"], "relu-rnn": ["h"], "gru": ["h"], "gru-2014": ["h"]}


def _network(cell: str, *, units: int = 10, layers: int = 2, embedding: int = 0) -> Network:
    torch.manual_seed(3)
    network = Network(NetworkConfig(_LETTERS, cell=cell, units=units, layers=layers, embedding=embedding))
    with torch.no_grad():
        for parameter in network.stack.parameters():
            if parameter.ndim > 1:  # gains of a normalization would make it chaotic
                parameter.mul_(3)
    return network


@pytest.mark.parametrize("cell", _CAUSAL)
def test_a_cell_is_served_with_the_same_bits_in_any_batch_and_any_chunking(cell: str, tmp_path: Path) -> None:
    model_folder.save(_network(cell), tmp_path, name=cell)
    letters = _STATES.get(cell, ["h", "c"])
    states = [state.input for state in read_manifest(tmp_path).graphs["fp32"].states]
    assert states == [f"{letter}{layer}" for layer in range(2) for letter in letters]
    model = load_model(tmp_path)
    result = check_promise(model, rounds=2, names=model.state_names)
    assert result.difference is None
    assert result.rows > 500


@pytest.mark.parametrize(("units", "embedding"), [(1, 0), (33, 3)])
@pytest.mark.parametrize("cell", ["rnn", "full-memory-lstm", "layer-norm-lstm"])
def test_cells_without_kernels_of_their_own_keep_the_promise_at_odd_widths(
    cell: str, units: int, embedding: int, tmp_path: Path
) -> None:
    model_folder.save(_network(cell, units=units, embedding=embedding, layers=1), tmp_path, name=cell)
    assert check_promise(load_model(tmp_path), rounds=2).difference is None


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    network = _network("peephole-lstm", embedding=4)
    model_folder.save(network, tmp_path, name="peephole")
    again = model_folder.load(tmp_path)
    assert again.config == network.config
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_bidirectional_network_is_exported_and_agrees_with_torch_but_is_not_saved_as_a_model(tmp_path: Path) -> None:
    network = _network("bidirectional-lstm")
    tables = model_folder.tables(network)
    session = onnxruntime.InferenceSession(recurrent.build(tables, network.stack.layers))
    symbols = torch.randint(0, _LETTERS.size, (9, 5))
    tokens = _LETTERS.tokens()[symbols.numpy()]
    (found,) = session.run(["log_probabilities"], {"tokens": tokens, "positions": np.arange(9)})
    wanted = network.scores(symbols).log_softmax(dim=-1).detach().numpy()
    np.testing.assert_allclose(found[..., _LETTERS.tokens()], wanted, atol=1e-5)
    with pytest.raises(ExportError, match="knows what comes next"):
        model_folder.save(network, tmp_path / "model", name="both")
    assert not (tmp_path / "model").exists()


def test_weights_that_are_not_numbers_are_not_exported(tmp_path: Path) -> None:
    network = _network("gru")
    with torch.no_grad():
        next(network.stack.parameters())[0, 0] = float("nan")
    with pytest.raises(ExportError, match="layer 0 W: some values are NaN"):
        model_folder.save(network, tmp_path / "model", name="broken")


def test_a_folder_without_the_lab_s_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"weights\.npz is not a network of the lab"):
        model_folder.load(tmp_path)
