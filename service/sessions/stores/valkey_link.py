"""One connection to Valkey or Redis: a list of commands goes out together, and its answers come back in order.

Nothing is sent twice by itself: a write whose answer is lost may have been made, and who asked for it has to look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from ssl import SSLCertVerificationError
from typing import Any

from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as LinkError
from redis.exceptions import TimeoutError as LinkTimeoutError

from service.errors import Unavailable
from service.sessions.stores.opening import CannotOpen
from service.sessions.stores.valkey_scripts import SCRIPTS, Script

RETRY_AFTER_S = 1.0
_SAFE_POLICY = "noeviction"
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_ELSEWHERE = (ReadOnlyError, MasterDownError, ClusterDownError)  # another connection may reach somebody better

Command = tuple[Any, ...]
"""A command with its arguments; a Script with its number of keys, keys and arguments."""

_log = logging.getLogger("carousel.store")


class Link:
    """Connects when it is first needed, and again after whatever went wrong. One caller at a time."""

    def __init__(self, url: str, password: str | None, timeout_s: float) -> None:
        """url: as redis-py reads it, valkey:// and valkeys:// as well. timeout_s: for one list of commands.

        Raises CannotOpen if the URL has options that do not exist or that name files which cannot be read.
        """
        scheme, _, rest = url.partition("://")
        secure = scheme in ("valkeys", "rediss")
        options: dict[str, Any] = dict(parse_url(f"{'rediss' if secure else 'redis'}://{rest}"))
        self._kind: type[Any] = options.pop("connection_class", Connection)
        self._options = options
        if password is not None:
            self._options["password"] = password
        self._timeout_s = timeout_s
        self._connection: Any = None
        self._down = False
        self._check(url)

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """An answer for each, of which some may be exceptions. Raises Unavailable if there are none: see `Link`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connect()
                answers = await self._exchange([_called_by_digest(command) for command in commands])
                unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
                if unknown:  # the scripts were flushed, or the server is another: their texts go along
                    again = await self._exchange([_with_text(commands[index]) for index in unknown])
                    for index, answer in zip(unknown, again, strict=True):
                        answers[index] = answer
        except (RedisError, OSError, TimeoutError) as error:
            await self.close()
            raise self._lost(error) from error
        except BaseException:
            await self.close()  # cancelled: answers that are still to come must meet nobody
            raise
        if any(isinstance(answer, _ELSEWHERE) for answer in answers):
            await self.close()
        if self._down:
            self._down = False
            _log.info("the session store answers again")
        return answers

    async def close(self) -> None:
        """Hang up; the next `ask` connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    async def _connect(self) -> None:
        if self._connection is not None:
            return
        connection = self._made()
        await connection.connect()
        self._connection = connection
        loaded = await self._exchange([("SCRIPT", "LOAD", script.text) for script in SCRIPTS])
        for answer in loaded:
            if isinstance(answer, Exception):
                raise answer
        (policy,) = await self._exchange([("CONFIG", "GET", "maxmemory-policy")])
        if isinstance(policy, list) and len(policy) == 2 and policy[1].decode() != _SAFE_POLICY:
            _log.warning(
                "the session store may drop sessions when its memory is full: set maxmemory-policy noeviction",
                extra={"policy": policy[1].decode()},
            )

    def _made(self) -> Any:
        return self._kind(
            **self._options,
            socket_timeout=None,  # ours is for the whole exchange
            socket_connect_timeout=self._timeout_s,
            retry=Retry(NoBackoff(), 0),
            client_name="carousel",
            protocol=2,
        )

    def _check(self, url: str) -> None:
        """What is wrong in the URL is told at the start, not at the first keystroke."""
        options = url.partition("?")[2]
        try:
            self._made()
            for name in _FILES:
                if name in self._options:
                    Path(self._options[name]).read_bytes()
        except OSError as error:
            raise CannotOpen(f"{error.filename}, which its options name ({options}): {error.strerror}") from error
        except (TypeError, ValueError, RedisError) as error:
            raise CannotOpen(f"its options ({options}) are not those of redis-py: {error}") from error

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        connection = self._connection
        await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(await connection.read_response())
            except ResponseError as error:
                answers.append(error)
        return answers

    def _lost(self, error: Exception) -> Unavailable:
        fault = _fault(error)
        if not self._down:
            self._down = True
            _log.error("THE SESSION STORE DOES NOT ANSWER: edits are refused until it does", extra={"fault": fault})
        return Unavailable(f"the session store does not answer ({fault}): try again", RETRY_AFTER_S)


def refused(error: ResponseError) -> Unavailable:
    """What a caller is told of an error that the server answered."""
    if isinstance(error, OutOfMemoryError):
        return Unavailable("the session store is full: try again later, or delete sessions", RETRY_AFTER_S)
    if isinstance(error, AskError | ClusterCrossSlotError):
        return Unavailable("the session store is a cluster: name a proxy that speaks for it", RETRY_AFTER_S)
    return Unavailable(f"the session store refuses ({error}): try again", RETRY_AFTER_S)


def _fault(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SSLCertVerificationError):
            return (
                f"its certificate is not to be trusted: {cause.verify_message}; ?ssl_ca_certs=FILE names whom to trust"
            )
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, TimeoutError | LinkTimeoutError):
        return "too slow"
    return str(error) if isinstance(error, LinkError) else f"{type(error).__name__}: {error}"


def _called_by_digest(command: Command) -> Command:
    script = command[0]
    return ("EVALSHA", script.digest, *command[1:]) if isinstance(script, Script) else command


def _with_text(command: Command) -> Command:
    return ("EVAL", command[0].text, *command[1:])
