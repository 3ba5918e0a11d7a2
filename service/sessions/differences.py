"""What differs between a session's text and the one that it is to be: one splice, found from both ends."""

from __future__ import annotations

from typing import AnyStr

from service.sessions.records import Splice
from service.sessions.text import Text


def difference(text: Text, wanted: str) -> Splice | None:
    """The smallest replacement that makes `wanted` of `text`, the cursor after it; None if they are equal."""
    content = text.content
    if content == wanted:
        return None
    start = common_prefix(content, wanted)
    end = _common_suffix(content[start:], wanted[start:])
    removed, inserted = content[start : len(content) - end], wanted[start : len(wanted) - end]
    return Splice(start, removed, inserted, text.cursor, start + len(inserted))


def common_prefix(one: AnyStr, other: AnyStr) -> int:
    """How many characters, or bytes, two texts begin with alike; by halves: whole pieces are compared much faster."""
    low, high = 0, min(len(one), len(other)) + 1  # the answer lies in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _common_suffix(one: str, other: str) -> int:
    low, high = 0, min(len(one), len(other)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if one[len(one) - middle : len(one) - low] == other[len(other) - middle : len(other) - low]:
            low = middle
        else:
            high = middle
    return low
