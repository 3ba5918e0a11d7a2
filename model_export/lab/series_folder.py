"""A trained network over numbers on disk: a model folder that is served over `/v2`, and its weights for the lab."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model_export import folder as folders
from model_export.errors import ExportError
from model_export.graph_of_series import SeriesOutcome, check_series_against, check_series_steps_equal_chunks
from model_export.graph_session import StateArrays, open_session
from model_export.graphs import inspecting, recurrent, series
from model_export.lab.bench import Bench
from model_export.lab.model_folder import WEIGHTS_FILE
from model_export.lab.series import SeriesConfig, SeriesNetwork
from service.model.manifest import MANIFEST_FILE
from service.model.series_manifest import SeriesGraph, SeriesInspection, SeriesManifest

_CONFIG = "config"
_CHECKED = (24, 3, 1)  # steps, rows, numbers of a step


class _AsTorchRunsIt:
    """What the graph is checked against."""

    def __init__(self, network: SeriesNetwork) -> None:
        self._network, self._states = network, recurrent.states(network.stack.layers)

    @torch.no_grad()
    def run(self, values: NDArray[np.float32], states: StateArrays) -> SeriesOutcome:
        """See `graph_of_series.SeriesReference`."""
        before = [
            tuple(torch.from_numpy(states[s.input]) for s in self._states if s.layer == number)
            for number, _ in enumerate(self._network.stack.layers)
        ]
        expected, after = self._network(torch.from_numpy(values), before)
        flat = [state.numpy() for layer in after for state in layer]
        return SeriesOutcome(expected.numpy(), {s.input: v for s, v in zip(self._states, flat, strict=True)})


def save(
    network: SeriesNetwork,
    folder: Path,
    *,
    name: str,
    what: str,
    step: str,
    made_by: str = "",
    example: Sequence[float] = (),
) -> SeriesManifest:
    """Export the network and keep its weights. Raises ExportError if a check fails; the folder is unchanged then.

    what: what the numbers are.  step: what a step is.  example: steps that show what it does.
    """
    config, layers = network.config, network.stack.layers
    model = series.build(
        layers, _numpy(network.head.weight), _numpy(network.head.bias), mean=config.mean, scale=config.scale
    )
    graph = SeriesGraph(
        file=folders.GRAPH_FILES["fp32"],
        sha256=hashlib.sha256(model).hexdigest(),
        bytes=len(model),
        states=recurrent.states(layers),
    )
    check_series_against(_AsTorchRunsIt(network), model, graph, 1, mean=config.mean, scale=config.scale)
    check_series_steps_equal_chunks(model, graph, 1, mean=config.mean, scale=config.scale)
    inspection = inspecting.build_of_numbers(layers, mean=config.mean, scale=config.scale)
    _check_inspection(network, inspection)
    manifest = SeriesManifest(
        name=folders.model_name(name),
        width=1,
        names=(what,),
        step=step,
        graph=graph,
        inspect=SeriesInspection(
            file=folders.INSPECTION_FILE,
            sha256=hashlib.sha256(inspection).hexdigest(),
            bytes=len(inspection),
            states=graph.states,
            signals=inspecting.signals(layers),
        ),
        example=tuple(map(float, example)),
        architecture={
            "network": config.cell,
            "layers": config.layers,
            "units": config.units,
            "parameters": sum(p.numel() for p in network.parameters()),
            "made_by": made_by,
        },
    )
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / graph.file, model)
    _replace(folder / folders.INSPECTION_FILE, inspection)
    _save_weights(network, folder / WEIGHTS_FILE)
    text = json.dumps(manifest.as_document(), indent=2, ensure_ascii=False) + "\n"
    _replace(folder / MANIFEST_FILE, text.encode())
    return manifest


def _check_inspection(network: SeriesNetwork, inspection: bytes) -> None:
    """Read a few steps with torch and with inspect.onnx. Raises ExportError that names a signal which differs."""
    config, layers = network.config, network.stack.layers
    drawn = np.random.default_rng(0).standard_normal(_CHECKED)
    values = (config.mean + config.scale * drawn).astype(np.float32)
    states = {s.input: np.zeros((_CHECKED[1], s.width), s.dtype) for s in recurrent.states(layers)}
    _, watched = network.watch(torch.from_numpy(values))
    signals = inspecting.signals(layers)
    found = open_session(inspection).run([one.output for one in signals], {series.VALUES: values, **states})
    for signal, told in zip(signals, found, strict=True):
        if not np.allclose(told, watched[signal.layer][signal.letter].numpy(), rtol=1e-3, atol=1e-4):
            raise ExportError(f"inspect.onnx and torch differ in {signal.output}")


def load(folder: Path) -> SeriesNetwork:
    """The network of a folder. Raises ExportError if it is not one of these."""
    path = folder / WEIGHTS_FILE
    try:
        with np.load(path, allow_pickle=False) as saved:
            network = SeriesNetwork(SeriesConfig(**json.loads(str(saved[_CONFIG]))))
            network.load_state_dict({key: torch.from_numpy(saved[key]) for key in saved.files if key != _CONFIG})
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ExportError(f"{path} is no network over numbers ({error}); train it again with --full") from error
    return network.eval()


def _save_weights(network: SeriesNetwork, path: Path) -> None:
    config = np.array(json.dumps(network.config.as_document()))
    arrays: dict[str, Any] = {_CONFIG: config, **{key: _numpy(value) for key, value in network.state_dict().items()}}
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)


def _replace(path: Path, data: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    partial.replace(path)


def _numpy(values: torch.Tensor) -> NDArray[np.float32]:
    return values.detach().cpu().numpy().astype(np.float32)


def kept(
    bench: Bench, name: str, config: SeriesConfig, train: Callable[[], SeriesNetwork], *, what: str, step: str
) -> SeriesNetwork:
    """The trained network of that name, as `Bench.network` has it; a new one is exported to `out`/NAME.

    what, step: as for `save`. Raises ExportError.
    """
    found = bench.models / name
    if not bench.full and (found / MANIFEST_FILE).exists():
        network = load(found)
        if network.config == config:
            return network
        bench.console.print(f"{found} has another shape than was asked for: training a new one", highlight=False)
    network = train()
    shown = bench.asks.get(name)
    example = () if shown is None or isinstance(shown, str) else shown
    save(network, bench.out / name, name=name, made_by=bench.made_by, what=what, step=step, example=example)
    bench.made.add(name)
    return network.eval()
