"""A completion as an asynchronous iterator of its pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from carousel_client.answers import Piece
from carousel_client.completing import CompletionState
from carousel_client.errors import error_of_call
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.retries import Attempts


class AsyncCompletion(CompletionState, AsyncIterator[Piece]):
    """As Completion, with `async for`. Made by `AsyncClient.complete`."""

    def __init__(self, start: Callable[[float], Any], attempts: Attempts) -> None:
        super().__init__()
        self._start, self._attempts = start, attempts
        self._call: Any = None
        self._cancelled = False

    async def __aenter__(self) -> AsyncCompletion:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.cancel()

    async def __anext__(self) -> Piece:
        while not self._cancelled:
            if self._call is None:
                self._call = self._start(self._attempts.timeout_s())
            try:
                response = await self._call.read()
                if not isinstance(response, pb.CompleteResponse):
                    break
                return self.take(response)
            except grpc.RpcError as failure:
                error = error_of_call(failure)
            if self.begun:
                raise error
            self._call = None
            await asyncio.sleep(self._attempts.delay_after(error))
        raise StopAsyncIteration

    async def text(self) -> str:
        """All of the first completion, once it is all there."""
        async for _ in self:
            pass
        return self.texts[0]

    def cancel(self) -> None:
        """Stop the work on the server; iterating ends. Nothing happens if it has ended."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()
