"""A model folder as a StepModel: onnxruntime behind the engine's port.

The session's options are chosen for a server whose rows are many and small. One intra-op thread unless more are asked
for, because the batch is the parallelism and more cores are more replicas; no spinning, because a spinning thread burns
the core that the event loop needs; one op at a time, because the graph is a chain.
docs/decisions/010-int8-and-its-proof.md has the measurements.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.engine.following import follow_by_steps
from service.engine.ports import FollowResult, ModelError, States, StateShape, StepResult
from service.engine.requests import ModelIdentity
from service.model.manifest import (
    Following,
    Graph,
    Manifest,
    ModelFolderError,
    Precision,
    StateTensor,
    read_graph,
    read_manifest,
)
from service.runtime.onnx_file import NotOnnx, OnnxSummary, summarize
from service.runtime.promise import Alone, Difference, compare_in_batches, draw_texts, read_alone

_DTYPES: dict[str, np.dtype[np.generic]] = {"float32": np.dtype(np.float32), "uint8": np.dtype(np.uint8)}
_ORT_TYPES = {
    "bool": "tensor(bool)",
    "float32": "tensor(float)",
    "int64": "tensor(int64)",
    "uint8": "tensor(uint8)",
}
_TRUE = np.array([True])
_PROBE_ROWS = 3
_PROBE_SEED = 2000
WAY_OUT_OF_BATCH_DEPENDENCE = (
    "Serve a graph of `carousel export`, whose rows cannot touch each other; or, if everybody on this server may learn "
    "what everybody types, give --allow-batch-dependent"
)


class OnnxStepModel:
    """One graph of a model folder, ready to step. One thread at a time; releases the interpreter lock while it runs.

    `state_names` are those of the states' outputs. `difference` is where the probe at load found that a row is not
    itself in a batch, and `batch_dependence` says it in words; both are None for a graph that keeps the promise.
    """

    batch_dependence: str | None = None

    def __init__(self, manifest: Manifest, graph: Graph, session: ort.InferenceSession, threads: int) -> None:
        """Wrap a session whose tensors were checked, and probe it; use `load_model`. Raises ModelError."""
        self._graph, self._session = graph, session
        self.shapes: Sequence[StateShape] = [StateShape(s.width, _DTYPES[s.dtype], s.initial) for s in graph.states]
        self.top_k = manifest.top_k
        self.vocabulary_size = manifest.vocabulary_size
        self.start_token = manifest.start_token
        self.separator_token = manifest.separator_token
        self.state_names = [s.output for s in graph.states]
        self._heads = [graph.top_tokens, graph.top_log_probabilities]
        alone, self.difference = _probe(self)
        self.identity = ModelIdentity(manifest.name, manifest.digest(), _numerics_id(manifest.digest(), threads, alone))

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        """Feed a chunk to every row; see `engine.ports.StepModel`. Refuses states that lead to NaN, too."""
        graph = self._graph
        wanted = [*self.state_names, *self._heads, *([graph.log_probabilities] if all_probabilities else ())]
        outputs = self._run(wanted, tokens, states, graph.single_step if len(tokens) == 1 else None)
        after = len(self.state_names)
        return StepResult(
            states=outputs[:after],
            top_tokens=outputs[after][0],
            top_log_probabilities=outputs[after + 1][0],
            log_probabilities=outputs[after + 2][0] if all_probabilities else None,
        )

    def follow(self, tokens: NDArray[np.int64], states: States) -> FollowResult:
        """Feed tokens, some of the model's own choice; see `engine.ports.StepModel`."""
        following = self._graph.follow
        if following is None:
            return follow_by_steps(self, tokens, states)
        outputs = self._run([*following.states, *self._heads], tokens, states, following.flag)
        return FollowResult(states=outputs[:-2], top_tokens=outputs[-2], top_log_probabilities=outputs[-1])

    def _run(
        self, wanted: list[str], tokens: NDArray[np.int64], states: States, flag: str | None
    ) -> list[NDArray[Any]]:
        """One call of onnxruntime, with a flag set if one is named. Raises ModelError."""
        graph = self._graph
        feeds: dict[str, NDArray[np.generic]] = {
            graph.tokens: tokens,
            graph.positions: np.array([len(tokens) - 1], np.int64),
        }
        feeds.update((s.input, state) for s, state in zip(graph.states, states, strict=True))
        if flag is not None:
            feeds[flag] = _TRUE
        try:
            outputs: list[NDArray[Any]] = self._session.run(wanted, feeds)
        except Exception as error:  # onnxruntime's many errors have no base but this
            raise ModelError(f"{graph.file} refused a batch of {tokens.shape} tokens: {error}") from error
        log_probabilities = outputs[wanted.index(graph.top_log_probabilities)]
        if not np.isfinite(log_probabilities).all():  # only states that no text leads to can do this
            raise ModelError(f"{graph.file}: log-probabilities of a batch of {tokens.shape} tokens are not finite")
        return outputs

    def initial_states(self, rows: int) -> list[NDArray[np.generic]]:
        """The states before the start token, one array [rows, width] per recurrent tensor."""
        return [np.full((rows, s.width), s.initial, s.dtype) for s in self.shapes]


def _probe(model: OnnxStepModel) -> tuple[Alone, Difference | None]:
    """What a few fixed rows give alone, and whether they give the same in batches and chunks. Raises ModelError."""
    generator = np.random.default_rng(_PROBE_SEED)
    alone = read_alone(model, draw_texts(model, _PROBE_ROWS, generator), model.state_names)
    return alone, compare_in_batches(model, alone, generator, max_rows=_PROBE_ROWS).difference


