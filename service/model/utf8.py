"""A finite automaton for UTF-8 (RFC 3629, section 4), one byte at a time, so that text is cut only between code points.

A state says what the bytes so far still ask for. `TRANSITIONS[state][byte]` is the next state, or REJECT.
"""

from __future__ import annotations

import enum
from typing import Final


class Utf8(enum.IntEnum):
    """The automaton's states; COMPLETE is where a text may end."""

    COMPLETE = 0
    ONE_MORE = 1
    TWO_MORE = 2
    THREE_MORE = 3
    AFTER_E0 = 4  # no overlong forms: A0..BF
    AFTER_ED = 5  # no surrogates: 80..9F
    AFTER_F0 = 6  # no overlong forms: 90..BF
    AFTER_F4 = 7  # nothing above U+10FFFF: 80..8F
    REJECT = 8


# By state: the least and the greatest byte that go on, and where they lead.
_WITHIN: Final = {
    Utf8.ONE_MORE: (0x80, 0xBF, Utf8.COMPLETE),
    Utf8.TWO_MORE: (0x80, 0xBF, Utf8.ONE_MORE),
    Utf8.THREE_MORE: (0x80, 0xBF, Utf8.TWO_MORE),
    Utf8.AFTER_E0: (0xA0, 0xBF, Utf8.ONE_MORE),
    Utf8.AFTER_ED: (0x80, 0x9F, Utf8.ONE_MORE),
    Utf8.AFTER_F0: (0x90, 0xBF, Utf8.TWO_MORE),
    Utf8.AFTER_F4: (0x80, 0x8F, Utf8.TWO_MORE),
    Utf8.REJECT: (1, 0, Utf8.REJECT),
}


def _next(state: Utf8, byte: int) -> Utf8:
    if state is Utf8.COMPLETE:
        return _first(byte)
    low, high, following = _WITHIN[state]
    return following if low <= byte <= high else Utf8.REJECT


def _first(byte: int) -> Utf8:
    if byte < 0x80:
        return Utf8.COMPLETE
    if 0xC2 <= byte <= 0xDF:
        return Utf8.ONE_MORE
    if byte in (0xE0, 0xED, 0xF0, 0xF4):
        return {0xE0: Utf8.AFTER_E0, 0xED: Utf8.AFTER_ED, 0xF0: Utf8.AFTER_F0, 0xF4: Utf8.AFTER_F4}[byte]
    if 0xE1 <= byte <= 0xEF:
        return Utf8.TWO_MORE
    if 0xF1 <= byte <= 0xF3:
        return Utf8.THREE_MORE
    return Utf8.REJECT


TRANSITIONS: Final = tuple(tuple(_next(state, byte) for byte in range(256)) for state in Utf8)
