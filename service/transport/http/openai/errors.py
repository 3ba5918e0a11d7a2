"""How OpenAI's paths tell of an error: `{"error": {"message", "type", "param", "code"}}`.

The statuses are those that the `openai` client maps to its exception classes (read from its source): 400 is
BadRequestError, 401 AuthenticationError, 403 PermissionDeniedError, 404 NotFoundError, 409 ConflictError, 429
RateLimitError, 5xx InternalServerError.
"""

from __future__ import annotations

from http import HTTPStatus

from pydantic import BaseModel
from starlette.responses import Response

from service.errors import Code
from service.transport.http.refusals import Refusal


class ErrorBody(BaseModel):
    """What went wrong; `param` names the parameter at fault, `code` is stable where OpenAI has one or we have more."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorBody


_INVALID = "invalid_request_error"

# The type and the code of each. OpenAI's own codes where it has one; else ours, in its spelling.
_SAID: dict[Code, tuple[str, str | None]] = {
    Code.INVALID_ARGUMENT: (_INVALID, None),
    Code.UNAUTHENTICATED: (_INVALID, "invalid_api_key"),
    Code.PERMISSION_DENIED: (_INVALID, "permission_denied"),
    Code.NOT_FOUND: (_INVALID, "not_found"),
    Code.REVISION_CONFLICT: ("conflict_error", "revision_conflict"),
    Code.FENCED: ("conflict_error", "fenced"),
    Code.OVERLOADED: ("rate_limit_error", "rate_limit_exceeded"),
    Code.QUOTA: ("rate_limit_error", "rate_limit_exceeded"),
    Code.UNAVAILABLE: ("server_error", "service_unavailable"),
    Code.DEADLINE: ("server_error", "timeout"),
    Code.INTERNAL: ("server_error", "internal_error"),
}
_PARAMS = {"max_bytes": "max_tokens", "count": "n", "text": "prompt"}  # what the domain calls them


def error_body(refusal: Refusal) -> ErrorAnswer:
    """The body that tells of `refusal`."""
    kind, code = _SAID[refusal.code]
    if refusal.kind is not None:
        code = f"{refusal.kind}_not_found"
    param, message = refusal.field, refusal.message
    if refusal.kind is not None:
        param = "model" if refusal.kind == "model" else "x-carousel-session"
    elif param in _PARAMS:
        param, message = _PARAMS[param], message.replace(f"{param}: ", f"{_PARAMS[param]}: ", 1)
    return ErrorAnswer(error=ErrorBody(message=message, type=kind, param=param, code=code))


def openai_error(refusal: Refusal, request_id: str) -> Response:
    """The answer that tells of `refusal`; its id is in the header that every answer has."""
    status = HTTPStatus.BAD_REQUEST if refusal.status == HTTPStatus.UNPROCESSABLE_ENTITY else refusal.status
    return refusal.response(error_body(refusal).model_dump_json(), "application/json", status=status)
