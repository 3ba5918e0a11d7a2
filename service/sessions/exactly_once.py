"""What makes a retry safe: digests of requests, and the last edit ids with what they were answered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import assert_never

from service.errors import RevisionConflict
from service.sessions.commands import (
    Accept,
    Delete,
    Edit,
    EditSession,
    ForkSession,
    Insert,
    MoveCursor,
    Replace,
    SetText,
    UndoTo,
)
from service.sessions.records import KnownEdit


class KnownEdits:
    """The last `capacity` committed edit ids of a session, oldest first."""

    __slots__ = ("_by_id", "_capacity")

    def __init__(self, capacity: int, known: Iterable[KnownEdit] = ()) -> None:
        self._capacity = capacity
        self._by_id: dict[str, KnownEdit] = {}
        for edit in known:
            self.add(edit)

    def __iter__(self) -> Iterator[KnownEdit]:
        return iter(self._by_id.values())

    def add(self, edit: KnownEdit) -> None:
        """Keep a new id; the oldest is forgotten."""
        if len(self._by_id) >= self._capacity:
            del self._by_id[next(iter(self._by_id))]
        self._by_id[edit.edit_id] = edit

    def recall(self, edit_id: str, digest: bytes, current: int) -> KnownEdit | None:
        """What `edit_id` was answered; None if it is new.

        Raises RevisionConflict with the `current` revision if the id was used for something else.
        """
        known = self._by_id.get(edit_id)
        if known is not None and known.digest != digest:
            raise RevisionConflict(
                f"edit id {edit_id!r} was used for another request, which made revision {known.revision}; "
                f"the session is at revision {current}: give every edit an id of its own",
                current,
            )
        return known


def edit_digest(command: EditSession | SetText) -> bytes:
    """16 bytes that tell this request's base revision, units and edits from any other's. Stores keep it: never change.

    Suggestions are not part of it: to ask for others in a retry is to ask about the same edit.
    """
    if isinstance(command, SetText):
        cursor = "" if command.cursor is None else command.cursor
        return _digest(f"{command.revision};{command.units.value};t{cursor},{len(command.text)}:{command.text}")
    parts = [f"{command.revision};{command.units.value}"]
    parts.extend(map(_canonical, command.edits))
    return _digest(";".join(parts))


def creation_digest(model: str, text: str, *, store_text: bool = True) -> bytes:
    """16 bytes that tell what a session was created from. Stores keep it: never change."""
    return _digest(f"{'' if store_text else '-'}{len(model)}:{model};{text}")


def fork_digest(command: ForkSession) -> bytes:
    """16 bytes that tell what a session was forked from. Stores keep it: never change."""
    revision = "" if command.revision is None else command.revision
    return _digest(f"fork {revision};{command.session}")


def _canonical(edit: Edit) -> str:
    # Lengths stand before texts, so that no two lists of edits are written alike.
    match edit:
        case Insert(text):
            return f"i{len(text)}:{text}"
        case Delete(count):
            return f"d{count}"
        case Replace(start, end, text):
            return f"r{start},{end},{len(text)}:{text}"
        case MoveCursor(position):
            return f"c{position}"
        case UndoTo(revision):
            return f"u{revision}"
        case Accept(suggestion, length):
            return f"a{'' if length is None else length},{len(suggestion)}:{suggestion}"
    assert_never(edit)


def _digest(canonical: str) -> bytes:
    # A suggestion's id may hold surrogates; such a request is refused later, but must not fail here.
    return blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=16).digest()
