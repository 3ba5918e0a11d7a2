"""What an error comes to in HTTP, whatever shape it is told in: from our own errors and the framework's alike."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi.exceptions import RequestValidationError, ValidationException, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.errors import (
    CarouselError,
    Code,
    InvalidArgument,
    NotFound,
    Overloaded,
    QuotaExceeded,
    RevisionConflict,
    Unavailable,
)
from service.transport.statuses import INTERNAL_MESSAGE, STATUSES, code_of, shown

CODE_HEADER: Final = "x-carousel-code"
"""Carries the stable code beside the body, for whoever counts answers without reading them."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as HTTP tells it: `message` is for people, `field` is the path of the one at fault.

    `kind` is `session` or `model` where one of them was not found. `headers` are the framework's own, such as `allow`.
    """

    status: int
    code: Code
    message: str
    field: str | None = None
    kind: str | None = None
    revision: int | None = None
    retry_after_s: float | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def response(self, body: bytes | str, media_type: str, *, status: int | None = None) -> Response:
        """An answer with this body, and with the headers that every shape shares."""
        answer = Response(body, self.status if status is None else status, dict(self.headers), media_type=media_type)
        answer.headers[CODE_HEADER] = self.code
        if self.retry_after_s is not None:
            answer.headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            answer.headers["www-authenticate"] = "Bearer"
        return answer


Shape = Callable[[Refusal, str], Response]
"""How a facade tells of an error; the second argument is the request's id."""

# What the framework refuses by itself, before any of our code has seen the request.
_FRAMEWORK_CODES = {
    400: Code.INVALID_ARGUMENT,
    404: Code.NOT_FOUND,
    405: Code.INVALID_ARGUMENT,
    408: Code.DEADLINE,
    413: Code.INVALID_ARGUMENT,
    415: Code.INVALID_ARGUMENT,
    426: Code.INVALID_ARGUMENT,
}

_FRAMEWORK_DETAILS = {
    404: "there is nothing at this path; /docs lists what there is",
    405: "this path does not take this method; /docs lists what it takes",
    408: "the body did not come: send it at once, or in pieces without such pauses",
    413: "the request is larger than this server takes; send the text in several edits",
    415: "send JSON, with the header content-type: application/json",
    426: "this path speaks WebSocket: connect to it with ws:// or wss://",
}


def refusal_of(error: BaseException) -> Refusal:
    """What `error` comes to; anything that is neither ours nor the framework's is INTERNAL without detail."""
    if isinstance(error, RequestValidationError | WebSocketRequestValidationError):
        error = invalid_argument(error)
    if isinstance(error, HTTPException):
        return _of_framework(error)
    code = code_of(error)
    return Refusal(
        status=STATUSES[code].http,
        code=code,
        message=shown(str(error)) if isinstance(error, CarouselError) else INTERNAL_MESSAGE,
        field=shown(error.field) if isinstance(error, InvalidArgument) else None,
        kind=error.kind if isinstance(error, NotFound) else None,
        revision=error.current if isinstance(error, RevisionConflict) else None,
        retry_after_s=error.retry_after_s if isinstance(error, Overloaded | QuotaExceeded | Unavailable) else None,
    )


def _of_framework(error: HTTPException) -> Refusal:
    """For a request that no route took: unknown path, wrong method, unreadable or too large body."""
    if error.status_code == HTTPStatus.BAD_REQUEST:
        if isinstance(error.__cause__, CarouselError):  # the framework met it while it read the body
            return refusal_of(error.__cause__)
        # A body that is not JSON at all is a malformed argument, like one that is JSON of the wrong shape.
        return refusal_of(InvalidArgument("body", "not readable as JSON"))
    code = _FRAMEWORK_CODES.get(error.status_code, Code.INTERNAL)
    status = error.status_code if code is not Code.INTERNAL else STATUSES[code].http
    return Refusal(
        status=status,
        code=code,
        message=_FRAMEWORK_DETAILS.get(status, INTERNAL_MESSAGE),
        field="body" if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else None,
        headers=error.headers or {},
    )


def invalid_argument(error: ValidationException) -> InvalidArgument:
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
