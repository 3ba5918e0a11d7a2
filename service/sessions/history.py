"""The way back: the splices of the last revisions, bounded, and the one splice that undoes many."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from service.sessions.records import EditRecord, Splice
from service.sessions.text import Text

_RECORD_BYTES = 400
"""Memory of a record with one splice, its two texts apart; a test holds it against tracemalloc."""

_size_of = sys.getsizeof


class History:
    """The newest records of a session, bounded by their number and by the memory that they take."""

    __slots__ = ("_bytes", "_max_bytes", "_max_records", "_records")

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._records: list[EditRecord] = []  # an empty deque would take 600 bytes more
        self._bytes = 0

    def __iter__(self) -> Iterator[EditRecord]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def append(self, record: EditRecord) -> int:
        """Keep `record`, and forget the oldest while there are too many or they are too large. It is always kept.

        Returns how many bytes of memory it takes.
        """
        records = self._records
        records.append(record)
        taken = memory_of(record)
        self._bytes += taken
        while len(records) > 1 and (len(records) > self._max_records or self._bytes > self._max_bytes):
            self._bytes -= memory_of(records.pop(0))
        return taken

    def reaches(self, current: int) -> int:
        """The oldest revision that can be restored from revision `current`."""
        return self._records[0].revision - 1 if self._records else current

    def back_to(self, revision: int) -> Iterator[Splice]:
        """The splices that were made after `revision`, newest first."""
        for record in reversed(self._records):
            if record.revision <= revision:
                return
            yield from reversed(record.splices)


def undo(text: Text, splices: Iterable[Splice]) -> Splice:
    """The one splice that takes all of `splices` (newest first; the newest made `text`) back.

    Walks back over a window that holds only what was touched, so it costs what was typed, not what the text is long.
    """
    start = end = 0  # the window's bounds in `text`; left of it nothing has changed
    window: str | None = None  # the window's content, as far back as we have walked
    cursor = text.cursor
    for splice in splices:
        cursor = splice.cursor_before
        if not splice.removed and not splice.inserted:
            continue
        first, last = splice.start, splice.start + len(splice.inserted)
        if window is None:
            start, end = first, last
            window = splice.removed
            continue
        if first < start:
            window = text.slice(first, start) + window
            start = first
        beyond = last - (start + len(window))
        if beyond > 0:
            window += text.slice(end, end + beyond)
            end += beyond
        window = window[: first - start] + splice.removed + window[last - start :]
    if window is None:
        return Splice(cursor, "", "", text.cursor, cursor)
    return Splice(start, text.slice(start, end), window, text.cursor, cursor)


def memory_of(record: EditRecord) -> int:
    """About how many bytes of memory `record` takes."""
    taken = 0
    for splice in record.splices:
        taken += _RECORD_BYTES + _size_of(splice.removed) + _size_of(splice.inserted)
    return taken
