"""From someone's ONNX file to a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import numpy_helper

from model_export import folder as model_folder
from model_export.adopting import wrapping
from model_export.adopting.foreign import BYTES, ForeignGraph
from model_export.adopting.layouts import time_major
from model_export.adopting.pairing import Pair, find_pairs
from model_export.errors import ExportError, ParityError
from model_export.graphs import contract
from model_export.isolation import check_steps_equal_chunks
from service.model.manifest import Manifest, Precision


@dataclass(frozen=True, slots=True)
class AdoptResult:
    """What was found and done. `broken_promise` says how rows or chunks influence each other, None if they do not."""

    folder: Path
    manifest: Manifest
    pairs: tuple[Pair, ...]
    added: tuple[str, ...]
    broken_promise: str | None


def adopt(
    path: Path,
    out: Path,
    *,
    name: str | None = None,
    tokens: str | None = None,
    head: str | None = None,
    pairs: Mapping[str, str] | None = None,
    start_token: int = 0xFF,
) -> AdoptResult:
    """Find the graph's tensors, pair its states, wrap it if the contract needs it, and write the folder.

    Raises ExportError that lists the tensors and says which flags to give; `out` is unchanged then.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror})") from error
    data = time_major(data)
    graph = ForeignGraph(data, tokens=tokens, head=head)
    _check_weights(graph)
    found = find_pairs(graph, pairs or {})
    added: tuple[str, ...] = ()
    as_it_is = wrapping.fits_contract(graph)
    if not as_it_is:
        data, added = wrapping.wrap(graph, found)
    states = wrapping.state_tensors(found, own_names=as_it_is)
    precision = _precision(graph)
    built = model_folder.built_graph(precision, data, states)
    manifest = Manifest(
        name=name or model_folder.model_name(path.stem),
        start_token=start_token,
        top_k=_top_k(graph) if as_it_is else contract.top_k(BYTES),
        graphs={precision: built.entry},
        architecture={"network": "adopted", "layers": 1 + max(pair.layer for pair in found)},
    )
    broken = None
    try:
        check_steps_equal_chunks(built.model, built.entry, BYTES)
    except ParityError as error:
        broken = str(error)
    model_folder.write_folder(out, manifest, {precision: built})
    return AdoptResult(out, manifest, found, added, broken)


def _top_k(graph: ForeignGraph) -> int:
    outputs = graph.run(np.zeros((1, 1), np.int64), graph.blank_states(1))
    return int(outputs[contract.TOP_TOKENS].shape[-1])


def _precision(graph: ForeignGraph) -> Precision:
    """int8 if a matrix is."""
    eight_bits = any(numpy_helper.to_array(c).itemsize == 1 and len(c.dims) > 1 for c in graph.model.graph.initializer)
    return "int8" if eight_bits else "fp32"


def _check_weights(graph: ForeignGraph) -> None:
    for constant in graph.model.graph.initializer:
        array = numpy_helper.to_array(constant)
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise ExportError(f"weight {constant.name} holds NaN or infinities; the weights are broken")
