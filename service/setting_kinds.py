"""How the value of a setting is read, from the text of a flag or a variable, or from what a TOML file holds.

The standard library alone: these run before the first line of the server can, and a validation library would take
longer to import than everything else between `serve` and the model (docs/decisions/007-transports.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T", covariant=True)
Word = TypeVar("Word", bound=str)

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.ASCII)
_UNITS = {"": 1, "b": 1} | {
    f"{letter}{binary}b": (1024 if binary else 1000) ** power
    for power, letter in enumerate("kmgt", start=1)
    for binary in ("", "i")
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) *(s|m|h|d|)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
SHARED_STORES = ("valkey", "valkeys", "redis", "rediss")
"""Schemes of the stores that replicas may share; with an s at the end, over TLS."""
_STORES = "memory:, sqlite:PATH, valkey://HOST:PORT/DB (valkeys:// with TLS)"
_VALKEY_URL = re.compile(r"//(?:[^/@]*@)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?(?:/\d{0,5})?(?:\?\S*)?")
_SWITCHED = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What a setting may be. `read` raises ValueError, whose message quotes the value and says what is accepted.

    several: it is a list, whose parts may be given with commas between them, or with a flag each.
    """

    metavar: str  # stands for the value in the help
    read: Callable[[object], T]
    several: bool = False


def text() -> Kind[str]:
    """Any text but the empty one."""
    return Kind("TEXT", _text)


def one_of(*words: Word) -> Kind[Word]:
    """One of these words."""

    def read(value: object) -> Word:
        if value not in words:
            raise ValueError(f"{value!r} is none of {', '.join(words)}")
        return value

    return Kind("|".join(words), read)


def whole(low: int, high: int | None = None) -> Kind[int]:
    """A whole number of at least `low` and at most `high`."""
    accepted = f"of at least {low}" if high is None else f"from {low} to {high}"

    def read(value: object) -> int:
        number = int(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d{1,20}", value) else value
        if (
            not isinstance(number, int)
            or isinstance(number, bool)
            or not low <= number <= (number if high is None else high)
        ):
            raise ValueError(f"{value!r} is not a whole number {accepted}")
        return number

    return Kind("NUMBER", read)


def seconds(low: float, high: float) -> Kind[float]:
    """A duration."""

    def read(value: object) -> float:
        try:
            number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else low - 1
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ValueError(f"{value!r} is not a number of seconds from {low:g} to {high:g}")
        return number

    return Kind("SECONDS", read)


def duration() -> Kind[float]:
    """Seconds, more than none: a number, or one with a unit such as 90s, 12h or 30d."""

    def read(value: object) -> float:
        found = _DURATION.fullmatch(str(value).strip().lower()) if isinstance(value, str | int | float) else None
        number = float(found[1]) * _SECONDS[found[2]] if found and len(found[1]) < 20 else 0.0
        if number <= 0 or isinstance(value, bool):
            raise ValueError(f"{value!r} is not a duration, such as 3600, 90s, 45m, 12h or 30d")
        return number

    return Kind("DURATION", read)


def file() -> Kind[Path]:
    """A file; whether it is there is seen when it is read."""

    def read(value: object) -> Path:
        return value if isinstance(value, Path) else Path(_text(value)).expanduser()

    return Kind("PATH", read)


def store() -> Kind[str]:
    """Where sessions are kept: memory:, sqlite:PATH or a URL of Valkey or Redis."""

    def read(value: object) -> str:
        written = _text(value)
        scheme, colon, rest = written.partition(":")
        if written == "memory:" or (scheme == "sqlite" and rest):
            return written
        if not colon or scheme not in SHARED_STORES:
            raise ValueError(f"{_without_password(written)!r} is no store; accepted: {_STORES}")
        if _VALKEY_URL.fullmatch(rest) is None:
            raise ValueError(f"{_without_password(written)!r} is not {scheme}://[USER:PASSWORD@]HOST[:PORT][/DB]")
        return written

    return Kind("STORE", read)


def _without_password(url: str) -> str:
    return re.sub(r"//.*@", "//...@", url)


def size() -> Kind[int]:
    """Bytes, at least one: a number, or one with a unit such as 256MiB or 1.5GB."""

    def read(value: object) -> int:
        found = _SIZE.fullmatch(str(value).strip().lower()) if isinstance(value, str | int) else None
        factor = _UNITS.get(found[2]) if found else None
        number = int(float(found[1]) * factor) if found and factor and len(found[1]) < 20 else 0
        if number < 1 or isinstance(value, bool):
            raise ValueError(f"{value!r} is not a number of bytes of at least 1, such as 65536 or 256MiB")
        return number

    return Kind("BYTES", read)


def switch() -> Kind[bool]:
    """On or off."""

    def read(value: object) -> bool:
        switched = value if isinstance(value, bool) else _SWITCHED.get(str(value).lower())
        if switched is None:
            raise ValueError(f"{value!r} is neither true nor false")
        return switched

    return Kind("", read)


def folders() -> Kind[tuple[Path, ...]]:
    """One folder or several, separated by commas, or a list of them; whether they are there is seen when opened."""

    def read(value: object) -> tuple[Path, ...]:
        found = (value,) if isinstance(value, Path) else tuple(Path(part) for part in _parts(value))
        if not found:
            raise ValueError(f"{value!r} names no folder")
        return found

    return Kind("PATH", read, several=True)


def origins() -> Kind[tuple[str, ...]]:
    """Web origins, separated by commas, or a list of them."""

    def read(value: object) -> tuple[str, ...]:
        return tuple(_origin(part) for part in _parts(value))

    return Kind("ORIGINS", read, several=True)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a text")
    return value


def _parts(value: object) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{value!r} is not a text with commas")
    return [part.strip() for part in parts if part.strip()]


def _origin(part: str) -> str:
    origin = part.rstrip("/")
    scheme, separator, rest = origin.partition("://")
    if scheme not in ("http", "https") or not separator or not rest or "/" in rest or "*" in rest:
        raise ValueError(f"{origin!r} is not an origin; write scheme and host, such as https://editor.example")
    return origin
