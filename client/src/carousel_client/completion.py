"""A completion as an iterator of its pieces, for threads; `aio_completion` is the same for asyncio."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from carousel_client.answers import Piece
from carousel_client.completing import CompletionState
from carousel_client.errors import error_of_call
from carousel_client.retries import Attempts


class Completion(CompletionState, Iterator[Piece]):
    """Iterate it for the pieces as they come, in the order of their coming. Made by `Client.complete`.

        with client.complete("import o") as completion:
            for piece in completion:
                print(piece.text, end="")

    Leaving the block stops what is unfinished. Iterating raises CarouselErrors; a server that is not available is asked
    again until the first piece has come.
    """

    def __init__(self, start: Callable[[float], Any], attempts: Attempts) -> None:
        super().__init__()
        self._start, self._attempts = start, attempts
        self._call: Any = None
        self._cancelled = threading.Event()  # maybe by another thread than the one that iterates

    def __enter__(self) -> Completion:
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()

    def __next__(self) -> Piece:
        while not self._cancelled.is_set():
            if self._call is None:
                self._call = self._start(self._attempts.timeout_s())
            try:
                return self.take(next(self._call))
            except grpc.RpcError as failure:
                error = error_of_call(failure)
            if self._cancelled.is_set():
                break
            if self.begun:
                raise error
            self._call = None
            time.sleep(self._attempts.delay_after(error))
        raise StopIteration

    def text(self) -> str:
        """All of the first completion, once it is all there."""
        for _ in self:
            pass
        return self.texts[0]

    def cancel(self) -> None:
        """Stop the work on the server; iterating ends. Nothing happens if it has ended."""
        self._cancelled.set()
        if self._call is not None:
            self._call.cancel()
