"""Where a suggestion ends: pure functions of the bytes so far and the byte that would come next."""

from __future__ import annotations

import string
from typing import Final, assert_never

from service.engine.requests import Stop

_NEWLINE: Final = 0x0A
_WORD: Final = frozenset(string.ascii_letters.encode() + string.digits.encode() + b"_" + bytes(range(0x80, 0xFF)))
_BLANK: Final = frozenset(b" \t\r\n\x0b\x0c")


def has_content(stop: Stop, token: int) -> bool:
    """Whether this byte makes a suggestion worth ending: a word's byte, or for a line anything but white space.

    What comes before it (the blank before a word, the line break and indentation before a line) belongs to the
    suggestion and does not end it.
    """
    match stop:
        case Stop.WORD:
            return token in _WORD
        case Stop.LINE:
            return token not in _BLANK
        case Stop.BLOCK | Stop.NONE:
            return True
        case _:
            assert_never(stop)


def ends_before(stop: Stop, token: int) -> bool:
    """Whether a suggestion that has content ends before this byte."""
    match stop:
        case Stop.WORD:
            return token not in _WORD
        case Stop.LINE:
            return token == _NEWLINE
        case Stop.BLOCK | Stop.NONE:
            return False
        case _:
            assert_never(stop)
