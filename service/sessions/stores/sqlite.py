"""The store in a SQLite file: the loop's side, and the one thread that owns the file.

What is asked within one turn of the loop is handed over together, and all that waits when the thread comes back is one
transaction: one commit, and one wake-up of the loop, for many keystrokes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from service.errors import CarouselError, Unavailable
from service.sessions.by_session import BySession
from service.sessions.commands import SessionId, Tenant
from service.sessions.keeping import Keeping
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey, StoredSession, StoredSummary, Swept

if TYPE_CHECKING:
    from service.sessions.stores.sqlite_file import SessionFile

_MOST_WAITING = 20_000  # calls; more than the thread does in a second
_RETRY_AFTER_S = 1.0
_QUIET_S = 1.0  # without a call, before what was deleted is tidied away
_READS = frozenset({"load", "get_snapshot", "page", "settled"})

Acknowledge = Literal["store", "fsync", "memory"]


class _Call(NamedTuple):
    """A call of a method of SessionFile; `answer` None if nobody waits for it."""

    method: str
    arguments: tuple[Any, ...]
    answer: asyncio.Future[Any] | None


class SqliteStore:
    """A `Store` in one file, of this process alone. `opened` must have returned before the first call.

    acknowledge: `store` answers when SQLite has committed, which survives the process; `fsync` when the disk has it,
    too; `memory` before it is written. With `memory`, writes that fail are tried again in their order until they
    succeed, and everything else is Unavailable meanwhile.
    """

    def __init__(
        self,
        path: Path,
        *,
        acknowledge: Acknowledge = "store",
        keeping: Keeping | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin to open the file on the store's thread. clock: seconds since 1970."""
        self._acknowledge = acknowledge
        self._waiting: list[_Call] = []  # of this turn of the loop
        self._unanswered = 0
        self._refused: BySession[CarouselError] = BySession()  # writes that were acknowledged, and could not be made
        self._handed_over: SimpleQueue[list[_Call] | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: Future[None] = Future()
        self._writer = _Writer(path, acknowledge, keeping or Keeping(), clock)
        self._thread = Thread(target=self._work, name="carousel-store", daemon=True)
        self._thread.start()

    def opened(self) -> None:
        """Wait until the file is open. Raises CannotOpen."""
        self._opening.result()

    @property
    def shared(self) -> bool:
        """As `Store.shared`."""
        return False

    def durable(self, key: SessionKey) -> bool:
        """As `Store.durable`."""
        return True

    async def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        """As `Store.create`."""
        self._forget_refusal(key)
        created: bool = await self._call("create", key, checkpoint)
        return created

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        """As `Store.append`."""
        if self._acknowledge != "memory":
            await self._call("append", key, fence, record, checkpoint)
            return
        refused = self._forget_refusal(key)
        if refused is not None:
            raise refused
        self._hand_over(_Call("append", (key, fence, record, checkpoint), None))

    async def settled(self, key: SessionKey) -> None:
        """As `Store.settled`. An edit that was acknowledged in memory is decided."""
        if self._acknowledge != "memory":
            await self._call("settled")

    async def load(self, key: SessionKey) -> StoredSession | None:
        """As `Store.load`."""
        self._forget_refusal(key)
        stored: StoredSession | None = await self._call("load", key)
        return stored

    def rest(self, key: SessionKey) -> None:
        """As `Store.rest`: nothing of a session is in memory."""

    async def delete(self, key: SessionKey, incarnation: int) -> None:
        """As `Store.delete`."""
        await self._call("delete", key, incarnation)

    async def put_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        """As `Store.put_snapshot`."""
        await self._call("put_snapshot", key, incarnation, snapshot)

    async def get_snapshot(self, key: SessionKey, incarnation: int) -> bytes | None:
        """As `Store.get_snapshot`."""
        snapshot: bytes | None = await self._call("get_snapshot", key, incarnation)
        return snapshot

    async def page(self, tenant: Tenant, after: SessionId | None, limit: int) -> tuple[StoredSummary, ...]:
        """As `Store.page`."""
        listed: tuple[StoredSummary, ...] = await self._call("page", tenant, after, limit)
        return listed

    async def sweep(self, limit: int) -> Swept:
        """As `Store.sweep`."""
        swept: Swept = await self._call("sweep", limit)
        return swept

    async def close(self) -> None:
        """As `Store.close`."""
        self._flush()
        self._handed_over.put(None)
        await asyncio.to_thread(self._thread.join)

    def _forget_refusal(self, key: SessionKey) -> CarouselError | None:
        """What became of an edit that was acknowledged before; once."""
        refused = self._refused.get(key) if self._refused else None
        if refused is not None:
            self._refused.remove(key)
        return refused

    def _call(self, method: str, *arguments: Any) -> asyncio.Future[Any]:
        loop = self._loop or asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._hand_over(_Call(method, arguments, answer))
        return answer

    def _hand_over(self, call: _Call) -> None:
        if self._unanswered >= _MOST_WAITING:
            raise Unavailable(f"{_MOST_WAITING} writes wait for the disk: try again later", _RETRY_AFTER_S)
        self._unanswered += 1
        self._waiting.append(call)
        if len(self._waiting) == 1:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._waiting:
            self._handed_over.put(self._waiting)
            self._waiting = []

    def _answered(self, answers: list[tuple[_Call, Any]]) -> None:
        """On the loop's thread: what became of calls."""
        self._unanswered -= len(answers)
        for call, outcome in answers:
            if call.answer is None:
                if isinstance(outcome, Exception):
                    refused = (
                        outcome if isinstance(outcome, CarouselError) else Unavailable("see the log", _RETRY_AFTER_S)
                    )
                    self._refused.put(call.arguments[0], refused)
            elif call.answer.done():
                continue  # its caller went away
            elif isinstance(outcome, BaseException):
                call.answer.set_exception(outcome)
                call.answer.exception()  # seen here: a pipelined caller may have gone
            else:
                call.answer.set_result(outcome)

    def _work(self) -> None:
        """The thread: opens the file, works until None is handed over, closes the file."""
        try:
            self._writer.open()
        except BaseException as error:  # noqa: BLE001  whoever opened the store is told
            self._opening.set_exception(error)
            return
        self._opening.set_result(None)
        ended = False
        while not ended:
            calls, ended = self._next()
            answers = self._writer.work(calls)
            if answers and self._loop is not None:
                self._loop.call_soon_threadsafe(self._answered, answers)
        self._writer.close()

    def _next(self) -> tuple[list[_Call], bool]:
        """All that waits, once there is something or it is time for what can wait; and whether it is the end."""
        calls: list[_Call] = []
        try:
            handed = self._handed_over.get(timeout=self._writer.patience_s)
            while handed is not None:
                calls += handed
                handed = self._handed_over.get_nowait()
        except Empty:
            return calls, False
        return calls, True


class _Writer:
    """The thread's side: calls become transactions, and errors of the disk become Unavailable."""

    def __init__(self, path: Path, acknowledge: Acknowledge, keeping: Keeping, clock: Callable[[], float]) -> None:
        self._make: Callable[[], SessionFile] = partial(_open, path, acknowledge, keeping, clock)
        self._file: SessionFile
        self._owed: deque[_Call] = deque()  # acknowledged, and not written yet
        self._failing = False
        self._log = logging.getLogger("carousel.store")

    @property
    def patience_s(self) -> float | None:
        """How long to wait for calls before there is something else to do; None for ever."""
        if self._owed:
            return _RETRY_AFTER_S
        return _QUIET_S if self._file.untidy and not self._failing else None

    def open(self) -> None:
        """Open the file. Raises CannotOpen."""
        self._file = self._make()

    def close(self) -> None:
        """Try once more to write what is owed, and close the file."""
        self.work([])
        if self._owed:
            self._log.error("acknowledged edits could not be written", extra={"edits": len(self._owed)})
        self._file.close()

    def work(self, calls: list[_Call]) -> list[tuple[_Call, Any]]:
        """Do what is owed and `calls` in their order, all or none; an answer for each that is decided."""
        import sqlite3  # imported when the file was opened

        todo = [*self._owed, *calls]
        try:
            if not todo:
                if self._file.untidy:
                    self._file.tidy()
                return []
            answers = self._transact(todo)
        except sqlite3.Error as error:
            return self._failed(todo, error)
        except Exception as error:  # noqa: BLE001  a bug: told to every caller, so that nobody waits for ever
            self._log.exception("the store failed")
            self._owed.clear()
            return [(call, error) for call in todo]
        self._owed.clear()
        if self._failing:
            self._failing = False
            self._log.info("the session file is written again")
        return answers

    def _transact(self, calls: list[_Call]) -> list[tuple[_Call, Any]]:
        if all(call.method in _READS for call in calls):
            return [(call, self._run(call)) for call in calls]
        with self._file.transaction():
            return [(call, self._run(call)) for call in calls]

    def _run(self, call: _Call) -> Any:
        if call.method == "settled":
            return None
        try:
            return getattr(self._file, call.method)(*call.arguments)
        except CarouselError as error:
            return error

    def _failed(self, calls: list[_Call], error: Any) -> list[tuple[_Call, Any]]:
        """Nothing of `calls` was done: who waits is told, what was acknowledged is owed."""
        if not self._failing:
            self._failing = True
            self._log.error(
                "THE SESSION FILE CANNOT BE WRITTEN: edits are refused until it can", extra={"fault": str(error)}
            )
        self._recover(error)
        self._owed = deque(call for call in calls if call.answer is None)
        refusal = Unavailable(f"sessions cannot be stored ({error}): nothing is lost, try again", _RETRY_AFTER_S)
        return [(call, refusal) for call in calls if call.answer is not None]

    def _recover(self, error: Any) -> None:
        """Leave a file behind that the next transaction can use, if that is possible now."""
        try:
            if not self._file.set_aside_if_damaged(error) and self._file.unusable:
                self._file.reopen()
        except Exception as again:  # noqa: BLE001  whatever it is, the next call tries again
            self._log.error("the session file cannot be opened again", extra={"fault": str(again)})


def _open(path: Path, acknowledge: Acknowledge, keeping: Keeping, clock: Callable[[], float]) -> SessionFile:
    from service.sessions.stores.sqlite_file import SessionFile  # on this thread: sqlite3 takes milliseconds

    return SessionFile(path, acknowledge, keeping, clock)
