"""Which shape an error has at which path: problem details, unless the path is one of a protocol that has its own."""

from __future__ import annotations

import re
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response

from service.errors import CarouselError
from service.transport.http.infill.errors import llama_error
from service.transport.http.kserve.errors import kserve_error
from service.transport.http.openai.errors import openai_error
from service.transport.http.problems import problem
from service.transport.http.refusals import Shape, refusal_of

SHAPES: Final[tuple[tuple[re.Pattern[str], Shape], ...]] = (
    (re.compile(r"/v1/(completions|models(/.*)?)"), openai_error),
    (re.compile(r"/v2(/.*)?"), kserve_error),
    (re.compile(r"/(infill|completion|props|health|v1/health)"), llama_error),
)
"""The first pattern that is the whole path decides."""


def answer_to(error: BaseException, path: str, request_id: str) -> Response:
    """The answer that tells a caller of `path` of `error`, whoever has raised it."""
    shape = next((shape for pattern, shape in SHAPES if pattern.fullmatch(path)), problem)
    return shape(refusal_of(error), request_id)


def answer_errors_of(app: FastAPI) -> None:
    """Let every error that `app` meets be answered in the shape of its path; of a WebSocket, before it is one."""

    async def answered(request: HTTPConnection, error: Exception) -> Response:
        return answer_to(error, request.url.path, request.scope["state"]["request_id"])

    for kind in (
        CarouselError,
        RequestValidationError,
        WebSocketRequestValidationError,
        HTTPException,
        Exception,
    ):
        app.add_exception_handler(kind, answered)
