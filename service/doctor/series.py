"""The graph of a folder that reads numbers: loaded on one and on two threads, and its promise tried at length."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from service.doctor.findings import Finding, Verdict
from service.engine.ports import ModelError
from service.model.manifest import ModelFolderError
from service.model.series_manifest import SeriesManifest
from service.runtime.series_model import load_series_model
from service.runtime.series_promise import check_series_promise

_EXPORT_AGAIN = "export the model again: carousel lab NAME --full"
_ROUNDS_FOR_ONE = 10  # every row alone takes that much longer than a batch


def examine_series(
    folder: Path, manifest: SeriesManifest, *, rounds: int, threads: tuple[int, ...]
) -> Iterator[Finding]:
    """What is found, a row at a time; whatever is wrong is a finding."""
    shown = f"{manifest.graph.file}, {manifest.graph.bytes / 1e6:.1f} MB, sha256 {manifest.graph.sha256[:16]}..."
    pairs = {state.input: state.output for state in manifest.graph.states}
    for count in threads:
        where = f"{count} thread{'s'[: count - 1]}"
        suffix = where.replace(" ", "_")
        try:
            model = load_series_model(folder, count)
            difference = check_series_promise(model, rounds=max(1, rounds // _ROUNDS_FOR_ONE))
        except (ModelFolderError, ModelError) as error:
            yield Finding(f"fp32_file_{suffix}", "fp32: file", None, str(error), Verdict.BROKEN, _EXPORT_AGAIN)
            return
        if count == threads[0]:
            yield Finding("fp32_file", "fp32: file", manifest.graph.sha256, f"{shown} as the manifest says")
            told = ", ".join(f"{one} to {other}" for one, other in pairs.items())
            yield Finding("fp32_tensor_pairs", "fp32: tensor pairs", pairs, told)
            row_bytes = sum(shape.row_bytes for shape in model.shapes)
            yield Finding("fp32_state_bytes", "fp32: state of a sequence", row_bytes, f"{row_bytes:,} bytes")
        numerics = model.identity.numerics_id
        yield Finding(f"fp32_numerics_id_{suffix}", f"fp32: numerics id, {where}", numerics, numerics)
        same = Finding(f"fp32_same_bits_{suffix}", f"fp32: same bits, {where}", True, "each row as it is alone")
        if difference is not None:
            same = Finding(same.key, same.title, False, str(difference), Verdict.BROKEN, _EXPORT_AGAIN)
        yield same
