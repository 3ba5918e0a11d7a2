"""Where a suggestion ends: pure functions of the bytes so far and the byte that would come next.

A word and a line end before a byte, which is seen before it is fed. A block and what a stop string cuts off are known
only some bytes later: then the suggestion is cut back.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Final, assert_never

from service.engine.requests import Stop, SuggestSpec

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


@dataclass(frozen=True, slots=True)
class Cut:
    """Where suggestions after one text are cut back; `line` is the cursor's line up to it, if blocks end them."""

    stop_strings: tuple[bytes, ...] = ()
    line: bytes | None = None

    @staticmethod
    def of(spec: SuggestSpec, text: bytes) -> Cut | None:
        """What this asks for after `text`; None if nothing is ever cut back."""
        in_block = spec.stop is Stop.BLOCK
        if not (in_block or spec.stop_strings):
            return None
        return Cut(spec.stop_strings, text[text.rfind(b"\n") + 1 :] if in_block else None)

    def at(self, suggestion: bytes, new: int) -> int | None:
        """The length to which a suggestion is cut, if it has ended; all but its last `new` bytes were looked at before.

        It ends where the first stop string is whole, or where the first line outside of the block has begun.
        """
        ends = []  # (how many bytes it took to know, how many are left)
        for stop in self.stop_strings:
            found = suggestion.find(stop, max(len(suggestion) - new - len(stop) + 1, 0))
            if found >= 0:
                ends.append((found + len(stop), found))
        if self.line is not None:
            block = _block_end(self.line, suggestion)
            if block is not None:
                ends.append(block)
        return min(ends)[1] if ends else None


def _indentation(line: bytes) -> int:
    return len(line) - len(line.lstrip(b" \t"))


def _block_end(line_so_far: bytes, suggestion: bytes) -> tuple[int, int] | None:
    """How many bytes it took to see that the block was left, and the length of what is in it; None if it was not left.

    The block is as deep as the first line after the cursor's, if that is deeper, else as deep as the cursor's own.
    Blank lines belong to no line's depth, and none is left at the end.
    """
    depth: int | None = None
    first, *lines = suggestion.split(b"\n")
    own = _indentation(line_so_far + first)
    inside = at = len(first)
    for line in lines:
        indentation = _indentation(line)
        begun = at + 1 + indentation
        at += 1 + len(line)
        if begun == at or suggestion[begun : begun + 1] == b"\r":
            continue  # blank, or not begun yet
        depth = max(indentation, own) if depth is None else depth
        if indentation < depth:
            return begun + 1, inside
        inside = at
    return None