def _numerics_id(digest: str, threads: int, alone: Alone) -> str:
    found = hashlib.sha256(f"{digest}\n{ort.__version__}\n{threads}\n".encode())
    found.update(alone.fingerprint())
    return found.hexdigest()[:16]


def load_model(
    folder: Path,
    precision: Precision | Literal["auto"] = "auto",
    threads: int = 1,
    *,
    allow_batch_dependent: bool = False,
) -> OnnxStepModel:
    """Load one graph of a model folder: int8 if it is there and nothing else was asked for, else fp32.

    Digests are checked before the file is parsed, its weights and operators before onnxruntime sees it, its tensors
    against the manifest after, and the same-bits promise by a probe. Raises ModelFolderError that says what does not
    match. With `allow_batch_dependent`, a graph whose rows depend on each other is loaded all the same, and its
    `batch_dependence` says how.
    """
    manifest = read_manifest(folder)
    if precision == "auto":
        precision = "int8" if "int8" in manifest.graphs else "fp32"
    graph = manifest.graphs.get(precision)
    if graph is None:
        raise ModelFolderError(f"{folder} has no {precision} graph, only {', '.join(sorted(manifest.graphs))}")
    data = read_graph(folder, graph)
    summary = _check_file(folder / graph.file, precision, graph, data)
    session = _open_session(folder / graph.file, data, threads)
    _check_tensors(graph, manifest, session)
    try:
        model = OnnxStepModel(manifest, graph, session, threads)
    except ModelError as error:
        raise ModelFolderError(f"{folder / graph.file} fails on a first batch: {error}") from error
    model.batch_dependence = _batch_dependence(graph, summary, model.difference)
    if model.batch_dependence is not None and not allow_batch_dependent:
        raise ModelFolderError(f"{model.batch_dependence}. {WAY_OUT_OF_BATCH_DEPENDENCE}")
    return model


def _open_session(path: Path, data: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's many errors have no base but this
        raise ModelFolderError(f"{path} is not a graph that onnxruntime runs: {error}") from error


def _check_file(path: Path, precision: Precision, graph: Graph, data: bytes) -> OnnxSummary:
    """What the file says of itself: weights that are numbers and in this file, and integers where int8 is claimed."""
    try:
        summary = summarize(data)
    except NotOnnx as error:
        raise ModelFolderError(f"{path} is not a graph: {error}") from error
    if summary.external:
        raise ModelFolderError(f"{path} keeps {summary.external[0]!r} in another file; a graph must be whole")
    if summary.not_finite:
        raise ModelFolderError(
            f"{path}: the weight {summary.not_finite[0]!r} is not finite (NaN or infinities); export an earlier "
            "checkpoint, or train again with a lower learning rate"
        )
    floats = sorted({s.input for s in graph.states if s.role == "hidden" and s.dtype == "uint8"})
    if precision == "int8" and not summary.multiplies_integers:
        raise ModelFolderError(
            f"manifest.json says that {graph.file} is int8"
            + (f" and that {', '.join(floats)} are uint8" if floats else "")
            + ", but the graph multiplies no integers: it is fp32; name it so in manifest.json, or export it again"
        )
    return summary


def _batch_dependence(graph: Graph, summary: OnnxSummary, difference: Difference | None) -> str | None:
    """How a row depends on the rows beside it; None if it does not.

    Raises ModelFolderError if it is not the neighbours that make the difference: nobody can have meant that.
    """
    if difference is None and not summary.looks_at_all_rows:
        return None
    if difference is not None and not difference.on_neighbours:
        raise ModelFolderError(
            f"{graph.file}: {difference}. Most likely manifest.json pairs the state tensors wrongly (check `states`: "
            "each output must be fed back to its own input); a graph whose chunks add in another order than its "
            "steps, or that goes another way where it follows its own choice, does this, too. Export it again"
        )
    # The probe is short, and need not meet the rows that show what an operator does.
    shown = f"{difference}. " if difference else "a row depends on the batch. "
    operators = " and ".join(summary.looks_at_all_rows)
    why = f"{operators} takes one scale over all the rows of a batch. " if operators else ""
    return f"{graph.file}: {shown}{why}So what one person types would change what another is shown"


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
    if graph.follow is not None:
        _check_following(graph, graph.follow)
        expected |= {n: (s.dtype, s.width) for n, s in zip(graph.follow.states, graph.states, strict=True)}
    _compare(graph.file, "output", outputs, expected)
    flags = [] if graph.single_step is None else [graph.single_step]
    flags += [] if graph.follow is None else [graph.follow.flag]
    optional = {tensor.name: tensor for tensor in session.get_overridable_initializers()}
    _compare(graph.file, "optional input", optional, dict.fromkeys(flags, ("bool", 1)))
    _check_pairs(graph)


def _check_following(graph: Graph, following: Following) -> None:
    if len(following.states) != len(graph.states) or len(set(following.states)) != len(graph.states):
        raise ModelFolderError(
            f"manifest.json: follow: {len(graph.states)} states need as many outputs, each with a name of its own, "
            f"not {', '.join(following.states)}"
        )


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
                f"{file} has no {kind} {name!r}, but manifest.json names it; it has {', '.join(found) or 'none'}"
            )
        if tensor.type != _ORT_TYPES[dtype]:
            raise ModelFolderError(f"{file}: {kind} {name!r} is {tensor.type}, manifest.json says {dtype}")
        last = tensor.shape[-1] if tensor.shape else None
        if width is not None and isinstance(last, int) and last != width:
            raise ModelFolderError(f"{file}: {kind} {name!r} has width {last}, manifest.json says {width}")
