"""What this server and its models are to a client: names, tensors, configuration, as plain JSON values.

The same values become REST's JSON and gRPC's messages, so the two cannot differ. Names follow Triton's, whose clients
read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import service
from service.engine.requests import ModelIdentity
from service.transport.kserve.repository import ModelVersion, ServedVersion

Json = dict[str, Any]

SERVER: Final = "carousel"
MAX_BATCH: Final = 64
"""Rows of a request. As many as the engine steps at a time; more are more requests."""
EXTENSIONS: Final = (
    "sequence",
    "sequence(string_id)",
    "model_repository",
    "model_configuration",
    "schedule_policy",
    "binary_tensor_data",
    "parameters",
    "statistics",
    "trace",
    "logging",
)
_NEVER_US: Final = 2**53 - 1  # what JSON can say exactly; 285 years
_ANY: Final = -1
_VOCABULARY: Final = 256  # a token is a byte


class Described(NamedTuple):
    """A tensor of every model: its shape without the batch's dimension, and what it holds."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    what: str


TEXT: Final = "TEXT"
TOKENS: Final = "TOKENS"
LOG_PROBABILITIES: Final = "LOG_PROBABILITIES"
TOP_TOKENS: Final = "TOP_TOKENS"
TOP_LOG_PROBABILITIES: Final = "TOP_LOG_PROBABILITIES"
LOG_LIKELIHOOD: Final = "LOG_LIKELIHOOD"
SUGGESTION: Final = "SUGGESTION"
FINISH_REASON: Final = "FINISH_REASON"

INPUTS: Final = (
    Described(TEXT, "BYTES", (_ANY,), "pieces of text in UTF-8, each of whole characters, appended in order"),
    Described(TOKENS, "INT64", (_ANY,), "tokens to append; a token is a byte, and may end inside a character"),
)
"""A request holds one of the two."""
OUTPUTS: Final = (
    Described(LOG_PROBABILITIES, "FP32", (_VOCABULARY,), "of every token to come next, natural logarithm"),
    Described(TOP_TOKENS, "INT64", (_ANY,), "the likeliest tokens to come next, best first; 255 is the end"),
    Described(TOP_LOG_PROBABILITIES, "FP32", (_ANY,), "of the likeliest tokens, natural logarithm"),
    Described(LOG_LIKELIHOOD, "FP64", (1,), "of the tokens given, after all before them, natural logarithm"),
    Described(SUGGESTION, "BYTES", (1,), "how the text goes on; empty if that cannot be said or came too late"),
    Described(FINISH_REASON, "BYTES", (1,), "why the suggestion ends, or why there is none"),
)
"""In the order in which they are answered."""

_CONFIG_TYPES: Final = {"BYTES": "TYPE_STRING", "INT64": "TYPE_INT64", "FP32": "TYPE_FP32", "FP64": "TYPE_FP64"}


def server_metadata() -> Json:
    """Name, version, extensions."""
    return {"name": SERVER, "version": service.__version__, "extensions": list(EXTENSIONS)}


def model_metadata(
    model: ServedVersion,
    versions: Sequence[str],
    inputs: Sequence[Described] = INPUTS,
    outputs: Sequence[Described] = OUTPUTS,
) -> Json:
    """The tensors of a model, with the batch's dimension. versions: those that are loaded."""
    return {
        "name": model.name,
        "versions": list(versions),
        "platform": SERVER,
        "inputs": [_metadata(tensor) for tensor in inputs],
        "outputs": [_metadata(tensor) for tensor in outputs],
    }


def model_config(model: ServedVersion, versions: Sequence[str], retention_s: float | None) -> Json:
    """The configuration of a model, as the JSON of Triton's ModelConfig; retention_s as for Inference."""
    idle_us = _NEVER_US if retention_s is None else min(round(retention_s * 1e6), _NEVER_US)
    return {
        "name": model.name,
        "platform": SERVER,
        "backend": SERVER,
        "version_policy": {"specific": {"versions": [int(number) for number in versions]}},
        "max_batch_size": MAX_BATCH,
        "input": [{**config_of(tensor), "optional": True} for tensor in INPUTS],
        "output": [config_of(tensor) for tensor in OUTPUTS],
        "sequence_batching": {"oldest": {}, "max_sequence_idle_microseconds": idle_us},
        "instance_group": [{"name": model.name, "kind": "KIND_CPU", "count": 1}],
        "default_model_filename": "",
        "parameters": {name: {"string_value": value} for name, value in identity(model.identity).items()},
        "model_transaction_policy": {"decoupled": False},
    }


def identity(model: ModelIdentity) -> Mapping[str, str]:
    """What an answer depends on beside the request; stands in every answer's parameters."""
    return {"model_digest": model.digest, "numerics_id": model.numerics_id}


def repository_index(versions: Sequence[ModelVersion]) -> list[Json]:
    """What has become of each version."""
    return [
        {"name": one.name, "version": one.number, "state": one.state.value, "reason": one.reason} for one in versions
    ]


def trace_settings() -> Mapping[str, Sequence[str]]:
    """Requests are not traced."""
    return {
        "trace_level": ["OFF"],
        "trace_rate": ["0"],
        "trace_count": ["-1"],
        "log_frequency": ["0"],
        "trace_file": [""],
        "trace_mode": ["triton"],
    }


def _metadata(tensor: Described) -> Json:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": [_ANY, *tensor.dims]}


def config_of(tensor: Described) -> Json:
    """A tensor as a configuration has it."""
    return {"name": tensor.name, "data_type": _CONFIG_TYPES[tensor.datatype], "dims": list(tensor.dims)}
