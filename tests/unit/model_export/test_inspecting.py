"""inspect.onnx tells what torch's network does, signal by signal, whatever the cell and however it is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from model_export.cells.catalogue import CELLS
from model_export.cells.cell import Cell
from model_export.errors import ExportError
from model_export.graphs import inspecting
from model_export.lab import model_folder
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.symbols import Symbols
from service.model.manifest import ModelFolderError, read_graph, read_manifest
from service.model.series_manifest import read_any_manifest

_LAB = Path(__file__).resolve().parents[3] / "models" / "lab"
_SHIPPED = sorted(  # those of numbers are in test_series.py
    path.parent for path in _LAB.glob("*/inspect.onnx") if read_any_manifest(path.parent).vocabulary != "numbers"
)
_LETTERS = Symbols.letters("aXb")
_CAUSAL = [name for name in CELLS if name != "bidirectional-lstm"]


def _network(cell: str) -> Network:
    torch.manual_seed(5)
    network = Network(NetworkConfig(_LETTERS, cell=cell, units=6, layers=2, embedding=3))
    with torch.no_grad():
        for parameter in network.stack.parameters():
            parameter.mul_(2)
    return network


@pytest.mark.parametrize("cell", _CAUSAL)
def test_every_signal_of_every_layer_is_told_as_torch_has_it_in_one_chunk_or_two(cell: str, tmp_path: Path) -> None:
    network = _network(cell)
    manifest = model_folder.save(network, tmp_path, name=cell)
    inspect = manifest.inspect
    assert inspect is not None
    symbols = torch.randint(0, _LETTERS.size, (11, 4))
    watched = network.watch(symbols)
    assert {(one.layer, one.letter) for one in inspect.signals} == {
        (layer, letter) for layer, signals in enumerate(watched.layers) for letter in signals
    }
    session = onnxruntime.InferenceSession(read_graph(tmp_path, inspect))
    outputs = [one.output for one in inspect.signals]
    states = {one.input: np.full((4, one.width), one.initial, one.dtype) for one in inspect.states}
    tokens, parts = _LETTERS.tokens()[symbols.numpy()], []
    for part in (tokens[:5], tokens[5:]):
        found = session.run([*outputs, *(one.output for one in inspect.states)], {inspect.tokens: part, **states})
        parts.append(found[: len(outputs)])
        states = {one.input: value for one, value in zip(inspect.states, found[len(outputs) :], strict=True)}
    for signal, *values in zip(inspect.signals, *parts, strict=True):
        wanted = watched.signal(signal.layer, signal.letter).numpy()
        np.testing.assert_allclose(np.concatenate(values), wanted, atol=1e-5, err_msg=signal.output)


@pytest.mark.parametrize("folder", _SHIPPED, ids=lambda folder: folder.name)
def test_a_shipped_network_has_it_and_it_is_that_network_s(folder: Path) -> None:
    inspect, network = read_manifest(folder).inspect, model_folder.load(folder)
    assert inspect is not None
    symbols = torch.randint(0, network.symbols.size, (9, 2), generator=torch.Generator().manual_seed(1))
    tokens = network.symbols.tokens()[symbols.numpy()] if network.symbols.are_bytes else symbols.numpy()
    states = {one.input: np.full((2, one.width), one.initial, one.dtype) for one in inspect.states}
    session = onnxruntime.InferenceSession(read_graph(folder, inspect))
    found = session.run([one.output for one in inspect.signals], {inspect.tokens: tokens, **states})
    watched = network.watch(symbols)
    for signal, values in zip(inspect.signals, found, strict=True):
        np.testing.assert_allclose(values, watched.signal(signal.layer, signal.letter).numpy(), rtol=1e-3, atol=1e-4)


def test_a_changed_file_is_found(tmp_path: Path) -> None:
    model_folder.save(_network("gru"), tmp_path, name="gru")
    inspect = read_manifest(tmp_path).inspect
    assert inspect is not None
    (tmp_path / inspect.file).write_bytes(b"x" * inspect.bytes)
    with pytest.raises(ModelFolderError, match="the file was changed"):
        read_graph(tmp_path, inspect)


def test_a_layer_that_reads_from_the_end_has_no_steps_to_tell_of() -> None:
    network = _network("bidirectional-lstm")
    with pytest.raises(ExportError, match="no single steps"):
        inspecting.build(model_folder.tables(network).embedding, network.stack.layers)


def test_an_operation_that_no_graph_has_is_named() -> None:
    class Sine(Cell):
        states, signals = ("h",), ("h",)

        def step(self, x, states):  # type: ignore[no-untyped-def]
            h = torch.sin(x)
            return (h,), {"h": h}

        def add_to(self, nodes, name, below, before, after):  # type: ignore[no-untyped-def]
            return below

    with pytest.raises(ExportError, match="no form for 'sin'"):
        inspecting.build(np.zeros((256, 3), np.float32), [Sine(3, 3)])
