"""Which end of a long text is read, chosen so that it stays the same while the text grows.

An editor sends some hundred lines before the cursor. Their first line changes with every new one, and a text that
begins otherwise is another text: all of it would be read again. So reading begins at a line inside of a window, found
by what stands there and not by where it is (content-defined chunking, as in LBFS, Muthitacharoen et al. 2001).
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

LEAST_BYTES: Final = 4096  # read of a longer text; what a recurrent state tells of older bytes is next to nothing
MOST_BYTES: Final = 8192

_COMPARED_BYTES: Final = 64  # of what stands at a place; lines alone repeat


def readable_end(text: str, least_bytes: int = LEAST_BYTES, most_bytes: int = MOST_BYTES) -> str:
    """The text, or its last `least_bytes` to `most_bytes` bytes of UTF-8.

    The end of a text that has grown by less than `most_bytes` - `least_bytes` begins, but rarely, at the same place.
    """
    data = text.encode()
    if len(data) <= most_bytes:
        return text
    first, last = len(data) - most_bytes, len(data) - least_bytes
    places = [at + 1 for at in _all_of(b"\n", data, first, last)] or [
        at for at in range(first, last + 1) if data[at] & 0xC0 != 0x80
    ]
    return data[min(places, key=lambda at: crc32(data[at : at + _COMPARED_BYTES])) :].decode()


def _all_of(byte: bytes, data: bytes, first: int, last: int) -> list[int]:
    found = []
    at = data.find(byte, first, last)
    while at >= 0:
        found.append(at)
        at = data.find(byte, at + 1, last)
    return found
