"""One conversation of typing, whatever protocol it is held in: edits in, acknowledgements and suggestions out.

Edits are committed in the order of the messages, one after the other, and answered in that order. At most
`_MAX_UNTOLD` answers are held: then nothing more is read until the caller has read some, so a slow reader slows its own
typing and costs no memory. Acknowledgements and rejections are never dropped; suggestions are, once a newer edit of the
conversation is committed.

A message costs more than a step of the model. So an edit that asks for suggestions is acknowledged in one message with
them if they come within `_ACKNOWLEDGE_WITHIN_S`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from enum import Enum, auto
from functools import partial
from typing import Generic, Protocol, TypeVar

from service.errors import CarouselError, InvalidArgument, NotFound, RevisionConflict
from service.sessions.answers import Committed
from service.sessions.commands import EditSession, GetSession, SessionView, Suggested, Tenant
from service.sessions.service import Sessions
from service.transport.lifecycle import Lifecycle
from service.transport.observer import OK, Facade, RequestObserver
from service.transport.statuses import code_of

OPERATION = "Type"

_MAX_UNTOLD = 64
_MAX_REJECTED = 256  # edits of a conversation; those behind one are sent before it is told
_ACKNOWLEDGE_WITHIN_S = 0.02

Request = TypeVar("Request")
Asked = TypeVar("Asked", contravariant=True)
Event = TypeVar("Event")


class CallerLeft(Exception):
    """The connection is gone: nobody reads what would be told, nobody sends more."""


class Ending(Enum):
    """How a conversation ended."""

    CALLER_FINISHED = auto()  # said so, and was told everything
    CALLER_LEFT = auto()
    SERVER_DRAINS = auto()  # what was read is answered; what was not is for another server
    STREAM_IS_OLD = auto()  # the same, and what was not may be for the same server, over another stream


class Wire(Protocol[Asked, Event]):
    """A protocol's side of one conversation: what its requests say, and how its events are made and sent."""

    def command(self, request: Asked) -> EditSession:
        """What is asked. Raises the CarouselError that the request is rejected with."""

    def edit_id(self, request: Asked) -> str:
        """The caller's edit id in a request that was rejected, as far as it could be read; else empty."""

    def after(self, request: Asked) -> str:
        """The edit id of what the request was sent after without an answer; empty if it names none."""

    def acknowledged(self, edit_id: str, view: SessionView) -> Event:
        """An edit is committed."""

    def suggested(self, edit_id: str, suggested: Suggested, acknowledged: Event | None) -> Event:
        """Suggestions for an edit, and in one with them its acknowledgement if that was not told before."""

    def rejected(self, edit_id: str, error: CarouselError) -> Event:
        """An edit was not applied."""

    async def write(self, event: Event) -> None:
        """Send it, and wait while the caller does not read. Nothing is sent, and nobody told, to a caller who has left:
        the requests say so after the last one that arrived, which is still to be committed.
        """


