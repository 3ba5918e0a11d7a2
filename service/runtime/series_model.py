"""A folder whose model reads numbers, loaded: onnxruntime behind the tensors' port.

What holds for models of tokens holds here: digests before parsing, weights and tensors checked, one thread, no
spinning, and the same-bits promise tried by a probe before anybody is answered.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.engine.ports import ModelError, States, StateShape
from service.engine.requests import ModelIdentity
from service.model.manifest import ModelFolderError, read_graph
from service.model.series_manifest import SeriesManifest, read_any_manifest
from service.runtime.agreement import check_pairs, compare_tensors
from service.runtime.onnx_file import NotOnnx, summarize
from service.runtime.onnx_model import open_session
from service.runtime.series_promise import check_series_promise, fingerprint

_FLOAT32 = np.dtype(np.float32)


class OnnxSeriesModel:
    """One graph over numbers, ready to read. One thread at a time; releases the interpreter lock while it runs."""

    def __init__(self, manifest: SeriesManifest, session: ort.InferenceSession, threads: int) -> None:
        """Wrap a session whose tensors were checked, and probe it. Raises ModelError."""
        graph = manifest.graph
        self._graph, self._session = graph, session
        self.width, self.names, self.step = manifest.width, manifest.names, manifest.step
        self.numbers_a_step = manifest.width
        self.shapes = [StateShape(s.width, _FLOAT32, s.initial) for s in graph.states]
        self._wanted = [graph.expected, *(state.output for state in graph.states)]
        self._fed = [state.input for state in graph.states]
        found = hashlib.sha256(f"{manifest.digest()}\n{ort.__version__}\n{threads}\n".encode())
        found.update(fingerprint(self))
        self.identity = ModelIdentity(manifest.name, manifest.digest(), found.hexdigest()[:16])

    def initial_states(self, rows: int) -> States:
        """Before the first step, one array [rows, width] per recurrent tensor."""
        return [np.full((rows, shape.width), shape.initial, shape.dtype) for shape in self.shapes]

    def read_chunk(
        self, inputs: NDArray[np.int64] | NDArray[np.float32], states: States
    ) -> tuple[NDArray[np.float32], States]:
        """What is expected after each step of values, both float32 [time, rows, width]; see `tensors.ports.Reader`."""
        feeds = {self._graph.values: inputs, **dict(zip(self._fed, states, strict=True))}
        try:
            expected, *after = self._session.run(self._wanted, feeds)
        except Exception as error:  # onnxruntime's many errors have no base but this
            raise ModelError(f"{self._graph.file} refused a chunk of {inputs.shape} numbers: {error}") from error
        if not all(np.isfinite(array).all() for array in (expected, *after)):
            raise ModelError(f"{self._graph.file}: what it gives for a chunk of {inputs.shape} numbers is not finite")
        return expected, after


def load_series_model(folder: Path, threads: int = 1) -> OnnxSeriesModel:
    """Load the graph of a folder that reads numbers. Raises ModelFolderError that says what does not match.

    A graph whose rows depend on each other, or on how a series was cut, is refused.
    """
    manifest = read_any_manifest(folder)
    if not isinstance(manifest, SeriesManifest):
        raise ModelFolderError(f"{folder} reads {manifest.vocabulary}, not numbers")
    graph = manifest.graph
    path, data = folder / graph.file, read_graph(folder, graph)
    try:
        summary = summarize(data)
    except NotOnnx as error:
        raise ModelFolderError(f"{path} is not a graph: {error}") from error
    if summary.external:
        raise ModelFolderError(f"{path} keeps {summary.external[0]!r} in another file; a graph must be whole")
    if summary.not_finite:
        raise ModelFolderError(f"{path}: the weight {summary.not_finite[0]!r} is not finite; export it again")
    if any(state.dtype != "float32" for state in graph.states):
        raise ModelFolderError(f"{folder}: manifest.json: states of a model that reads numbers are float32")
    session = open_session(path, data, threads)
    given = {graph.values: ("float32", manifest.width)} | {s.input: (s.dtype, s.width) for s in graph.states}
    told = {graph.expected: ("float32", manifest.width)} | {s.output: (s.dtype, s.width) for s in graph.states}
    compare_tensors(graph.file, session, given, told)
    check_pairs(graph.states)
    try:
        model = OnnxSeriesModel(manifest, session, threads)
        difference = check_series_promise(model, rounds=1)
    except ModelError as error:
        raise ModelFolderError(f"{path} fails on a first chunk: {error}") from error
    if difference is not None:
        raise ModelFolderError(
            f"{graph.file}: {difference}. Export it with weights as constants of the graph, and pair its states rightly"
        )
    return model
