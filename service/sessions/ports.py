"""What sessions ask of the rooms below them: an engine that advances paths, and a store that keeps records."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from service.engine.requests import Advance, AdvanceResult, ModelIdentity, PathId


class Suggester(Protocol):
    """The engine of one model, as a session sees it. Called from one thread, that of the sessions."""

    @property
    def identity(self) -> ModelIdentity:
        """The model that answers."""

    def open_path(self, scope: str) -> PathId:
        """A new path at the empty text. Paths of one scope share states; paths of different scopes never do."""

    def close_path(self, path: PathId) -> None:
        """Give the path up; its unfinished work is cancelled."""

    def advance(self, request: Advance) -> Awaitable[AdvanceResult]:
        """Queue the request at once, in call order per path; await the result. Raises Overloaded if the queue is full.

        Cancelling the awaitable cancels the suggestions, never the movement.
        """
