"""A completion under way: what it depends on, its pieces as they come, and how it is given up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from service.engine.requests import Complete, CompleteSpec, ModelIdentity, PathId
from service.engine.sampling import seed_of_sample
from service.sessions.commands import CompletedPiece, CompleteText
from service.sessions.ports import Pieces


class Completion:
    """Iterate it for the pieces, inside of `async with`: leaving that stops whatever is unfinished within a tick.

    `seed` and `model` are what the same request needs to be answered with the same text; `revision` is that of the
    session, None for a prompt. Iterating raises CarouselErrors.
    """

    def __init__(
        self, model: ModelIdentity, seed: int, revision: int | None, pieces: Pieces, close: Callable[[bool], None]
    ) -> None:
        self.model, self.seed, self.revision = model, seed, revision
        self._pieces, self._close = pieces, close
        self._told = self._closed = False

    async def __aenter__(self) -> Completion:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def __aiter__(self) -> Completion:
        return self

    async def __anext__(self) -> CompletedPiece:
        index, piece = await anext(self._pieces)
        self._told = True
        return CompletedPiece(
            index,
            piece.text.decode(),
            piece.finish,
            piece.log_probabilities,
            piece.top_tokens,
            piece.top_log_probabilities,
        )

    def close(self) -> None:
        """Stop what is unfinished; once is enough, twice is fine."""
        if not self._closed:
            self._closed = True
            self._pieces.cancel()
            self._close(self._told)


def requests_of(
    command: CompleteText,
    seed: int,
    path: PathId,
    text: bytes,
    kept: int,
    deadline_s: float | None,
    *,
    moves: bool = False,
) -> Sequence[Complete]:
    """One request to the engine for each continuation, each with a seed of its own."""
    stop = tuple(one.encode() for one in command.stop)
    return [
        Complete(
            path,
            text,
            kept,
            CompleteSpec(
                command.max_bytes, stop, replace(command.sampling, seed=seed_of_sample(seed, index)), command.top
            ),
            deadline_s,
            moves,
        )
        for index in range(command.count)
    ]
