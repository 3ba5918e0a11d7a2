"""The graphs of a model folder: each loaded on one and on two threads, and its promise tried at length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from service.doctor.findings import Finding, Verdict
from service.doctor.series import examine_series
from service.engine.ports import ModelError
from service.model.manifest import Manifest, ModelFolderError, Precision, read_graph
from service.model.series_manifest import SeriesManifest, read_any_manifest
from service.runtime.extremes import feed_extremes
from service.runtime.onnx_file import NotOnnx, OnnxSummary, summarize
from service.runtime.onnx_model import WAY_OUT_OF_BATCH_DEPENDENCE, OnnxStepModel, load_model
from service.runtime.promise import check_promise, draw_texts, read_alone

THREADS = (1, 2)
_LARGEST_DISTANCE = 0.1  # of int8's probabilities from fp32's; trained models have about 0.01
_EXPORT_AGAIN = "export the model again: carousel export"
_TEXT = b'''def mean(values: list[float]) -> float:
    """The arithmetic mean. Raises ValueError if there are no values."""
    if not values:
        raise ValueError("no values")
    return sum(values) / len(values)
'''


def examine_folder(folder: Path, *, rounds: int) -> Iterator[Finding]:
    """Every graph of the folder, then how they agree. `rounds` of batches for each graph and thread count.

    Raises ModelFolderError if there is no readable manifest; whatever else is wrong is a finding.
    """
    manifest = read_any_manifest(folder)
    yield Finding("model", "model", manifest.name, f"{manifest.name} in {folder}")
    yield Finding("digest", "digest", manifest.digest(), manifest.digest())
    if isinstance(manifest, SeriesManifest):
        yield from examine_series(folder, manifest, rounds=rounds, threads=THREADS)
        return
    sound: dict[Precision, OnnxStepModel] = {}
    for precision in sorted(manifest.graphs, reverse=True):
        findings, model = _examine_file(folder, manifest, precision)
        yield from findings
        if model is not None:
            sound[precision] = model
            load = partial(load_model, allow_batch_dependent=True, vocabulary=manifest.vocabulary)
            yield from _examine_graph(partial(load, folder, precision), precision, model, rounds)
    if len(sound) > 1:
        yield _agreement(sound["int8"], sound["fp32"])


def _examine_file(folder: Path, manifest: Manifest, precision: Precision) -> tuple[list[Finding], OnnxStepModel | None]:
    """The file and what is in it; the model, if it can be loaded at all."""
    graph = manifest.graphs[precision]
    try:
        summary = summarize(read_graph(folder, graph))
        model = load_model(folder, precision, allow_batch_dependent=True, vocabulary=manifest.vocabulary)
    except (ModelFolderError, NotOnnx) as error:
        return [_broken(f"{precision}_file", f"{precision}: file", str(error), _EXPORT_AGAIN)], None
    pairs = {state.input: state.output for state in graph.states}
    row_bytes = sum(shape.row_bytes for shape in model.shapes)
    shown = f"{graph.file}, {graph.bytes / 1e6:.1f} MB, sha256 {graph.sha256[:16]}... as the manifest says"
    findings = [
        Finding(f"{precision}_file", f"{precision}: file", graph.sha256, shown),
        _operators(precision, summary),
        Finding(
            f"{precision}_tensor_pairs",
            f"{precision}: tensor pairs",
            pairs,
            ", ".join(f"{one} to {other}" for one, other in pairs.items()),
        ),
        Finding(f"{precision}_state_bytes", f"{precision}: state of a session", row_bytes, f"{row_bytes:,} bytes"),
    ]
    return findings, model


def _operators(precision: Precision, summary: OnnxSummary) -> Finding:
    key, title, value = f"{precision}_operators", f"{precision}: operators", dict(sorted(summary.operators.items()))
    if summary.looks_at_all_rows:
        leaks = " and ".join(summary.looks_at_all_rows)
        shown = f"{leaks}: one scale over all the rows of a batch, so what one types changes what another is shown"
        return Finding(key, title, value, shown, Verdict.BROKEN, WAY_OUT_OF_BATCH_DEPENDENCE)
    return Finding(key, title, value, ", ".join(f"{count} {name}" for name, count in summary.operators.most_common(5)))


def _examine_graph(
    load: Callable[[int], OnnxStepModel], precision: Precision, model: OnnxStepModel, rounds: int
) -> Iterator[Finding]:
    states = []
    for threads in THREADS:
        loaded = model if threads == 1 else load(threads)
        suffix, where = f"{threads}_thread{'s'[: threads - 1]}", f"{threads} thread{'s'[: threads - 1]}"
        numerics = loaded.identity.numerics_id
        yield Finding(f"{precision}_numerics_id_{suffix}", f"{precision}: numerics id, {where}", numerics, numerics)
        yield _same_bits(f"{precision}_same_bits_{suffix}", f"{precision}: same bits, {where}", loaded, rounds)
        texts = draw_texts(loaded, 3, np.random.default_rng(0))
        states.append(read_alone(loaded, texts).fingerprint_of_states())
    yield _across_threads(precision, states)
    yield _extremes(precision, model)


def _same_bits(key: str, title: str, model: OnnxStepModel, rounds: int) -> Finding:
    try:
        found = check_promise(model, rounds=rounds, names=model.state_names)
    except ModelError as error:
        return _broken(key, title, str(error), _EXPORT_AGAIN)
    if found.difference is None:
        counted = f"{found.batches:,} random batches, {found.rows:,} rows: each the row alone, bit for bit"
        return Finding(key, title, True, counted)
    way_out = WAY_OUT_OF_BATCH_DEPENDENCE if found.difference.on_neighbours else _EXPORT_AGAIN
    return Finding(key, title, False, str(found.difference), Verdict.BROKEN, way_out)


def _across_threads(precision: Precision, states: Sequence[bytes]) -> Finding:
    key, title = (
        f"{precision}_same_states_on_all_threads",
        f"{precision}: states on {THREADS[0]} and {THREADS[1]} threads",
    )
    same = len(set(states)) == 1
    if same:
        return Finding(key, title, True, "the same bits")
    if precision == "int8":
        return Finding(key, title, False, "different bits: its sums are not exact", Verdict.BROKEN, _EXPORT_AGAIN)
    return Finding(key, title, False, "different bits, as the numerics ids say", Verdict.NOTE)


def _extremes(precision: Precision, model: OnnxStepModel) -> Finding:
    key, title = f"{precision}_extreme_states", f"{precision}: extreme states"
    found = feed_extremes(model)
    outcomes = {outcome: [name for name, what in found.items() if what == outcome] for outcome in found.values()}
    shown = "; ".join(f"{outcome}: {', '.join(names)}" for outcome, names in outcomes.items())
    if "NaN" in outcomes or found["1e30"] != "harmless":
        return Finding(key, title, found, shown, Verdict.BROKEN, _EXPORT_AGAIN)
    return Finding(key, title, found, shown)


def _agreement(int8: OnnxStepModel, fp32: OnnxStepModel) -> Finding:
    """The mean total variation distance between both graphs' predictions along a text."""
    probabilities = [_read(model) for model in (int8, fp32)]
    distance = float(np.abs(probabilities[0] - probabilities[1]).sum(axis=-1).mean() / 2)
    best = float((probabilities[0].argmax(-1) == probabilities[1].argmax(-1)).mean())
    shown = f"mean distance {distance:.4f} of 1, the same likeliest byte {best:.0%} of the time"
    if distance <= _LARGEST_DISTANCE:
        return Finding("int8_distance_from_fp32", "int8 against fp32", distance, shown)
    way_out = f"the graphs are not of one model, or its weights do not bear int8: {_EXPORT_AGAIN}"
    return Finding("int8_distance_from_fp32", "int8 against fp32", distance, shown, Verdict.BROKEN, way_out)


def _read(model: OnnxStepModel) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """The distribution after each byte of the text, float64 [bytes, vocabulary]."""
    states, found = model.initial_states(1), []
    for token in (model.start_token, *_TEXT):
        result = model.step(np.array([[token]], np.int64), states, all_probabilities=True)
        states = list(result.states)
        found.append(np.exp(np.asarray(result.log_probabilities, np.float64)[0]))
    return np.array(found)


def _broken(key: str, title: str, shown: str, way_out: str) -> Finding:
    return Finding(key, title, None, shown, Verdict.BROKEN, way_out)
