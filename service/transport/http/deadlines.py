"""How long a caller of REST waits: what a deadline is to a call of gRPC, said in a header."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Annotated, Final, TypeVar

from fastapi import Header, Request

from service.errors import DeadlineExceeded

TIMEOUT_HEADER: Final = "x-carousel-timeout-ms"
_ANSWER_MARGIN_S: Final = 0.005  # the answer has to be on its way before the caller's clock runs out
_A_DAY_MS: Final = 86_400_000

_DESCRIPTION = (
    "How long the caller waits, from the request's arrival. Suggestions that come later are left out, with "
    "`finish_reason` `deadline`; a completion ends with what it has; a score, what was not begun in time, and what "
    "suggests nothing is 504 DEADLINE. What was committed stays committed."
)

T = TypeVar("T")


def deadline_of(
    request: Request,
    timeout_ms: Annotated[
        int | None, Header(alias=TIMEOUT_HEADER, ge=1, le=_A_DAY_MS, description=_DESCRIPTION)
    ] = None,
) -> float | None:
    """The moment on `time.monotonic` after which nobody waits. Raises DeadlineExceeded if it has passed."""
    if timeout_ms is None:
        return None
    now_s = time.monotonic()
    deadline_s: float = request.scope["state"].get("began_s", now_s) + timeout_ms / 1000
    if now_s >= deadline_s:
        raise DeadlineExceeded("the caller's time was up before anything was begun; allow it more")
    return max(deadline_s - _ANSWER_MARGIN_S, now_s)


async def in_time(work: Awaitable[T], deadline_s: float | None) -> T:
    """What `work` gives, for requests that suggest nothing and so have nothing to leave out.

    Raises DeadlineExceeded at the deadline; like a call of gRPC that was given up, a write may have been made by then.
    """
    if deadline_s is None:
        return await work
    try:
        async with asyncio.timeout(max(deadline_s - time.monotonic(), 0.0)):
            return await work
    except TimeoutError as error:
        raise DeadlineExceeded("the caller's time was up; allow it more, or ask what became of it") from error
