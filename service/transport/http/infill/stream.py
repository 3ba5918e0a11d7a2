"""llama.cpp's stream: one event a piece, the last of each completion says that it stopped; there is no `[DONE]`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from pydantic import TypeAdapter

from service.errors import CarouselError
from service.transport.http.infill.errors import error_body
from service.transport.http.refusals import refusal_of

_JSON: TypeAdapter[Any] = TypeAdapter(Any)


async def llama_events(pieces: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[bytes, None]:
    """An event for each piece."""
    try:
        async for piece in pieces:
            yield _event(piece)
    except CarouselError as error:  # the answer has begun, so the status cannot say it any more
        yield _event(error_body(refusal_of(error)).model_dump())


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + _JSON.dump_json(content) + b"\n\n"
