"""A text and its cursor as a value, and the one change there is: a splice."""

from __future__ import annotations

from typing import NamedTuple

from service.sessions.records import Splice
from service.sessions.units import Extent, measure

_NOTHING = Extent()


class Text(NamedTuple):
    """A text, cut at its cursor. The extents are kept so that no edit measures more than what it touches."""

    left: str = ""
    right: str = ""
    left_extent: Extent = _NOTHING
    right_extent: Extent = _NOTHING

    @classmethod
    def of(cls, content: str, cursor: int | None = None) -> Text:
        """`content` with the cursor before its code point `cursor`; at the end if None."""
        cut = len(content) if cursor is None else cursor
        left, right = content[:cut], content[cut:]
        return cls(left, right, measure(left), measure(right))

    @property
    def content(self) -> str:
        """The whole text."""
        return self.left + self.right if self.right else self.left

    @property
    def cursor(self) -> int:
        """The cursor's offset in code points."""
        return len(self.left)

    @property
    def extent(self) -> Extent:
        """The length of the whole text."""
        return self.left_extent.plus(self.right_extent) if self.right else self.left_extent

    def slice(self, start: int, end: int) -> str:
        """The code points [start, end)."""
        cursor = len(self.left)
        if end <= cursor:
            return self.left[start:end]
        if start >= cursor:
            return self.right[start - cursor : end - cursor]
        return self.left[start:] + self.right[: end - cursor]

    def after(self, splice: Splice) -> Text:
        """The text after `splice`, whose offsets lie inside of this text."""
        landed = self._replaced(splice.start, splice.removed, splice.inserted)
        if splice.cursor_after == len(landed.left):
            return landed
        return landed._replaced(splice.cursor_after, "", "")

    def _replaced(self, start: int, removed: str, inserted: str) -> Text:
        """With `inserted` in place of `removed` at `start`, and the cursor after it."""
        cursor, end = len(self.left), start + len(removed)
        if start == cursor and not removed:
            if not inserted:
                return self
            return Text(self.left + inserted, self.right, self.left_extent.plus(measure(inserted)), self.right_extent)
        if start <= cursor:
            kept_left = self.left[:start]
            kept_left_extent = self.left_extent.less(measure(self.left[start:]))
        else:
            passed = self.right[: start - cursor]
            kept_left = self.left + passed
            kept_left_extent = self.left_extent.plus(measure(passed))
        kept_right = self.right[end - cursor :] if end >= cursor else self.left[end:] + self.right
        kept_right_extent = self.extent.less(kept_left_extent).less(measure(removed))
        if not inserted:
            return Text(kept_left, kept_right, kept_left_extent, kept_right_extent)
        return Text(kept_left + inserted, kept_right, kept_left_extent.plus(measure(inserted)), kept_right_extent)


def kept_left(splice: Splice) -> int:
    """How many code points left of both cursors the splice has not touched."""
    if not splice.removed and not splice.inserted:
        return min(splice.cursor_before, splice.cursor_after)
    return min(splice.start, splice.cursor_before, splice.cursor_after)
