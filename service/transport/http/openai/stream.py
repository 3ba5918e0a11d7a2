"""OpenAI's completions as server-sent events: chunks of one shape, the usage if it was asked for, then `[DONE]`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any

from pydantic import TypeAdapter
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.errors import CarouselError
from service.transport.http.openai.answering import Answering
from service.transport.http.openai.errors import error_body
from service.transport.http.openai.models import Choice, CompletionChunk
from service.transport.http.refusals import refusal_of

_JSON: TypeAdapter[Any] = TypeAdapter(dict)
_DONE = b"data: [DONE]\n\n"

ChunkOf = Callable[[list[Choice]], CompletionChunk]
"""The object that carries these choices."""


class CompletionEvents(StreamingResponse):
    """Owns the choices under way: what is unfinished stops when the answer has ended, or its reader has gone."""

    def __init__(
        self,
        answering: Answering,
        first: Choice | None,
        rest: AsyncGenerator[Choice, None],
        chunk_of: ChunkOf,
        headers: Mapping[str, str],
    ) -> None:
        self._answering, self._first, self._rest, self._chunk_of = answering, first, rest, chunk_of
        self._events = self._told()
        headers = {**headers, "cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(self._events, headers=headers, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with aclosing(self._rest), aclosing(self._events):
            await super().__call__(scope, receive, send)

    async def _told(self) -> AsyncGenerator[bytes, None]:
        try:
            if self._first is not None:
                yield self._event([self._first])
            async for choice in self._rest:
                yield self._event([choice])
        except CarouselError as error:  # the answer has begun, so the status cannot say it any more
            yield f"data: {error_body(refusal_of(error)).model_dump_json()}\n\n".encode()
            return
        if self._answering.asked.include_usage:
            yield self._event([], last=True)
        yield _DONE

    def _event(self, choices: list[Choice], *, last: bool = False) -> bytes:
        chunk = self._chunk_of(choices).model_dump()
        if self._answering.asked.include_usage:
            chunk["usage"] = self._answering.usage.model_dump() if last else None
        return b"data: " + _JSON.dump_json(chunk) + b"\n\n"
