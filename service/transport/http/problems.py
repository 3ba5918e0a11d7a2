"""How an error looks in HTTP: RFC 9457 problem details, from our own errors and from those of the framework alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from service.errors import (
    CarouselError,
    Code,
    InvalidArgument,
    Overloaded,
    QuotaExceeded,
    RevisionConflict,
    Unavailable,
)
from service.transport.http.models import Problem
from service.transport.statuses import INTERNAL_MESSAGE, STATUSES, code_of, shown

MEDIA_TYPE = "application/problem+json"
CODE_HEADER = "x-carousel-code"
"""Carries the stable code beside the body, for whoever counts answers without reading them."""

# What the framework refuses by itself, before any of our code has seen the request.
_FRAMEWORK_CODES = {
    400: Code.INVALID_ARGUMENT,
    404: Code.NOT_FOUND,
    405: Code.INVALID_ARGUMENT,
    413: Code.INVALID_ARGUMENT,
    415: Code.INVALID_ARGUMENT,
}


def problem_of(error: BaseException, request_id: str) -> Response:
    """The answer that tells the caller of `error`; anything but a CarouselError is INTERNAL without detail."""
    code = code_of(error)
    status = STATUSES[code].http
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        code=code.value,
        detail=shown(str(error)) if isinstance(error, CarouselError) else INTERNAL_MESSAGE,
        request_id=request_id,
        field=shown(error.field) if isinstance(error, InvalidArgument) else None,
        revision=error.current if isinstance(error, RevisionConflict) else None,
        retry_after_s=error.retry_after_s if isinstance(error, Overloaded | QuotaExceeded | Unavailable) else None,
    )
    return _response(problem)


def framework_problem(error: HTTPException, request_id: str) -> Response:
    """The answer for a request that no route took: unknown path, wrong method, unreadable or too large body."""
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # A body that is not JSON at all is a malformed argument, like one that is JSON of the wrong shape.
        return problem_of(InvalidArgument("body", "not readable as JSON"), request_id)
    code = _FRAMEWORK_CODES.get(error.status_code, Code.INTERNAL)
    status = error.status_code if code is not Code.INTERNAL else STATUSES[code].http
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        code=code.value,
        detail=_FRAMEWORK_DETAILS.get(status, INTERNAL_MESSAGE),
        request_id=request_id,
        field="body" if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else None,
    )
    return _response(problem, error.headers)


_FRAMEWORK_DETAILS = {
    404: "there is nothing at this path; /docs lists what there is",
    405: "this path does not take this method; /docs lists what it takes",
    413: "the request is larger than this server takes; send the text in several edits",
    415: "send JSON, with the header content-type: application/json",
}


def invalid_argument(error: RequestValidationError) -> InvalidArgument:
    """The first fault that the framework found, with its field as the caller wrote it.

    A field with a wrong name comes before the right one that it leaves missing: it is what the caller has to change.
    """
    faults = error.errors()
    first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return InvalidArgument("body", f"not valid JSON: {first['ctx']['error']} at {first['loc'][-1]}")
    if first["type"] == "extra_forbidden":
        message = "there is no such field"
    if first["type"] == "string_unicode":
        message = "not valid Unicode; a lone surrogate cannot be stored as UTF-8"
    if first["type"] == "model_attributes_type":
        message = "must be a JSON object, sent with the header content-type: application/json"
    return InvalidArgument(_path(first["loc"]), message)


def _path(location: Sequence[str | int]) -> str:
    """`("body", "edits", 1, "delete")` is `edits[1].delete`."""
    path = ""
    for part in location[1:]:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path or str(location[0])


def _response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    answer = Response(
        problem.model_dump_json(exclude_none=True), problem.status, dict(headers or {}), media_type=MEDIA_TYPE
    )
    answer.headers[CODE_HEADER] = problem.code
    if problem.retry_after_s is not None:
        answer.headers["retry-after"] = str(max(1, math.ceil(problem.retry_after_s)))
    if problem.status == HTTPStatus.UNAUTHORIZED:
        answer.headers["www-authenticate"] = "Bearer"
    return answer


def answer_errors_of(app: FastAPI) -> None:
    """Let every error that `app` meets be answered with problem details."""

    async def ours(request: Request, error: Exception) -> Response:
        return problem_of(error, _request_id(request))

    async def malformed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError), "registered for this alone"
        return problem_of(invalid_argument(error), _request_id(request))

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "registered for this alone"
        return framework_problem(error, _request_id(request))

    app.add_exception_handler(CarouselError, ours)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, ours)


def _request_id(request: Request) -> str:
    id_: str = request.scope["state"]["request_id"]
    return id_
