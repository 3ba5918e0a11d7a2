"""A model folder as a StepModel: onnxruntime behind the engine's port.

The session's options are chosen for a server whose rows are many and small. One intra-op thread unless more are asked
for, because the batch is the parallelism and more cores are more replicas; no spinning, because a spinning thread burns
the core that the event loop needs; one op at a time, because the graph is a chain.
docs/decisions/010-int8-and-its-proof.md has the measurements.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.engine.following import follow_by_steps
from service.engine.ports import FollowResult, ModelError, ReadResult, States, StateShape, StepResult
from service.engine.requests import ModelIdentity
from service.model.manifest import (
    Graph,
    Manifest,
    ModelFolderError,
    Precision,
    read_graph,
    read_manifest,
)
from service.runtime.agreement import check_tensors
from service.runtime.onnx_file import NotOnnx, OnnxSummary, settled, summarize
from service.runtime.promise import Alone, Difference, compare_in_batches, draw_texts, read_alone

_DTYPES: dict[str, np.dtype[np.generic]] = {"float32": np.dtype(np.float32), "uint8": np.dtype(np.uint8)}
_TRUE = np.array([True])
_LAST = np.array([-1], np.int64)
_PROBE_ROWS, _PROBE_STEPS = 3, 16  # 10 ms of each start
_PROBE_SEED = 2000
WAY_OUT_OF_BATCH_DEPENDENCE = (
    "Serve a graph of `carousel export`, whose rows cannot touch each other; or, if everybody on this server may learn "
    "what everybody types, give --allow-batch-dependent"
)


@dataclass(frozen=True, slots=True)
class Sessions:
    """One graph, loaded. `single` computes single steps alone and is None for a graph with one way for all lengths.

    Both are fed the same inputs and give the same outputs; `single` leaves log_probabilities empty.
    """

    several: ort.InferenceSession
    single: ort.InferenceSession | None


class OnnxStepModel:
    """One graph of a model folder, ready to step. One thread at a time; releases the interpreter lock while it runs.

    `state_names` are those of the states' outputs. `difference` is where the probe at load found that a row is not
    itself in a batch, and `batch_dependence` says it in words; both are None for a graph that keeps the promise.
    """

    batch_dependence: str | None = None

    def __init__(self, manifest: Manifest, graph: Graph, sessions: Sessions, threads: int) -> None:
        """Wrap sessions whose tensors were checked, and probe them; use `load_model`. Raises ModelError."""
        self._graph, self._sessions = graph, sessions
        self.shapes: Sequence[StateShape] = [StateShape(s.width, _DTYPES[s.dtype], s.initial) for s in graph.states]
        self.top_k = manifest.top_k
        self.vocabulary_size = manifest.vocabulary_size
        self.start_token = manifest.start_token
        self.separator_token = manifest.separator_token
        self.state_names = [s.output for s in graph.states]
        heads = [graph.top_log_probabilities, graph.top_tokens]
        self._inputs = [graph.tokens, graph.positions, *(s.input for s in graph.states)]
        self._wanted = [*heads, *self.state_names]
        self._wanted_with_all = [*self._wanted, graph.log_probabilities]
        self._wanted_on_the_way = [*heads, *(graph.follow.states if graph.follow is not None else ())]
        alone, self.difference = _probe(self)
        self.identity = ModelIdentity(manifest.name, manifest.digest(), _numerics_id(manifest.digest(), threads, alone))

    def step(self, tokens: NDArray[np.int64], states: States, *, all_probabilities: bool = False) -> StepResult:
        """Feed a chunk to every row; see `engine.ports.StepModel`. Refuses states that lead to NaN, too."""
        sessions = self._sessions
        if len(tokens) == 1 and sessions.single is not None and not all_probabilities:
            outputs = self._run(sessions.single, self._wanted, tokens, _LAST, states)
            return StepResult(outputs[2:], outputs[1][0], outputs[0][0])
        last = np.array([len(tokens) - 1], np.int64)
        wanted = self._wanted_with_all if all_probabilities else self._wanted
        outputs = self._run(sessions.several, wanted, tokens, last, states)
        after = 2 + len(self.state_names)
        everything = outputs[after][0] if all_probabilities else None
        return StepResult(outputs[2:after], outputs[1][0], outputs[0][0], everything)

    def follow(self, tokens: NDArray[np.int64], states: States, *, ends_only: bool = False) -> FollowResult:
        """Feed tokens, some of the model's own choice; see `engine.ports.StepModel`."""
        following = self._graph.follow
        if following is None:
            return follow_by_steps(self, tokens, states, ends_only=ends_only)
        session, flag = self._sessions.several, {following.flag: _TRUE}
        wanted = self._wanted if ends_only else self._wanted_on_the_way
        outputs = self._run(session, wanted, tokens, _LAST, states, flag)
        after = [state[None] for state in outputs[2:]] if ends_only else outputs[2:]
        return FollowResult(after, outputs[1], outputs[0])

    def read(self, tokens: NDArray[np.int64], states: States) -> ReadResult:
        """Feed a chunk, and tell every distribution; see `engine.ports.StepModel`."""
        everywhere = np.arange(len(tokens), dtype=np.int64)
        outputs = self._run(self._sessions.several, self._wanted_with_all, tokens, everywhere, states)
        after = 2 + len(self.state_names)
        return ReadResult(outputs[2:after], outputs[1], outputs[0], outputs[after])

    def _run(
        self,
        session: ort.InferenceSession,
        wanted: list[str],
        tokens: NDArray[np.int64],
        positions: NDArray[np.int64],
        states: States,
        flag: dict[str, NDArray[np.bool_]] | None = None,
    ) -> list[NDArray[Any]]:
        """One call of onnxruntime; the log-probabilities of the tops come first. Raises ModelError."""
        feeds: dict[str, NDArray[Any]] = dict(zip(self._inputs, (tokens, positions, *states), strict=True))
        if flag is not None:
            feeds |= flag
        try:
            outputs: list[NDArray[Any]] = session.run(wanted, feeds)
        except Exception as error:  # onnxruntime's many errors have no base but this
            raise ModelError(f"{self._graph.file} refused a batch of {tokens.shape} tokens: {error}") from error
        if not np.isfinite(outputs[0]).all():  # only states that no text leads to can do this
            raise ModelError(
                f"{self._graph.file}: log-probabilities of a batch of {tokens.shape} tokens are not finite"
            )
        return outputs

    def release(self) -> None:
        """Give onnxruntime's sessions back, with their weights. Nothing can be run after it; twice is fine."""
        vars(self).pop("_sessions", None)

    def initial_states(self, rows: int) -> list[NDArray[np.generic]]:
        """The states before the start token, one array [rows, width] per recurrent tensor."""
        return [np.full((rows, s.width), s.initial, s.dtype) for s in self.shapes]


