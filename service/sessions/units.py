"""Offsets in code points, UTF-16 code units or bytes of UTF-8, turned into code points and back.

Python's strings count code points. A text in which a unit and a code point are the same (always so for ASCII) costs
nothing to convert; otherwise the piece of text in question is encoded once.
"""

from __future__ import annotations

from typing import NamedTuple, assert_never

from service.errors import InvalidArgument
from service.sessions.commands import Units


class Extent(NamedTuple):
    """The length of a text in all three units."""

    codepoints: int = 0
    utf16: int = 0
    utf8: int = 0

    def plus(self, other: Extent) -> Extent:
        """The length of both together."""
        return Extent(self.codepoints + other.codepoints, self.utf16 + other.utf16, self.utf8 + other.utf8)

    def less(self, other: Extent) -> Extent:
        """The length without `other`, a part of it."""
        return Extent(self.codepoints - other.codepoints, self.utf16 - other.utf16, self.utf8 - other.utf8)

    def count_in(self, units: Units) -> int:
        """The length in the caller's units."""
        match units:
            case Units.CODEPOINT:
                return self.codepoints
            case Units.UTF16:
                return self.utf16
            case Units.UTF8:
                return self.utf8
        assert_never(units)


def measure(text: str) -> Extent:
    """The extent of `text`, which holds no surrogates."""
    length = len(text)
    if text.isascii():  # known to the string object: no scan
        return Extent(length, length, length)
    return Extent(length, len(text.encode("utf-16-le")) // 2, len(text.encode()))


def check_text(text: str, field: str) -> int:
    """The bytes of UTF-8 that `text` takes. Raises InvalidArgument if it holds a surrogate, which UTF-8 cannot say."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            field,
            f"lone surrogate U+{ord(text[error.start]):04X} at code point {error.start}: "
            "text must be valid Unicode; send a surrogate pair whole",
        ) from None


def prefix_length(text: str, extent: Extent, offset: int, units: Units, field: str) -> int:
    """How many code points of `text` (of size `extent`) lie before `offset` units.

    Raises InvalidArgument if the offset lies outside of the text or inside a character.
    """
    length = extent.count_in(units)
    if not 0 <= offset <= length:
        raise InvalidArgument(field, f"{offset} is outside of 0..{length}, the text's length in {units} units")
    if units is Units.CODEPOINT or length == extent.codepoints:
        return offset
    if units is Units.UTF8:
        utf8 = text.encode()
        if offset < length and utf8[offset] & 0xC0 == 0x80:
            raise _inside(offset, units, field)
        return len(utf8[:offset].decode())
    utf16 = text.encode("utf-16-le")
    if offset < length and utf16[2 * offset + 1] & 0xFC == 0xDC:
        raise _inside(offset, units, field)
    return len(utf16[: 2 * offset].decode("utf-16-le"))


def suffix_length(text: str, extent: Extent, count: int, units: Units, field: str) -> int:
    """How many code points make the last `count` units of `text`. Looks at no more than that many code points.

    Raises InvalidArgument if the text is shorter or the count ends inside a character.
    """
    length = extent.count_in(units)
    if count < 0:
        raise InvalidArgument(field, f"{count} is negative: count the {units} units to remove")
    if count > length:
        raise InvalidArgument(field, f"{count} is beyond the start: {length} {units} units lie left of the cursor")
    if units is Units.CODEPOINT or length == extent.codepoints or count == 0:
        return count
    tail = text[-count:]
    tail_extent = measure(tail)
    return len(tail) - prefix_length(tail, tail_extent, tail_extent.count_in(units) - count, units, field)


def _inside(offset: int, units: Units, field: str) -> InvalidArgument:
    what = "a UTF-8 sequence" if units is Units.UTF8 else "a surrogate pair"
    return InvalidArgument(field, f"offset {offset} lies inside {what}: move it to a character's edge")
