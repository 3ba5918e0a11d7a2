"""A completion as server-sent events that can be resumed: the same request and the last event's id go on behind it.

A text depends on its request, seed and session's revision alone, so nothing is kept for a caller who may come back: the
id says the seed, the revision and how much of each completion was told, and the rest is computed again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.errors import CarouselError, InvalidArgument, RevisionConflict
from service.sessions.commands import CompletedPiece, CompleteText
from service.sessions.completions import Completion
from service.transport.http.completion_models import CompletionAbout, about, completion_event
from service.transport.http.problems import problem_of

LAST_EVENT_ID = "last-event-id"
_ID = re.compile(r"(\d{1,20})-(\d{1,20})-(\d{1,5}(?:\.\d{1,5}){0,15})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where a stream goes on. told: characters of each completion that the caller has."""

    seed: int
    revision: int
    told: tuple[int, ...]

    @classmethod
    def read(cls, event_id: str) -> Resumption:
        """From the id of an event. Raises InvalidArgument if it is none of ours."""
        match = _ID.fullmatch(event_id)
        if match is None:
            raise InvalidArgument(LAST_EVENT_ID, "is not the id of an event of this server; leave it out to start anew")
        return cls(int(match[1]), int(match[2]), tuple(map(int, match[3].split("."))))

    def command(self, command: CompleteText) -> CompleteText:
        """The same request, with the seed of then. Raises InvalidArgument if it is another request."""
        if len(self.told) != command.count or command.seed not in (None, self.seed):
            raise InvalidArgument(LAST_EVENT_ID, "belongs to another request; send it with the same body")
        return replace(command, seed=self.seed)

    def check(self, completion: Completion) -> None:
        """Raises RevisionConflict if the session has moved on, and would be continued otherwise now."""
        current = completion.revision or 0
        if self.revision != current:
            raise RevisionConflict(f"the stream continued revision {self.revision} of the session", current)


class CompletionStream(StreamingResponse):
    """Owns a completion: whatever is unfinished stops when the answer has ended, or its reader has gone."""

    def __init__(self, completion: Completion, count: int, resumption: Resumption | None, request_id: str) -> None:
        self._completion, self._request_id = completion, request_id
        self._told = list(resumption.told) if resumption else [0] * count
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(self._events(), headers=headers, media_type="text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with self._completion:
            await super().__call__(scope, receive, send)

    async def _events(self) -> AsyncIterator[bytes]:
        told = list(self._told)
        skipped = [0] * len(told)
        introduction: CompletionAbout | None = about(self._completion)
        try:
            async for piece in self._completion:
                index, skip = piece.index, self._told[piece.index] - skipped[piece.index]
                skipped[index] += min(skip, len(piece.text))
                new = _behind(piece, skip)
                if not new.text and new.finish_reason is None:
                    continue
                told[index] += len(new.text)
                event = completion_event(new, introduction)
                introduction = None
                yield format_sse_event(data_str=event.model_dump_json(exclude_none=True), id=self._id(told))
        except CarouselError as error:  # the answer has begun, so the status cannot say it any more
            problem = bytes(problem_of(error, self._request_id).body).decode()
            yield format_sse_event(data_str=problem, event="error")

    def _id(self, told: list[int]) -> str:
        return f"{self._completion.seed}-{self._completion.revision or 0}-{'.'.join(map(str, told))}"


def _behind(piece: CompletedPiece, characters: int) -> CompletedPiece:
    """The piece without so many of its characters at the beginning."""
    likely, tokens, others = piece.log_probabilities, piece.top_tokens, piece.top_log_probabilities
    cut = len(piece.text[:characters].encode())
    return CompletedPiece(
        piece.index,
        piece.text[characters:],
        piece.finish_reason,
        None if likely is None else likely[cut:],
        None if tokens is None else tokens[cut:],
        None if others is None else others[cut:],
    )
