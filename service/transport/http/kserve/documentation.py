"""What the OpenAPI document says of `/v2`: examples that run, and the schema of a body that only we read."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Query
from pydantic import BaseModel

from service.transport.http.kserve.errors import BODY_REFUSALS, KserveError
from service.transport.http.sessions_routes import NoQuery
from service.transport.kserve.metadata import INPUTS, MAX_BATCH, OUTPUTS


async def _no_query(_: Annotated[NoQuery, Query()]) -> None:
    """Nothing here takes a query; one that is given could have been meant."""


NO_QUERY: Final = [Depends(_no_query)]
"""For every router of `/v2`."""

INFER_DESCRIPTION: Final = "\n".join(
    (
        f"One row for each text, at most {MAX_BATCH}. Give one of the inputs:",
        *(f"- `{name}` ({datatype}): {what}" for name, datatype, _, what in INPUTS),
        "",
        "and name the outputs that you want, or get all:",
        *(f"- `{name}` ({datatype} [rows, {dims[0]}]): {what}" for name, datatype, dims, what in OUTPUTS),
        "",
        "These are the tensors of a model of text. One of numbers takes `VALUES` and gives `EXPECTED` and `FORECAST`, "
        "one of words tells its own words, too: the metadata of each says what it takes.",
        "",
        "With the parameter `sequence_id` the input is appended to what the sequence holds; `sequence_start` begins it "
        "anew, `sequence_end` ends it. A sequence is a session: it survives what sessions survive, and nobody waits "
        "for one that idles.",
    )
)

INFER_EXAMPLES: Final[dict[str, Any]] = {
    "suggest": {
        "summary": "How two texts go on",
        "value": {
            "inputs": [{"name": "TEXT", "shape": [2, 1], "datatype": "BYTES", "data": ["import o", "def main("]}],
            "outputs": [{"name": "SUGGESTION"}, {"name": "LOG_LIKELIHOOD"}],
        },
    },
    "next token": {
        "summary": "The three likeliest next tokens after some bytes",
        "value": {
            "inputs": [{"name": "TOKENS", "shape": [1, 3], "datatype": "INT64", "data": [105, 109, 112]}],
            "outputs": [{"name": "TOP_TOKENS"}, {"name": "TOP_LOG_PROBABILITIES"}],
            "parameters": {"top_k": 3},
        },
    },
    "sequence": {
        "summary": "Begin a sequence; leave `sequence_start` out to go on with it",
        "value": {
            "id": "1",
            "inputs": [{"name": "TEXT", "shape": [1, 1], "datatype": "BYTES", "data": ["import os\n"]}],
            "outputs": [{"name": "SUGGESTION"}],
            "parameters": {"sequence_id": 42, "sequence_start": True, "max_bytes": 16},
        },
    },
}
ANSWER_EXAMPLE: Final[dict[str, Any]] = {
    "id": "1",
    "model_name": "python",
    "model_version": "1",
    "parameters": {"model_digest": "2c26b46b68ffc68f", "numerics_id": "fcde2b2edba56bf4"},
    "outputs": [{"name": "SUGGESTION", "datatype": "BYTES", "shape": [1, 1], "data": ["import sys"]}],
}


def optional_body(model: type[BaseModel], example: Any) -> dict[str, Any]:
    """What a route says of a body that it reads by itself, and that may be left out."""
    content = {"application/json": {"schema": inlined(model), "example": example}}
    refused = {"application/json": {"schema": {"$ref": f"#/components/schemas/{KserveError.__name__}"}}}
    return {
        "requestBody": {"required": False, "content": content},
        "responses": {str(status): {"description": text, "content": refused} for status, text in BODY_REFUSALS.items()},
    }


def inlined(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a body, with what it refers to written out in its place."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    written: dict[str, Any] = _written_out(schema, definitions)
    return written


def _written_out(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_written_out(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        named = definitions[schema["$ref"].rsplit("/", 1)[1]]
        rest = {name: part for name, part in schema.items() if name != "$ref"}
        return {**_written_out(named, definitions), **rest}
    return {name: _written_out(part, definitions) for name, part in schema.items()}
