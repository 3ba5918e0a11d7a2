"""How llama.cpp's paths tell of an error: `{"error": {"code", "message", "type"}}`, where `code` is the HTTP status."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import BaseModel
from starlette.responses import Response

from service.errors import Code
from service.transport.http.refusals import Refusal


class LlamaErrorBody(BaseModel):
    """What went wrong."""

    code: int
    message: str
    type: str


class LlamaErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: LlamaErrorBody


# llama.cpp's own words where it has one (tools/server/server-common.cpp); it has none for a full queue.
_TYPES: dict[Code, str] = {
    Code.INVALID_ARGUMENT: "invalid_request_error",
    Code.UNAUTHENTICATED: "authentication_error",
    Code.PERMISSION_DENIED: "permission_error",
    Code.NOT_FOUND: "not_found_error",
    Code.REVISION_CONFLICT: "invalid_request_error",
    Code.FENCED: "invalid_request_error",
    Code.OVERLOADED: "rate_limit_error",
    Code.QUOTA: "rate_limit_error",
    Code.UNAVAILABLE: "unavailable_error",
    Code.DEADLINE: "server_error",
    Code.INTERNAL: "server_error",
}


def error_body(refusal: Refusal) -> LlamaErrorAnswer:
    """The body that tells of `refusal`."""
    return LlamaErrorAnswer(
        error=LlamaErrorBody(code=_status(refusal), message=refusal.message, type=_TYPES[refusal.code])
    )


def llama_error(refusal: Refusal, request_id: str) -> Response:
    """The answer that tells of `refusal`; its id is in the header that every answer has."""
    return refusal.response(
        error_body(refusal).model_dump_json(), "application/json; charset=utf-8", status=_status(refusal)
    )


def _status(refusal: Refusal) -> int:
    return HTTPStatus.BAD_REQUEST if refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY else refusal.status
