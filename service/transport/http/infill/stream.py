"""llama.cpp's stream: one event a piece, the last of each completion says that it stopped; there is no `[DONE]`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic import TypeAdapter
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.errors import CarouselError
from service.transport.http.infill.errors import error_body
from service.transport.http.refusals import refusal_of

_JSON: TypeAdapter[Any] = TypeAdapter(Any)

Events = AsyncGenerator[dict[str, Any], None]


class LlamaEvents(StreamingResponse):
    """Owns the completions under way: what is unfinished stops when the answer has ended, or its reader has gone."""

    def __init__(self, first: dict[str, Any] | None, rest: Events) -> None:
        self._first, self._rest = first, rest
        self._events = self._told()
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(self._events, headers=headers, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with aclosing(self._rest), aclosing(self._events):
            await super().__call__(scope, receive, send)

    async def _told(self) -> AsyncGenerator[bytes, None]:
        try:
            if self._first is not None:
                yield _event(self._first)
            async for event in self._rest:
                yield _event(event)
        except CarouselError as error:  # the answer has begun, so the status cannot say it any more
            yield _event(error_body(refusal_of(error)).model_dump())


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + _JSON.dump_json(content) + b"\n\n"
