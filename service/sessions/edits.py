"""One edit, as the caller wrote it, becomes a splice of a text; pure."""

from __future__ import annotations

from typing import assert_never

from service.errors import InvalidArgument
from service.sessions.commands import Accept, Delete, Edit, Insert, MoveCursor, Replace, UndoTo, Units
from service.sessions.records import Splice
from service.sessions.text import Text
from service.sessions.units import prefix_length, suffix_length

PlainEdit = Insert | Delete | Replace | MoveCursor
"""The edits that need nothing but the text; undo also needs the history, accept the suggestions."""


def splice_of(edit: PlainEdit, text: Text, units: Units, path: str) -> Splice:
    """What `edit` does to `text`. `path` is where the edit stands in the request, such as `edits[1]`.

    Raises InvalidArgument that names the field if an offset lies outside of the text or inside a character.
    """
    cursor = text.cursor
    match edit:
        case Insert(inserted):
            return Splice(cursor, "", inserted, cursor, cursor + len(inserted))
        case Delete(count):
            length = suffix_length(text.left, text.left_extent, count, units, f"{path}.delete")
            start = cursor - length
            return Splice(start, text.left[start:], "", cursor, start)
        case Replace(start_units, end_units, inserted):
            start = offset_of(start_units, text, units, f"{path}.replace.start")
            end = offset_of(end_units, text, units, f"{path}.replace.end")
            if end < start:
                raise InvalidArgument(f"{path}.replace.end", f"{end_units} lies before start {start_units}: swap them")
            return Splice(start, text.slice(start, end), inserted, cursor, start + len(inserted))
        case MoveCursor(position):
            target = offset_of(position, text, units, f"{path}.cursor")
            return Splice(target, "", "", cursor, target)
    assert_never(edit)


def offset_of(offset: int, text: Text, units: Units, field: str) -> int:
    """An absolute offset in code points. Raises InvalidArgument if it is outside of the text or in a character."""
    length = text.extent.count_in(units)
    if not 0 <= offset <= length:
        raise InvalidArgument(field, f"{offset} is outside of 0..{length}, the text's length in {units} units")
    left = text.left_extent.count_in(units)
    if offset <= left:
        return prefix_length(text.left, text.left_extent, offset, units, field)
    return text.cursor + prefix_length(text.right, text.right_extent, offset - left, units, field)


def field_of(edit: Edit, path: str) -> str:
    """The field that holds what `edit` puts into the text, or else what it does."""
    match edit:
        case Insert():
            return f"{path}.insert"
        case Delete():
            return f"{path}.delete"
        case Replace():
            return f"{path}.replace.text"
        case MoveCursor():
            return f"{path}.cursor"
        case UndoTo():
            return f"{path}.undo_to"
        case Accept():
            return f"{path}.accept"
    assert_never(edit)
