"""What the facades report of their requests; telemetry implements it."""

from __future__ import annotations

import logging
from typing import Literal, Protocol

Facade = Literal["grpc", "rest", "websocket"]

OK = "OK"
CANCELLED = "CANCELLED"  # the caller went away


def level_of(code: str) -> int:
    """How loud a call is logged: there is one for every keystroke, so only what went wrong is heard by default."""
    return logging.DEBUG if code in (OK, CANCELLED) else logging.INFO


class RequestObserver(Protocol):
    """Called on the event loop's thread, once for every request and for every edit of a stream."""

    def request(self, facade: Facade, operation: str, code: str, seconds: float) -> None:
        """`code` is `OK`, `CANCELLED` or a stable error code; `seconds` until the answer or acknowledgement."""
