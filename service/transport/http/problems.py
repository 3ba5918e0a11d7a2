"""How an error looks on our own paths: RFC 9457 problem details."""

from __future__ import annotations

from http import HTTPStatus

from starlette.responses import Response

from service.transport.http.models import Problem
from service.transport.http.refusals import CODE_HEADER, Refusal, refusal_of

__all__ = ["CODE_HEADER", "MEDIA_TYPE", "problem", "problem_body", "problem_of"]

MEDIA_TYPE = "application/problem+json"


def problem_body(refusal: Refusal, request_id: str) -> Problem:
    """What is told of `refusal`, wherever it stands."""
    return Problem(
        title=HTTPStatus(refusal.status).phrase,
        status=refusal.status,
        code=refusal.code.value,
        detail=refusal.message,
        request_id=request_id,
        field=refusal.field,
        revision=refusal.revision,
        retry_after_s=refusal.retry_after_s,
    )


def problem(refusal: Refusal, request_id: str) -> Response:
    """The answer that tells of `refusal`."""
    return refusal.response(problem_body(refusal, request_id).model_dump_json(exclude_none=True), MEDIA_TYPE)


def problem_of(error: BaseException, request_id: str) -> Response:
    """The answer that tells the caller of `error`; anything but a CarouselError is INTERNAL without detail."""
    return problem(refusal_of(error), request_id)
