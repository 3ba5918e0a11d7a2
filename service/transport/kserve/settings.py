"""What may be read of how the server logs and traces; the operator alone changes it, when the server starts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from service.errors import InvalidArgument
from service.transport.kserve.metadata import trace_settings


def log_settings() -> Mapping[str, bool | int | str]:
    """By Triton's names. Everything goes to standard error, so there is no file."""
    level = logging.getLogger("carousel").getEffectiveLevel()
    return {
        "log_file": "",
        "log_info": level <= logging.INFO,
        "log_warning": level <= logging.WARNING,
        "log_error": level <= logging.ERROR,
        "log_verbose_level": 1 if level <= logging.DEBUG else 0,
        "log_format": "default",
    }


def refuse_log_settings(settings: Iterable[str]) -> None:
    """Raises InvalidArgument if one is to be changed."""
    _refuse(settings, log_settings(), "logging is the operator's: --log-level when the server starts")


def refuse_trace_settings(settings: Iterable[str]) -> None:
    """Raises InvalidArgument if one is to be changed."""
    _refuse(settings, trace_settings(), "requests are not traced here; x-request-id finds one in the server's log")


def _refuse(settings: Iterable[str], there_are: Iterable[str], why: str) -> None:
    for name in settings:
        known = name in set(there_are)
        raise InvalidArgument(f"settings.{name}", f"cannot be changed: {why}" if known else "there is no such setting")