class Conversation(Generic[Request, Event]):
    """One task reads, commits and answers, another writes the answers: a keystroke needs no task of its own.

    requests: what the caller sends; it ends when the caller has finished, and raises CallerLeft.
    """

    def __init__(
        self,
        sessions: Sessions,
        tenant: Tenant,
        requests: AsyncIterator[Request],
        wire: Wire[Request, Event],
        *,
        facade: Facade,
        lifecycle: Lifecycle,
        observer: RequestObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions, self._tenant, self._requests, self._wire = sessions, tenant, requests, wire
        self._facade, self._lifecycle, self._observer, self._clock = facade, lifecycle, observer, clock
        self.newest: SessionView | None = None  # of the last edit that was committed here
        self._waiting_to_read = False
        self._over = False  # nothing more is to be read
        self._finished = False  # there is nothing more
        self._ended = False
        self._rejected: dict[str, CarouselError] = {}  # by edit id, the newest ones
        self._untold: deque[Event] = deque()
        self._room = asyncio.Event()
        self._suggesting: Committed | None = None  # of the newest edit, and on their way
        self._suggested: Event | None = None  # of the newest edit, and not told yet
        self._owed: Event | None = None  # the newest acknowledgement, if it waits for its suggestions
        self._overdue: asyncio.TimerHandle | None = None
        self._told: asyncio.Future[None] | None = None  # what the writing task waits for

    async def run(self) -> Ending:
        """Answer until the caller has finished or left, or the stream or the process ends.

        Raises what is a bug, in a group.
        """
        left = False
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._read())
                ending = tasks.create_task(self._stop_in_time(reading))
                await self._write()
                ending.cancel()
        except* CallerLeft:
            left = True
        finally:
            self._take_owed()
            if self._suggesting is not None:
                self._suggesting.give_up()
        if left:
            return Ending.CALLER_LEFT
        if self._lifecycle.draining:
            return Ending.SERVER_DRAINS
        return Ending.CALLER_FINISHED if self._finished else Ending.STREAM_IS_OLD

    async def _stop_in_time(self, reading: asyncio.Task[None]) -> None:
        await self._lifecycle.stream_over()
        self._over = True
        if self._waiting_to_read:  # else the reader is at an edit, which is answered before it ends by itself
            reading.cancel()

    async def _read(self) -> None:
        try:
            while not (self._over or self._lifecycle.draining):
                self._waiting_to_read = True
                request = await anext(self._requests, None)
                self._waiting_to_read = False
                if request is None:
                    self._finished = True
                    return
                await self._answer(request)
                while len(self._untold) >= _MAX_UNTOLD:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ended = True
            self._wake()

    async def _answer(self, request: Request) -> None:
        """Commit and acknowledge, or reject."""
        began_s = self._clock()
        try:
            command = self._wire.command(request)
            if self._rejected:
                await self._reject_with_its_predecessor(request, command)
            committed = await self._sessions.commit(self._tenant, command)
        except CarouselError as error:
            code = code_of(error).value
            logging.getLogger(f"carousel.{self._facade}").info(
                "an edit was rejected", extra={"operation": OPERATION, "code": code}
            )
            self._remember(self._wire.edit_id(request), error)
            rejected = self._wire.rejected(self._wire.edit_id(request), error)
            self._acknowledge()
            self._untold.append(rejected)
        else:
            code = OK
            self.newest = committed.view
            edit_id = command.edit_id or committed.edit_id or ""
            self._acknowledge()
            self._owed = self._wire.acknowledged(edit_id, committed.view)
            self._suggest(edit_id, committed)
        self._observer.request(self._facade, OPERATION, code, self._clock() - began_s)

    def _remember(self, edit_id: str, error: CarouselError) -> None:
        if edit_id:
            self._rejected[edit_id] = error
            if len(self._rejected) > _MAX_REJECTED:
                del self._rejected[next(iter(self._rejected))]

    async def _reject_with_its_predecessor(self, request: Request, command: EditSession) -> None:
        """Raise for what was sent after an edit that was rejected: its revision may be somebody else's by now."""
        error = self._rejected.get(self._wire.after(request))
        if error is None:
            if command.edit_id is not None:
                self._rejected.pop(command.edit_id, None)  # it is asked for again
            return
        if not isinstance(error, InvalidArgument | NotFound | RevisionConflict):
            raise error  # both may be sent again as they are
        view = await self._sessions.get(self._tenant, GetSession(command.session))
        raise RevisionConflict("it was sent after an edit that was rejected: build on what there is", view.revision)

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
            event = self._wire.suggested(edit_id, suggested, acknowledged)
            if acknowledged is None:
                self._suggested = event
            else:
                self._untold.append(event)
            self._wake()

    def _acknowledge(self) -> None:
        """Tell the newest acknowledgement by itself, if it was not told."""
        acknowledged = self._take_owed()
        if acknowledged is not None:
            self._untold.append(acknowledged)
        self._wake()

    def _take_owed(self) -> Event | None:
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
                await self._wire.write(self._untold.popleft())
                self._room.set()
            elif self._suggested is not None:
                suggested, self._suggested = self._suggested, None
                await self._wire.write(suggested)
            elif self._ended and self._suggesting is None:
                return
            else:
                self._told = asyncio.get_running_loop().create_future()
                await self._told
