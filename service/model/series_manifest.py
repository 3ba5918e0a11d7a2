"""The contract of a model that reads numbers: `manifest.json` of format 2.

A series is rows of real numbers, one step after another; at each the model says what it expects of the next step. Such
a folder holds one fp32 graph. Models of tokens, bytes or words, have a `Manifest`.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from service.model.checked import Between, Checked, Matching, NotEmpty
from service.model.manifest import MANIFEST_FILE, Manifest, ModelFolderError, Signal, StateTensor, read_manifest

_NAME = r"[A-Za-z0-9_.-]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesGraph(Checked):
    """The ONNX file of the folder and the names of its tensors.

    values: float32 [time, rows, width], time-major.  expected: float32 [time, rows, width], of the step after each.
    states: as in `manifest.Graph`.
    """

    file: Annotated[str, Matching(_NAME)]
    sha256: Annotated[str, Matching("[0-9a-f]{64}")]
    bytes: Annotated[int, Between(1)]
    values: str = "values"
    expected: str = "expected"
    states: tuple[StateTensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesInspection(Checked):
    """An ONNX file that tells every signal of every layer after each step; it is for watching and is never served.

    values: float32 [time, rows, width].  states: those of the graph that is served, under the same names.
    """

    file: Annotated[str, Matching(_NAME)]
    sha256: Annotated[str, Matching("[0-9a-f]{64}")]
    bytes: Annotated[int, Between(1)]
    values: str = "values"
    states: tuple[StateTensor, ...]
    signals: Annotated[tuple[Signal, ...], NotEmpty()]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesManifest(Checked):
    """What a server must know to serve the folder.

    width: how many numbers a step has.  names: what each of them is, `width` names or none.  step: what a step is.
    example: steps that show what the model does, one number after another, or none.
    """

    format: Literal[2] = 2
    name: Annotated[str, Matching(_NAME, most=64)]
    vocabulary: Literal["numbers"] = "numbers"
    width: Annotated[int, Between(1, 4096)]
    names: tuple[str, ...] = ()
    step: str = "step"
    graph: SeriesGraph
    inspect: SeriesInspection | None = None
    example: tuple[float, ...] = ()
    architecture: dict[str, int | float | bool | str] = field(default_factory=dict)

    def digest(self) -> str:
        """What names this model in answers, as `Manifest.digest`."""
        return hashlib.sha256(f"fp32:{self.graph.sha256}\n".encode()).hexdigest()


def read_any_manifest(folder: Path) -> Manifest | SeriesManifest:
    """The manifest of a folder, whatever its model reads. Raises ModelFolderError that names the field."""
    path = folder / MANIFEST_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return read_manifest(folder)  # raises, and says what is wrong
    if not (isinstance(document, dict) and document.get("vocabulary") == "numbers"):
        return read_manifest(folder)
    try:
        manifest = SeriesManifest.model_validate(document)
    except ValueError as error:
        raise ModelFolderError(f"{path}: {error}") from error
    if manifest.names and len(manifest.names) != manifest.width:
        raise ModelFolderError(f"{path}: names: {len(manifest.names)} names for {manifest.width} numbers of a step")
    if len(manifest.example) % manifest.width or not all(map(math.isfinite, manifest.example)):
        raise ModelFolderError(f"{path}: example: not whole steps of {manifest.width} finite numbers")
    return manifest
