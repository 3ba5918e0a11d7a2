"""OpenAI's completions as server-sent events: chunks of one shape, the usage if it was asked for, then `[DONE]`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from pydantic import TypeAdapter

from service.errors import CarouselError
from service.transport.http.openai.answering import Answering
from service.transport.http.openai.errors import error_body
from service.transport.http.openai.models import Choice, CompletionChunk
from service.transport.http.refusals import refusal_of

_JSON: TypeAdapter[Any] = TypeAdapter(dict)
_DONE = b"data: [DONE]\n\n"

ChunkOf = Callable[[list[Choice]], CompletionChunk]
"""The object that carries these choices."""


async def completion_events(
    answering: Answering, choices: AsyncGenerator[Choice, None], chunk_of: ChunkOf
) -> AsyncGenerator[bytes, None]:
    """An event for each of the choices' pieces, and those that end a stream."""
    with_usage = answering.asked.include_usage

    def event(told: list[Choice], *, last: bool = False) -> bytes:
        chunk = chunk_of(told).model_dump()
        if with_usage:
            chunk["usage"] = answering.usage.model_dump() if last else None
        return b"data: " + _JSON.dump_json(chunk) + b"\n\n"

    try:
        async for choice in choices:
            yield event([choice])
    except CarouselError as error:  # the answer has begun, so the status cannot say it any more
        yield f"data: {error_body(refusal_of(error)).model_dump_json()}\n\n".encode()
        return
    if with_usage:
        yield event([], last=True)
    yield _DONE
