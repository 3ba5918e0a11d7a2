"""How `/v2` tells of an error: `{"error": "..."}` with the statuses of Triton's, where bad input is 400."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, Field
from starlette.responses import Response

from service.errors import Code
from service.transport.http.refusals import Refusal

_STATUSES: Final = {Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST}
_FROM_THE_FRAMEWORK: Final = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


class KserveError(BaseModel):
    """The body of every answer that is an error; the header x-carousel-code carries the stable code."""

    error: str = Field(description="One sentence; Triton's own where it has one.")


def kserve_error(refusal: Refusal, request_id: str) -> Response:
    """The answer that tells of `refusal`; the request's id stands in the header x-request-id."""
    del request_id
    status = refusal.status
    if status not in _FROM_THE_FRAMEWORK:
        status = _STATUSES.get(refusal.code, status)
    return refusal.response(KserveError(error=refusal.message).model_dump_json(), "application/json", status=status)


REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": KserveError, "description": "INVALID_ARGUMENT, in Triton's words where it has some"},
    404: {"model": KserveError, "description": "NOT_FOUND: no such model or version"},
}
BODY_REFUSALS: Final[dict[int, str]] = {
    408: "DEADLINE: the body stopped coming for half a minute",
    413: "INVALID_ARGUMENT: the body is larger than this server takes",
}
INFER_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    **REFUSALS,
    **{status: {"model": KserveError, "description": text} for status, text in BODY_REFUSALS.items()},
    429: {"model": KserveError, "description": "OVERLOADED: retry after the header `retry-after`"},
    503: {"model": KserveError, "description": "UNAVAILABLE: also when the request's `timeout` is over"},
    504: {"model": KserveError, "description": "DEADLINE: the caller's time was up"},
}