def _probe(model: OnnxStepModel) -> tuple[Alone, Difference | None]:
    """What a few fixed rows give alone, and whether they give the same in batches and chunks. Raises ModelError."""
    generator = np.random.default_rng(_PROBE_SEED)
    alone = read_alone(model, draw_texts(model, _PROBE_ROWS, generator, steps=_PROBE_STEPS), model.state_names)
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
    vocabulary: Literal["bytes", "words"] = "bytes",
) -> OnnxStepModel:
    """Load one graph of a model folder: int8 if it is there and nothing else was asked for, else fp32.

    Digests are checked before the file is parsed, its weights and operators before onnxruntime sees it, its tensors
    against the manifest after, and the same-bits promise by a probe. Raises ModelFolderError that says what does not
    match. With `allow_batch_dependent`, a graph whose rows depend on each other is loaded all the same, and its
    `batch_dependence` says how. vocabulary: what its tokens are to be; a session is a text of bytes.
    """
    manifest = read_manifest(folder)
    if manifest.vocabulary != vocabulary:
        raise ModelFolderError(
            f"{folder} reads {manifest.vocabulary}, but a session is a text of bytes; train a byte-level model and "
            "serve that, or ask this one over /v2 from `carousel serve`"
        )
    if precision == "auto":
        precision = "int8" if "int8" in manifest.graphs else "fp32"
    graph = manifest.graphs.get(precision)
    if graph is None:
        raise ModelFolderError(f"{folder} has no {precision} graph, only {', '.join(sorted(manifest.graphs))}")
    data = read_graph(folder, graph)
    summary = _check_file(folder / graph.file, precision, graph, data)
    sessions = open_sessions(folder / graph.file, graph, data, threads)
    check_tensors(graph, manifest, sessions.several)
    try:
        model = OnnxStepModel(manifest, graph, sessions, threads)
    except ModelError as error:
        raise ModelFolderError(f"{folder / graph.file} fails on a first batch: {error}") from error
    model.batch_dependence = _batch_dependence(graph, summary, model.difference)
    if model.batch_dependence is not None and not allow_batch_dependent:
        raise ModelFolderError(f"{model.batch_dependence}. {WAY_OUT_OF_BATCH_DEPENDENCE}")
    return model


def open_sessions(path: Path, graph: Graph, data: bytes, threads: int) -> Sessions:
    """A session for everything, and one for single steps if the graph has a way of its own for them.

    data: the file's bytes, whose digest was checked; `path` is for messages. Raises ModelFolderError.
    One session that chose by its input would take 4 us more for a step of one row, which takes 70.
    """
    if graph.single_step is None:
        return Sessions(open_session(path, data, threads), None)
    try:
        several, single = settled(data, graph.single_step)
    except NotOnnx as error:
        raise ModelFolderError(f"manifest.json says how {path} reads single steps, but {error}") from error
    return Sessions(open_session(path, several, threads), open_session(path, single, threads))


def open_session(path: Path, data: bytes, threads: int) -> ort.InferenceSession:
    """A session for a file's bytes, which were checked; `path` is for messages. Raises ModelFolderError."""
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
