"""A model folder as a StepModel: onnxruntime behind the engine's port.

The session's options are chosen for a server whose rows are many and small. One intra-op thread unless more are asked
for, because the batch is the parallelism and more cores are more replicas; no spinning, because a spinning thread burns
the core that the event loop needs; one op at a time, because the graph is a chain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.engine.ports import ModelError, States, StateShape, StepResult
from service.engine.requests import ModelIdentity
from service.model.manifest import Graph, Manifest, ModelFolderError, Precision, StateTensor, read_graph, read_manifest

_DTYPES: dict[str, np.dtype[np.generic]] = {"float32": np.dtype(np.float32), "uint8": np.dtype(np.uint8)}
_ORT_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)", "int64": "tensor(int64)"}
_PROBE_TOKENS = 24
_PROBE_ROWS = 3


class OnnxStepModel:
    """One graph of a model folder, ready to step. One thread at a time; releases the interpreter lock while it runs."""

    def __init__(self, manifest: Manifest, graph: Graph, session: ort.InferenceSession, threads: int) -> None:
        """Wrap a session whose tensors were checked; use `load_model`."""
        self._graph, self._session = graph, session
        self.shapes: Sequence[StateShape] = [StateShape(s.width, _DTYPES[s.dtype], s.initial) for s in graph.states]
        self.top_k = manifest.top_k
        self.vocabulary_size = manifest.vocabulary_size
        self.start_token = manifest.start_token
        self.separator_token = manifest.separator_token
        self._state_outputs = [s.output for s in graph.states]
        self._heads = [graph.top_tokens, graph.top_log_probabilities]
        self.identity = ModelIdentity(manifest.name, manifest.digest(), self._probe(manifest.digest(), threads))

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        """Feed a chunk to every row; see `engine.ports.StepModel`."""
        graph = self._graph
        feeds: dict[str, NDArray[np.generic]] = {
            graph.tokens: tokens,
            graph.positions: np.array([len(tokens) - 1], np.int64),
        }
        feeds.update((s.input, state) for s, state in zip(graph.states, states, strict=True))
        wanted = [*self._state_outputs, *self._heads, *([graph.log_probabilities] if all_probabilities else ())]
        try:
            outputs = self._session.run(wanted, feeds)
        except Exception as error:  # noqa: BLE001 -- onnxruntime's many errors have no base but this
            raise ModelError(f"{graph.file} refused a batch of {tokens.shape} tokens: {error}") from error
        after = len(self._state_outputs)
        return StepResult(
            states=outputs[:after],
            top_tokens=outputs[after][0],
            top_log_probabilities=outputs[after + 1][0],
            log_probabilities=outputs[after + 2][0] if all_probabilities else None,
        )

    def initial_states(self, rows: int) -> list[NDArray[np.generic]]:
        """The states before the start token, one array [rows, width] per recurrent tensor."""
        return [np.full((rows, s.width), s.initial, s.dtype) for s in self.shapes]

    def _probe(self, digest: str, threads: int) -> str:
        """Check the promise on a fixed input and hash its results into the numerics id.

        The same tokens are fed to one row step by step, and to several rows as one chunk beside other text. Both must
        end in the same bits. They cannot if the state tensors are paired wrongly, or if a row depends on its batch.
        """
        tokens = np.random.default_rng(2000).integers(0, self.vocabulary_size, (_PROBE_TOKENS, _PROBE_ROWS))
        tokens[0] = self.start_token
        together = self.step(tokens, self.initial_states(_PROBE_ROWS), all_probabilities=True)
        states: States = self.initial_states(1)
        for token in tokens[:, :1]:
            alone = self.step(token[:, None], states, all_probabilities=True)
            states = alone.states
        found = hashlib.sha256(f"{digest}\n{ort.__version__}\n{threads}\n".encode())
        names = [*self._state_outputs, self._graph.log_probabilities]
        pairs = zip(
            names,
            [*alone.states, alone.log_probabilities],
            [*together.states, together.log_probabilities],
            strict=True,
        )
        for name, one, many in pairs:
            if one is None or many is None or not np.isfinite(np.asarray(many, np.float64)).all():
                raise ModelFolderError(
                    f"{self._graph.file}: output {name!r} is not finite after {_PROBE_TOKENS} tokens"
                )
            if np.asarray(one)[0].tobytes() != np.asarray(many)[0].tobytes():
                raise ModelFolderError(
                    f"{self._graph.file}: output {name!r} depends on the batch or on the chunking: one row fed byte by "
                    "byte and the same row in a batch of chunks end in different bits. Either manifest.json pairs the "
                    "state tensors wrongly (check `states`: each output must be fed back to its own input), or the "
                    "graph quantizes over the whole batch and cannot be served safely; export it again"
                )
            found.update(np.ascontiguousarray(many).tobytes())
        return found.hexdigest()[:16]


def load_model(folder: Path, precision: Precision | Literal["auto"] = "auto", threads: int = 1) -> OnnxStepModel:
    """Load one graph of a model folder: int8 if it is there and nothing else was asked for, else fp32.

    Digests are checked before the file is parsed, tensors against the manifest after, and the same-bits promise by a
    probe. Raises ModelFolderError that says what does not match.
    """
    manifest = read_manifest(folder)
    if precision == "auto":
        precision = "int8" if "int8" in manifest.graphs else "fp32"
    graph = manifest.graphs.get(precision)
    if graph is None:
        raise ModelFolderError(f"{folder} has no {precision} graph, only {', '.join(sorted(manifest.graphs))}")
    data = read_graph(folder, graph)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 -- onnxruntime's many errors have no base but this
        raise ModelFolderError(f"{folder / graph.file} is not a graph that onnxruntime runs: {error}") from error
    _check_tensors(graph, manifest, session)
    try:
        return OnnxStepModel(manifest, graph, session, threads)
    except ModelError as error:
        raise ModelFolderError(f"{folder / graph.file} fails on a first batch: {error}") from error


def _check_tensors(graph: Graph, manifest: Manifest, session: ort.InferenceSession) -> None:
    """Every tensor that the manifest names is in the graph with its type and width, and the graph wants no other."""
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    outputs = {tensor.name: tensor for tensor in session.get_outputs()}
    expected: dict[str, tuple[str, int | None]] = {graph.tokens: ("int64", None), graph.positions: ("int64", None)}
    expected |= {s.input: (s.dtype, s.width) for s in graph.states}
    _compare(graph.file, "input", inputs, expected)
    extra = sorted(set(inputs) - set(expected))
    if extra:
        raise ModelFolderError(f"{graph.file} wants inputs that manifest.json does not name: {', '.join(extra)}")
    expected = {s.output: (s.dtype, s.width) for s in graph.states}
    expected[graph.log_probabilities] = ("float32", manifest.vocabulary_size)
    expected[graph.top_log_probabilities] = ("float32", manifest.top_k)
    expected[graph.top_tokens] = ("int64", manifest.top_k)
    _compare(graph.file, "output", outputs, expected)
    _check_pairs(graph)


def _check_pairs(graph: Graph) -> None:
    for attribute in ("input", "output"):
        names = [getattr(s, attribute) for s in graph.states]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ModelFolderError(f"manifest.json: states: the {attribute} {twice[0]!r} is paired twice")
    for state in graph.states:
        _check_initial(state)


def _check_initial(state: StateTensor) -> None:
    if state.dtype == "uint8" and not (0 <= state.initial <= 255 and state.initial.is_integer()):
        raise ModelFolderError(f"manifest.json: states: {state.input!r} is uint8 and cannot start as {state.initial}")


def _compare(file: str, kind: str, found: dict[str, ort.NodeArg], expected: dict[str, tuple[str, int | None]]) -> None:
    for name, (dtype, width) in expected.items():
        tensor = found.get(name)
        if tensor is None:
            raise ModelFolderError(
                f"{file} has no {kind} {name!r}, but manifest.json names it; it has {', '.join(found)}"
            )
        if tensor.type != _ORT_TYPES[dtype]:
            raise ModelFolderError(f"{file}: {kind} {name!r} is {tensor.type}, manifest.json says {dtype}")
        last = tensor.shape[-1] if tensor.shape else None
        if width is not None and isinstance(last, int) and last != width:
            raise ModelFolderError(f"{file}: {kind} {name!r} has width {last}, manifest.json says {width}")
