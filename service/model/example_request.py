"""A request that shows what a model does which reads no text, as `/v2` takes it, and the line that sends it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from service.model.manifest import Manifest
from service.model.series_manifest import SeriesManifest

_STEPS_AHEAD = 12
_LIKELIEST = 3
Request = Mapping[str, object]


def of_numbers(values: Sequence[float], width: int) -> Request:
    """Steps of a series, `width` numbers each, and what is forecast of the next twelve."""
    shape = [1, len(values) // width, width]
    told = {"name": "VALUES", "shape": shape, "datatype": "FP32", "data": [float(one) for one in values]}
    return {"inputs": [told], "outputs": [{"name": "FORECAST"}], "parameters": {"steps": _STEPS_AHEAD}}


def of_words(text: str, vocabulary_size: int) -> Request:
    """The beginning of a text, and which words are likeliest to be next."""
    return {
        "inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": [text]}],
        "outputs": [{"name": "TOP_WORDS"}, {"name": "TOP_LOG_PROBABILITIES"}],
        "parameters": {"top_k": min(_LIKELIEST, vocabulary_size)},
    }


def example_request(manifest: Manifest | SeriesManifest) -> Request | None:
    """The request for the manifest's own example; None if it has none, or reads the bytes of a text."""
    if not manifest.example:
        return None
    if isinstance(manifest, SeriesManifest):
        return of_numbers(manifest.example, manifest.width)
    return of_words(manifest.example, manifest.vocabulary_size)


def infer_path(model: str) -> str:
    """Where a model of that name is asked."""
    return f"/v2/models/{model}/infer"


def curl(address: str, path: str, body: Request, header: str = "") -> str:
    """The command that sends a body as JSON. address: `host:port`, with a scheme or without.  header: of a key."""
    # An apostrophe would end the shell's quotes; as an escape it is the same text in JSON.
    text = json.dumps(body).replace("'", "\\u0027")
    return f"curl -s {address}{path}{header} -H 'content-type: application/json' -d '{text}'"
