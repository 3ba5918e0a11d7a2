"""Server-sent events whose work stops with them: when they have ended, failed, or their reader has gone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any, TypeVar

from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.transport.http.leaving import while_connected

Item = TypeVar("Item")


class OwnedEvents(StreamingResponse):
    """Sends `events`, encoded, and closes `source`, which they are made from."""

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        source: AsyncGenerator[Any, None],
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._events, self._source = events, source
        headers = {**(headers or {}), "cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with AsyncExitStack() as closing:
            for generator in (self._source, self._events):
                await closing.enter_async_context(aclosing(generator))
            await super().__call__(scope, receive, send)


async def begun(request: Request, source: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    """The same, with its first item there already, so that what cannot begin is refused by its status.

    Raises what the source raises, and CallerLeft.
    """

    async def first() -> list[Item]:
        async for item in source:
            return [item]
        return []

    return _after(await while_connected(request, first()), source)


async def _after(first: list[Item], rest: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    async with aclosing(rest):
        for item in first:
            yield item
        async for item in rest:
            yield item
