"""The artifact's contract: `manifest.json` names every graph of a model folder, its digest and its tensors.

A model folder holds `manifest.json` and the graphs that it names. Loading checks size and sha256 before anything is
parsed, and the runtime checks every tensor pair against the graph, so that h and c cannot be swapped by name order.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Protocol

from service.model.checked import Between, Checked, Matching, NotAccepted, NotEmpty

UNSERVED_FILE = "not-served.txt"
"""In place of a manifest, in a folder that was exported and cannot be served: one sentence that says why."""
MANIFEST_FILE = "manifest.json"

Precision = Literal["fp32", "int8"]

BYTES = 256
MAX_WORDS = 1 << 15
"""Tokens of a model of words: a distribution over so many is 128 KiB, of which a sequence keeps one."""

_NAME = r"[A-Za-z0-9_.-]+"
_REASON = 1000  # characters of a note that are told


class ModelFolderError(Exception):
    """A model folder that cannot be served; the message says what does not match and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateTensor(Checked):
    """One recurrent tensor: fed as `input`, read back as `output`, both `dtype` [rows, width]; starts as `initial`."""

    input: str
    output: str
    role: Literal["hidden", "cell"]
    layer: Annotated[int, Between(0)]
    dtype: Literal["float32", "uint8"]
    width: Annotated[int, Between(1)]
    initial: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Following(Checked):
    """How a graph feeds its own choice. `flag`: bool [1], an input that may be left out, and then is false.

    If it is true, a token below 0 stands for the likeliest after the step before, top_log_probabilities and top_tokens
    are those of every step, log_probabilities is empty, and `states` name the outputs with every step's states,
    [steps, rows, width], in the order of the graph's states.
    """

    flag: str
    states: Annotated[tuple[str, ...], NotEmpty()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph(Checked):
    """One ONNX file of the folder and the names of its tensors.

    single_step: bool [1], an input that may be left out. True promises one token per row; the graph is faster then, and
    leaves log_probabilities empty.
    tokens: int64 [time, rows], time-major.  positions: int64 [n], the time steps whose distribution is wanted.
    log_probabilities: float32 [n, rows, vocabulary], natural log.  top_log_probabilities: float32 and top_tokens:
    int64, both [n, rows, top_k], best first; ties in an order that each graph has, the same in all its ways to run.
    states: whatever the network carries from step to step: none, h, h and c, any number of each.
    """

    file: Annotated[str, Matching(_NAME)]
    sha256: Annotated[str, Matching("[0-9a-f]{64}")]
    bytes: Annotated[int, Between(1)]
    tokens: str = "tokens"
    positions: str = "positions"
    log_probabilities: str = "log_probabilities"
    top_log_probabilities: str = "top_log_probabilities"
    top_tokens: str = "top_tokens"
    states: tuple[StateTensor, ...]
    single_step: str | None = None
    follow: Following | None = None
    held_out_bits_per_byte: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(Checked):
    """What can be watched of a layer: `output` is float32 [time, rows, width]; letter: i, f, o, g, c, h, r, z or n."""

    output: str
    layer: Annotated[int, Between(0)]
    letter: Annotated[str, Matching("[a-z]", most=1)]
    width: Annotated[int, Between(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection(Checked):
    """An ONNX file that tells every signal of every layer after each token; it is for watching and is never served.

    tokens: int64 [time, rows], time-major.  states: those of the graph that is served, under the same names.
    """

    file: Annotated[str, Matching(_NAME)]
    sha256: Annotated[str, Matching("[0-9a-f]{64}")]
    bytes: Annotated[int, Between(1)]
    tokens: str = "tokens"
    states: tuple[StateTensor, ...]
    signals: Annotated[tuple[Signal, ...], NotEmpty()]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusSummary(Checked):
    """What one corpus gave to the training."""

    name: str
    train_documents: int
    train_bytes: int
    held_out_documents: int
    held_out_bytes: int
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training(Checked):
    """How the weights came to be; `started_from` is the training of the model that this one went on from."""

    command: str
    bytes_seen: int
    seconds: float
    corpora: tuple[CorpusSummary, ...]
    corpus_sha256: str
    started_from: Training | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Checked):
    """What a server must know to serve the folder, and what a reader wants to know of it.

    vocabulary: what a token is; sessions are texts of bytes, so a model of words is asked over tensors, and `words`
    says which token is which, the first being that which begins and ends a text. example: the beginning of a text that
    shows what such a model does.
    """

    format: Literal[1] = 1
    name: Annotated[str, Matching(_NAME, most=64)]
    vocabulary: Literal["bytes", "words"] = "bytes"
    words: tuple[str, ...] = ()
    vocabulary_size: Annotated[int, Between(2, MAX_WORDS)] = BYTES
    start_token: Annotated[int, Between(0, 255)] = 0xFF
    separator_token: Annotated[int, Between(0, 255)] = 0xFF
    top_k: Annotated[int, Between(1, 256)]
    graphs: Annotated[dict[Precision, Graph], NotEmpty()]
    inspect: Inspection | None = None
    example: str | None = None
    architecture: dict[str, int | float | bool | str] = field(default_factory=dict)
    training: Training | None = None

    def __post_init__(self) -> None:
        Checked.__post_init__(self)  # a class with slots is made anew, and `super()` would mean the one before
        if self.vocabulary == "bytes" and self.vocabulary_size > BYTES:
            raise NotAccepted(f"{self.vocabulary_size} is not from 2 to {BYTES}, the bytes", "vocabulary_size")

    def digest(self) -> str:
        """What names this model in answers: sha256 over the graphs' digests, so equal graphs are the same model."""
        total = hashlib.sha256()
        for precision, graph in sorted(self.graphs.items()):
            total.update(f"{precision}:{graph.sha256}\n".encode())
        return total.hexdigest()


class GraphFile(Protocol):
    """An entry that names a file of the folder."""

    @property
    def file(self) -> str:
        """Its name."""

    @property
    def sha256(self) -> str:
        """Its digest, in hexadecimal."""

    @property
    def bytes(self) -> int:
        """Its size."""


def read_manifest(folder: Path) -> Manifest:
    """Read and check `manifest.json`. Raises ModelFolderError that names the field."""
    path = folder / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ModelFolderError(_without_manifest(folder, error)) from error
    try:
        document = json.loads(text)
        if isinstance(document, dict) and document.get("vocabulary") == "numbers":
            raise ModelFolderError(
                f"{folder} reads numbers, and this is for models of tokens; `carousel serve` answers it over /v2"
            )
        return Manifest.model_validate(document)
    except ValueError as error:  # no JSON, or NotAccepted
        raise ModelFolderError(f"{path}: {error}") from error


def _without_manifest(folder: Path, error: OSError) -> str:
    """Why a folder without a manifest is not served: in its own words if it has some."""
    if isinstance(error, FileNotFoundError):
        try:
            with (folder / UNSERVED_FILE).open(encoding="utf-8") as file:
                return f"{folder} is exported for other tools and cannot be served: {file.read(_REASON).strip()}"
        except (OSError, ValueError):  # there is none: then it is no folder of ours
            if any(folder.glob("*.onnx")):
                return f"{folder} has an ONNX file but no {MANIFEST_FILE}; `carousel adopt` makes a model folder of it"
    return (
        f"{folder} is not a model folder: {MANIFEST_FILE} cannot be read ({error.strerror}); "
        "make one with `carousel train` or `carousel adopt`"
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, replacing it atomically."""
    partial = folder / (MANIFEST_FILE + ".partial")
    partial.write_text(json.dumps(manifest.as_document(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(folder / MANIFEST_FILE)


def read_graph(folder: Path, graph: GraphFile) -> bytes:
    """The graph's bytes, after its size and sha256 have been checked. Raises ModelFolderError."""
    path = folder / graph.file
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size == graph.bytes else b""
    except OSError as error:
        raise ModelFolderError(f"{path} cannot be read ({error.strerror}), but {MANIFEST_FILE} names it") from error
    if size != graph.bytes:
        raise ModelFolderError(f"{path} has {size} bytes, {MANIFEST_FILE} says {graph.bytes}; export the model again")
    found = hashlib.sha256(data).hexdigest()
    if found != graph.sha256:
        raise ModelFolderError(
            f"{path} has sha256 {found}, {MANIFEST_FILE} says {graph.sha256}: the file was changed; export it again"
        )
    return data
