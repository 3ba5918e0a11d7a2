"""What the server holds of a session, computed here from what it acknowledged: enough to create the session again.

A session that its server has forgotten (its store did not outlive a restart) can be made anew from this text. Pure: no
I/O. Follows the server's rules for edits, but judges nothing: only what the server has accepted is applied.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from carousel_client.answers import Suggestion
from carousel_client.edits import Accept, Delete, Edit, Insert, MoveCursor, Replace, UndoTo, Units

_HISTORY = 1000  # revisions, as many as a server keeps


class CannotFollow(Exception):
    """An edit refers to what this client never saw: a revision before its time, another client's suggestion."""


@dataclass(frozen=True, slots=True)
class _Splice:
    """At code point `start`, `removed` became `inserted`."""

    start: int
    removed: str
    inserted: str


@dataclass(frozen=True, slots=True)
class _Done:
    """The way back to the revision before."""

    cursor: int
    splices: tuple[_Splice, ...]


class TextMirror:
    """A text with its cursor at a revision, and the way back. Offsets inside are code points; edits are in `units`."""

    def __init__(self, text: str, cursor: int, revision: int, units: Units) -> None:
        """`cursor` is in `units`. Raises CannotFollow if it is not between two characters of the text."""
        self._units = units
        self.text, self.revision = text, revision
        self._cursor = _index(text, cursor, units)
        self._history: deque[_Done] = deque(maxlen=_HISTORY)
        self._offered: dict[str, str] = {}

    @property
    def cursor(self) -> int:
        """The cursor's offset, in the session's units."""
        return measure(self.text[: self._cursor], self._units)

    @property
    def at_end(self) -> bool:
        """Whether the cursor is where a new session has it."""
        return self._cursor == len(self.text)

    def copy(self) -> TextMirror:
        """Another one that can be changed by itself."""
        copy = TextMirror(self.text, 0, self.revision, self._units)
        copy._cursor = self._cursor
        copy._history = self._history.copy()
        copy._offered = dict(self._offered)
        return copy

    def offer(self, revision: int, suggestions: Iterable[Suggestion]) -> None:
        """What may be accepted at `revision`; of no use if that is not the revision here."""
        if revision == self.revision:
            self._offered.update((one.id, one.text) for one in suggestions)

    def apply(self, edits: Sequence[Edit]) -> list[Edit]:
        """Make the next revision. The same edits again, in terms of nothing but the text: inserts, replaces, cursors.

        Raises CannotFollow; nothing has changed then.
        """
        text, cursor = self.text, self._cursor
        splices: list[_Splice] = []
        plain: list[Edit] = []
        for edit in edits:
            splice, cursor, same = self._splice(edit, text, cursor)
            plain += same
            if splice is not None:
                splices.append(splice)
                end = splice.start + len(splice.removed)
                text = text[: splice.start] + splice.inserted + text[end:]
        if edits:
            self._history.append(_Done(self._cursor, tuple(splices)))
            self.text, self._cursor = text, cursor
            self.revision += 1
            self._offered = {}
        return plain

    def restart(self, revision: int) -> None:
        """The text is that of a new session, which has no past, at `revision`."""
        self.revision = revision
        self._history.clear()
        self._offered = {}

    def _splice(self, edit: Edit, text: str, cursor: int) -> tuple[_Splice | None, int, list[Edit]]:
        """What an edit does to this text, where the cursor is then, and the edit in terms of the text alone."""
        match edit:
            case Insert(inserted):
                return _Splice(cursor, "", inserted), cursor + len(inserted), [edit]
            case Delete(count):
                start = _index_before(text[:cursor], count, self._units)
                return _Splice(start, text[start:cursor], ""), start, [edit]
            case Replace(start_units, end_units, inserted):
                start, end = _index(text, start_units, self._units), _index(text, end_units, self._units)
                return _Splice(start, text[start:end], inserted), start + len(inserted), [edit]
            case MoveCursor(position):
                return None, _index(text, position, self._units), [edit]
            case Accept(suggestion, length):
                inserted = self._accepted(suggestion, length)
                return _Splice(cursor, "", inserted), cursor + len(inserted), [Insert(inserted)]
            case UndoTo(revision):
                return self._undo(revision, text)
            case _:
                assert_never(edit)

    def _accepted(self, suggestion: str, length: int | None) -> str:
        if suggestion not in self._offered:
            raise CannotFollow(f"the suggestion {suggestion!r} was never seen")
        return first_units(self._offered[suggestion], length, self._units)

    def _undo(self, revision: int, text: str) -> tuple[_Splice, int, list[Edit]]:
        """From `text` to what stood at `revision`, however it came to be: one splice and the cursor of then."""
        back = self.revision - revision
        if not 0 <= back <= len(self._history):
            raise CannotFollow(f"revision {revision} was never seen")
        before, cursor = self.text, self._cursor
        for index in range(1, back + 1):
            done = self._history[-index]
            cursor = done.cursor
            for splice in reversed(done.splices):
                end = splice.start + len(splice.inserted)
                before = before[: splice.start] + splice.removed + before[end:]
        splice = _difference(text, before)
        start = measure(before[: splice.start], self._units)
        end = start + measure(splice.removed, self._units)
        there = measure(before[:cursor], self._units)
        return splice, cursor, [Replace(start, end, splice.inserted), MoveCursor(there)]


def measure(text: str, units: Units) -> int:
    """The length of a text in `units`."""
    if units is Units.CODEPOINT or text.isascii():
        return len(text)
    if units is Units.UTF8:
        return len(text.encode())
    return len(text.encode("utf-16-le")) // 2


def first_units(text: str, length: int | None, units: Units) -> str:
    """The first `length` units of a text, all of it if None. Raises CannotFollow if that is inside a character."""
    return text if length is None else text[: _index(text, length, units)]


def _index(text: str, offset: int, units: Units) -> int:
    """The code point at an offset in `units`. Raises CannotFollow outside of the text and inside of a character."""
    if units is Units.CODEPOINT or text.isascii():
        if offset > len(text):
            raise CannotFollow(f"offset {offset} is behind the end")
        return offset
    encoding, width = ("utf-8", 1) if units is Units.UTF8 else ("utf-16-le", 2)
    encoded = text.encode(encoding)
    if offset * width > len(encoded):
        raise CannotFollow(f"offset {offset} is behind the end")
    try:
        return len(encoded[: offset * width].decode(encoding))
    except UnicodeDecodeError:
        raise CannotFollow(f"offset {offset} is inside of a character") from None


def _index_before(left: str, count: int, units: Units) -> int:
    length = measure(left, units)
    if count > length:
        raise CannotFollow(f"there are no {count} to delete")
    return _index(left, length - count, units)


def _difference(text: str, wanted: str) -> _Splice:
    """The smallest splice at one place that makes `wanted` of `text`."""
    start = _common(text, wanted)
    rest, wanted_rest = text[start:], wanted[start:]
    end = _common(rest[::-1], wanted_rest[::-1])
    return _Splice(start, rest[: len(rest) - end], wanted_rest[: len(wanted_rest) - end])


def _common(one: str, other: str) -> int:
    """How many leading characters are the same: by halving, as comparing slices is faster than any loop."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
