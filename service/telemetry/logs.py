"""Structured logs on standard error: JSON lines, or readable lines on a terminal; never typed text.

Everything logs through the standard library's `logging`, with what belongs to a line in `extra`; structlog gives all
lines one shape, those of the libraries too. It is imported for the first line: the first keystroke needs none.
"""

from __future__ import annotations

import logging
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TextIO

from service.transport.caller import current_request_id

if TYPE_CHECKING:
    from structlog.typing import Processor

Format = Literal["auto", "json", "console"]


def configure_logs(level: str, format_: Format, *, stream: TextIO | None = None) -> None:
    """Set up the standard library's logging for the whole process. Call once, before serving."""
    out = stream if stream is not None else sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(_LateFormatter(console=format_ == "console" or (format_ == "auto" and out.isatty())))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("uvicorn", "uvicorn.error", "asyncio", "grpc._cython.cygrpc"):
        # Their start-up chatter says nothing that start-up does not print; their warnings do.
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


class _LateFormatter(logging.Formatter):
    """structlog's formatter, made for the first record."""

    def __init__(self, *, console: bool) -> None:
        super().__init__()
        self._console = console

    def format(self, record: logging.LogRecord) -> str:
        return self._structured.format(record)

    @cached_property
    def _structured(self) -> logging.Formatter:
        import structlog

        renderer: list[Processor] = (
            # Tracebacks without local variables: those may hold what somebody typed.
            [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
            if self._console
            else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        )
        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                _add_request_id,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.stdlib.ExtraAdder(),
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )


def _add_request_id(logger: Any, method: str, entry: Any) -> Any:
    """A processor: the request that the line belongs to."""
    request_id = current_request_id()
    if request_id is not None:
        entry["request_id"] = request_id
    return entry
