"""One `Type` stream: edits in, acknowledgements and suggestions out, while its writer may lag behind its reader.

Edits are committed in the order of the messages, one after the other, and answered in that order. At most
`_MAX_UNTOLD` answers are held: then nothing more is read until the caller has read some, so a slow reader slows its own
typing and costs no memory. Acknowledgements and rejections are never dropped; suggestions are, once a newer edit of the
stream is committed.

A message costs more than a step of the model. So an edit that asks for suggestions is acknowledged in one message with
them if they come within `_ACKNOWLEDGE_WITHIN_S`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial

from service.errors import CarouselError, InvalidArgument, Unavailable
from service.sessions.answers import Committed
from service.sessions.commands import Suggested
from service.sessions.service import Sessions
from service.transport.grpc import messages
from service.transport.grpc.calls import Call, Context
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from service.transport.lifecycle import Lifecycle
from service.transport.observer import OK, RequestObserver
from service.transport.statuses import code_of

_MAX_UNTOLD = 64
_ACKNOWLEDGE_WITHIN_S = 0.02

Requests = AsyncIterator[pb.TypeRequest | InvalidArgument]


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
        self.log = logging.getLogger("carousel.grpc")

    async def serve(self, requests: Requests, call: Call, context: Context) -> None:
        """Answer one stream until its caller half-closes it, or the process ends: then raises Unavailable."""
        await _Stream(self, requests, call, context).run()


class _Stream:
    """One task reads, commits and answers, another writes the answers: a keystroke needs no task of its own."""

    def __init__(self, typing: Typing, requests: Requests, call: Call, context: Context) -> None:
        self._typing, self._requests, self._call, self._context = typing, requests, call, context
        self._session = ""
        self._bound = False
        self._waiting_to_read = False
        self._ended = False
        self._untold: deque[pb.TypeResponse] = deque()
        self._room = asyncio.Event()
        self._suggesting: Committed | None = None  # of the newest edit, and on their way
        self._suggested: pb.TypeResponse | None = None  # of the newest edit, and not told yet
        self._owed: pb.TypeResponse | None = None  # the newest acknowledgement, if it waits for its suggestions
        self._overdue: asyncio.TimerHandle | None = None
        self._told: asyncio.Future[None] | None = None  # what the writing task waits for

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read())
            ending = tasks.create_task(self._stop_at_drain(reading))
            await self._write()
            ending.cancel()
        if self._typing.lifecycle.draining:
            raise Unavailable("the server is shutting down; everything read was answered, go on elsewhere", 1.0)

    async def _stop_at_drain(self, reading: asyncio.Task[None]) -> None:
        await self._typing.lifecycle.wait_draining()
        if self._waiting_to_read:  # else the reader is at an edit, which is answered before it ends by itself
            reading.cancel()

    async def _read(self) -> None:
        try:
            while not self._typing.lifecycle.draining:
                self._waiting_to_read = True
                request = await anext(self._requests, None)
                self._waiting_to_read = False
                if request is None:
                    return
                await self._answer(request)
                while len(self._untold) >= _MAX_UNTOLD:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ended = True
            self._wake()

    async def _answer(self, request: pb.TypeRequest | InvalidArgument) -> None:
        """Commit and acknowledge, or reject."""
        began_s = self._typing.clock()
        edit_id = "" if isinstance(request, InvalidArgument) else request.edit_id
        try:
            if isinstance(request, InvalidArgument):
                raise request
            self._choose_session(request)
            committed = await self._typing.sessions.commit(self._call.tenant, messages.edit_command(request))
        except CarouselError as error:
            code = code_of(error).value
            # Imported for the first rejection, or once the server is up: the first keystroke does not wait for it.
            from service.transport.grpc.failures import status_of

            self._typing.log.info("an edit was rejected", extra={"operation": "Type", "code": code})
            status = status_of(error, self._call.request_id)
            self._acknowledge()
            self._untold.append(pb.TypeResponse(rejected=pb.Rejection(edit_id=edit_id, error=status)))
        else:
            code = OK
            edit_id = edit_id or committed.edit_id or ""
            self._acknowledge()
            self._owed = messages.acknowledgement(edit_id, committed.view)
            self._bound = True
            self._suggest(edit_id, committed)
        self._typing.observer.request("grpc", "Type", code, self._typing.clock() - began_s)

    def _choose_session(self, request: pb.TypeRequest) -> None:
        """Put the stream's session into a message without one; a stream stays with the first session it edited."""
        if not request.session_id:
            if not self._session:
                raise InvalidArgument("session_id", "the first message of a stream names the session")
            request.session_id = self._session
        elif self._bound and request.session_id != self._session:
            raise InvalidArgument("session_id", "this stream edits another session; open a stream for each")
        self._session = request.session_id

    def _suggest(self, edit_id: str, committed: Committed) -> None:
        """What was suggested for an older edit is of no use any more; wait for what this one asks for."""
        if self._suggesting is not None:
            self._suggesting.give_up()
        self._suggesting = self._suggested = None
        if committed.wants_suggestions:
            loop = asyncio.get_running_loop()
            self._overdue = loop.call_later(_ACKNOWLEDGE_WITHIN_S, self._acknowledge)
            self._suggesting = committed
            committed.when_suggested(partial(self._found, edit_id, committed))
        else:
            self._acknowledge()

    def _found(self, edit_id: str, committed: Committed, suggested: Suggested) -> None:
        if self._suggesting is committed:
            self._suggesting = None
            acknowledged = self._take_owed()
            if acknowledged is None:
                self._suggested = messages.suggested(edit_id, suggested)
            else:
                self._untold.append(messages.suggested(edit_id, suggested, acknowledged))
            self._wake()

    def _acknowledge(self) -> None:
        """Tell the newest acknowledgement by itself, if it was not told."""
        acknowledged = self._take_owed()
        if acknowledged is not None:
            self._untold.append(acknowledged)
        self._wake()

    def _take_owed(self) -> pb.TypeResponse | None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        owed, self._owed = self._owed, None
        return owed

    def _wake(self) -> None:
        if self._told is not None and not self._told.done():
            self._told.set_result(None)

    async def _write(self) -> None:
        """Tell everything in order, until nothing more can come."""
        while True:
            if self._untold:
                await self._context.write(self._untold.popleft())
                self._room.set()
            elif self._suggested is not None:
                suggested, self._suggested = self._suggested, None
                await self._context.write(suggested)
            elif self._ended and self._suggesting is None:
                return
            else:
                self._told = asyncio.get_running_loop().create_future()
                await self._told
