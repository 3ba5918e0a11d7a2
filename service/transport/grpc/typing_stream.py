"""One `Type` stream: edits in, acknowledgements and suggestions out, while its writer may lag behind its reader.

Commits are begun in the order of the messages without waiting for each other, and answered in that order. At most
`_MAX_UNANSWERED` are held: then nothing more is read until the caller has read answers, so a slow reader slows its own
typing and costs no memory. Acknowledgements and rejections are never dropped; suggestions are, once a newer edit of the
stream is committed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from service.errors import CarouselError, InvalidArgument, Unavailable
from service.sessions.answers import Committed
from service.sessions.service import Sessions
from service.transport.grpc import messages
from service.transport.grpc.calls import Call, Context
from service.transport.grpc.failures import status_of
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.lifecycle import Lifecycle
from service.transport.observer import OK, RequestObserver
from service.transport.statuses import code_of

_MAX_UNANSWERED = 64

Requests = AsyncIterator[pb.TypeRequest | InvalidArgument]


@dataclass(frozen=True, slots=True)
class _Accepted:
    """A message that was read: its commit is under way, or has failed already."""

    edit_id: str
    commit: asyncio.Task[Committed] | CarouselError
    read_at_s: float


class Typing:
    """The behaviour of `Type`; one for the process, one `_Stream` per call."""

    def __init__(
        self,
        sessions: Sessions,
        *,
        lifecycle: Lifecycle,
        observer: RequestObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sessions, self.lifecycle, self.observer, self.clock = sessions, lifecycle, observer, clock
        self.log = structlog.stdlib.get_logger("carousel.grpc")
        self._commits: set[asyncio.Task[Committed]] = set()

    async def serve(self, requests: Requests, call: Call, context: Context) -> None:
        """Answer one stream until its caller half-closes it, or the process ends: then raises Unavailable."""
        await _Stream(self, requests, call, context).run()

    def begin(self, commit: asyncio.Task[Committed]) -> asyncio.Task[Committed]:
        """Keep a commit alive to its end: an edit that was begun is not abandoned because its stream broke."""
        self._commits.add(commit)
        commit.add_done_callback(self._forget)
        return commit

    def _forget(self, commit: asyncio.Task[Committed]) -> None:
        self._commits.discard(commit)
        if not commit.cancelled():
            commit.exception()  # seen here for those whose stream is gone


class _Stream:
    """Three tasks while it is open, one reading, one answering, one waiting for the end, and one for each suggestion.

    They write by turns: gRPC takes one message of a call at a time.
    """

    def __init__(self, typing: Typing, requests: Requests, call: Call, context: Context) -> None:
        self._typing, self._requests, self._call, self._context = typing, requests, call, context
        self._accepted: asyncio.Queue[_Accepted | None] = asyncio.Queue(_MAX_UNANSWERED)
        self._session = ""
        self._bound = False
        self._writing = asyncio.Lock()
        self._suggesting: asyncio.Task[None] | None = None
        self._telling = False  # the newest suggestions are on their way out: they are not taken back

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read())
            ending = tasks.create_task(self._stop_at_drain(reading))
            while (accepted := await self._accepted.get()) is not None:
                committed = await self._answer(accepted)
                if committed is not None:
                    self._overtake()
                    if committed.wants_suggestions:
                        edit_id = accepted.edit_id or committed.edit_id or ""
                        self._suggesting = tasks.create_task(self._suggest(edit_id, committed))
            ending.cancel()
        if self._typing.lifecycle.draining:
            raise Unavailable("the server is shutting down; everything read was answered, go on elsewhere", 1.0)

    async def _read(self) -> None:
        try:
            async for request in self._requests:
                await self._accepted.put(self._accept(request))
        finally:
            await self._accepted.put(None)

    async def _stop_at_drain(self, reading: asyncio.Task[None]) -> None:
        await self._typing.lifecycle.wait_draining()
        reading.cancel()

    def _accept(self, request: pb.TypeRequest | InvalidArgument) -> _Accepted:
        now_s = self._typing.clock()
        if isinstance(request, InvalidArgument):
            return _Accepted("", request, now_s)
        try:
            self._choose_session(request)
            command = messages.edit_command(request)
        except InvalidArgument as error:
            return _Accepted(request.edit_id, error, now_s)
        commit = asyncio.create_task(self._typing.sessions.commit(self._call.tenant, command))
        return _Accepted(request.edit_id, self._typing.begin(commit), now_s)

    def _choose_session(self, request: pb.TypeRequest) -> None:
        """Put the stream's session into a message without one; a stream stays with the first session it edited."""
        if not request.session_id:
            if not self._session:
                raise InvalidArgument("session_id", "the first message of a stream names the session")
            request.session_id = self._session
        elif self._bound and request.session_id != self._session:
            raise InvalidArgument("session_id", "this stream edits another session; open a stream for each")
        self._session = request.session_id

    async def _answer(self, accepted: _Accepted) -> Committed | None:
        """Acknowledge or reject, in order; None if it was rejected."""
        committed, code = None, OK
        try:
            if isinstance(accepted.commit, CarouselError):
                raise accepted.commit
            commit = accepted.commit  # begun before this turn of the loop, so it is done if it had nothing to wait for
            committed = commit.result() if commit.done() else await asyncio.shield(commit)
            answer = messages.acknowledgement(accepted.edit_id or committed.edit_id or "", committed.view)
            self._bound = True
        except CarouselError as error:
            code = code_of(error).value
            self._typing.log.info("an edit was rejected", operation="Type", code=code)
            status = status_of(error, self._call.request_id)
            answer = pb.TypeResponse(rejected=pb.Rejection(edit_id=accepted.edit_id, error=status))
        async with self._writing:
            await self._context.write(answer)
        self._typing.observer.request("grpc", "Type", code, self._typing.clock() - accepted.read_at_s)
        return committed

    def _overtake(self) -> None:
        """A newer edit is committed: what was being suggested for the older one is of no use."""
        if self._suggesting is not None and not self._telling:
            self._suggesting.cancel()
        self._suggesting, self._telling = None, False

    async def _suggest(self, edit_id: str, committed: Committed) -> None:
        found = await committed.suggestions()
        async with self._writing:
            if found is not None and self._suggesting is asyncio.current_task():  # not overtaken as it waited
                self._telling = True
                await self._context.write(messages.suggested(edit_id, found))
