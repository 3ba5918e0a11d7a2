"""What waits for Valkey: sent in the order of the calls, all that waits in one list of commands.

Edits of one session that follow each other become one compare-and-set, which is made for all of them or for none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from service.errors import CarouselError, Fenced, Unavailable
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey
from service.sessions.stores.valkey_link import RETRY_AFTER_S, Command, Link, refused
from service.sessions.stores.valkey_scripts import APPEND, CREATE, DELETE, FENCED

_LATER_S = 60.0  # when somebody has to change something first
_MOST_WAITING = 20_000  # calls
_MOST_AT_ONCE = 512  # calls in one list of commands
_MOST_JOINED = 256  # edits in one compare-and-set; Lua unpacks no more than some thousands
_WRITES = (APPEND, CREATE, DELETE)


class Appended(NamedTuple):
    """An edit to keep."""

    key: SessionKey
    fence: Fence
    record: EditRecord
    checkpoint: Checkpoint | None


class _Call(NamedTuple):
    """commands: to send; of an edit they are made when it is known what it is joined with. read: makes of their answers
    what `answer` is given.
    """

    commands: Sequence[Command]
    read: Callable[[list[Any]], Any]
    answer: asyncio.Future[Any]
    edit: Appended | None


_Group = tuple[list[_Call], Sequence[Command]]
"""Calls that are decided together, and what is sent for them."""


class ValkeyQueue:
    """One list of commands is under way at a time; what comes meanwhile is the next one."""

    def __init__(
        self, link: Link, sync: Command | None, append_command: Callable[[Sequence[Appended]], Command]
    ) -> None:
        """sync: sent after writes, and has to be answered with at least one copy. append_command: of joined edits."""
        self._link, self._sync, self._append_command = link, sync, append_command
        self._waiting: deque[_Call] = deque()
        self._sending: asyncio.Task[None] | None = None

    def ask(self, commands: Sequence[Command], read: Callable[[list[Any]], Any]) -> asyncio.Future[Any]:
        """Queue it at once; the future is given what `read` makes of the answers. Raises Unavailable if it is full."""
        return self._put(commands, read, None)

    def append(self, edit: Appended) -> asyncio.Future[int]:
        """Queue it at once; the future is given the bytes of the text then, or raises Fenced, or Unavailable."""
        return self._put((), _nothing, edit)

    async def close(self) -> None:
        """Send what waits."""
        if self._sending is not None:
            await self._sending

    def _put(
        self, commands: Sequence[Command], read: Callable[[list[Any]], Any], edit: Appended | None
    ) -> asyncio.Future[Any]:
        if len(self._waiting) >= _MOST_WAITING:
            raise Unavailable(f"{_MOST_WAITING} calls wait for the session store: try again later", RETRY_AFTER_S)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append(_Call(commands, read, answer, edit))
        if self._sending is None:
            self._sending = loop.create_task(self._send())
        return answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                groups = self._take()
                try:
                    await self._decide(groups)
                except CarouselError as error:
                    _fail(groups, error)
                except Exception as error:
                    logging.getLogger("carousel.store").exception("the store failed")
                    _fail(groups, error)
        finally:
            self._sending = None

    async def _decide(self, groups: Sequence[_Group]) -> None:
        commands = [command for _, sent in groups for command in sent]
        syncs = self._sync is not None and any(command[0] in _WRITES for command in commands)
        if syncs and self._sync is not None:
            commands.append(self._sync)
        answers = await self._link.ask(commands) if commands else []
        if syncs:
            _check_synced(answers.pop())
        left = iter(answers)
        for calls, sent in groups:
            _settle(calls, [next(left) for _ in sent])

    def _take(self) -> list[_Group]:
        """The calls of the next list of commands."""
        taken: list[tuple[list[_Call], Sequence[Command] | None]] = []
        edited: dict[SessionKey, list[_Call]] = {}  # by session, the edits that the next one may be joined with
        for _ in range(min(len(self._waiting), _MOST_AT_ONCE)):
            call = self._waiting.popleft()
            if call.edit is None:
                edited.clear()  # it may be about any session, and comes after what was called before it
                taken.append(([call], call.commands))
                continue
            joined = edited.get(call.edit.key)
            if joined is not None and _follows(joined, call.edit):
                joined.append(call)
            else:
                edited[call.edit.key] = [call]
                taken.append((edited[call.edit.key], None))
        return [(calls, self._commands(calls) if sent is None else sent) for calls, sent in taken]

    def _commands(self, calls: Sequence[_Call]) -> Sequence[Command]:
        return [self._append_command([call.edit for call in calls if call.edit is not None])]


def _follows(joined: Sequence[_Call], edit: Appended) -> bool:
    last = joined[-1].edit
    assert last is not None  # only edits are joined
    after = Fence(last.fence.incarnation, last.record.revision)
    return last.checkpoint is None and edit.fence == after and len(joined) < _MOST_JOINED


def _check_synced(answer: Any) -> None:
    if isinstance(answer, ResponseError) and "unknown command" in str(answer):
        raise Unavailable(
            "the session store cannot say that its disk has it: --acknowledge fsync wants Redis 7.2", _LATER_S
        )
    if isinstance(answer, ResponseError):
        raise refused(answer)
    if answer[0] < 1:
        raise Unavailable("the session store could not write to its disk in time: try again", RETRY_AFTER_S)


def _settle(calls: Sequence[_Call], answers: list[Any]) -> None:
    for answer in answers:
        if isinstance(answer, ResponseError):
            _fail([(list(calls), ())], refused(answer))
            return
    for call in calls:
        if call.answer.done():
            continue  # its caller went away
        try:
            call.answer.set_result(call.read(answers) if call.edit is None else _text_bytes(call.edit, answers[0]))
        except CarouselError as error:
            _refuse(call, error)


def _text_bytes(edit: Appended, answer: Any) -> int:
    if answer == FENCED:
        raise Fenced(f"session {edit.key.id!r} was changed or deleted elsewhere: read it and send the edits anew")
    return int(answer)


def _fail(groups: Sequence[_Group], error: Exception) -> None:
    for calls, _ in groups:
        for call in calls:
            if not call.answer.done():
                _refuse(call, error)


def _refuse(call: _Call, error: Exception) -> None:
    call.answer.set_exception(error)
    call.answer.exception()  # seen here: who pipelined it may have gone


def _nothing(answers: list[Any]) -> None:
    """Nobody wants to know."""
