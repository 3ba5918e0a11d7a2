"""What a store keeps of a session: a checkpoint, and the edits since; frozen values from which a session is rebuilt.

Those that every keystroke makes are named tuples: a third of what a frozen dataclass costs to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from service.sessions.commands import SessionId, Tenant


class SessionKey(NamedTuple):
    """Names a session: an id means something only together with its tenant."""

    tenant: Tenant
    id: SessionId


class Fence(NamedTuple):
    """What a writer believes to be the newest; a store refuses the write if it is not.

    `incarnation` tells a session from an earlier one of the same id that was deleted.
    """

    incarnation: int
    revision: int


class Splice(NamedTuple):
    """One change of the text: at `start`, `removed` gives way to `inserted`; offsets in code points.

    Moving the cursor is a splice that removes and inserts nothing.
    """

    start: int
    removed: str
    inserted: str
    cursor_before: int
    cursor_after: int


class KnownEdit(NamedTuple):
    """What answers a repeated request: `length` and `cursor` in the units of that request."""

    edit_id: str
    digest: bytes
    revision: int
    length: int
    cursor: int


class EditRecord(NamedTuple):
    """A committed request with edits: it made `known.revision` from the revision before."""

    known: KnownEdit
    splices: tuple[Splice, ...]

    @property
    def revision(self) -> int:
        """The revision that it made."""
        return self.known.revision


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole session at `revision`: what a store needs no older records for.

    `creation` is the digest of what it was created from, for a repeated create. `known_edits` and `history` are
    oldest first; `history` ends with the record that made `revision` (empty for a session that was never edited).
    `store_text` false: it was asked that nothing of the session be written, and no store that writes is given it.
    """

    incarnation: int
    revision: int
    model: str
    creation: bytes
    text: str
    cursor: int
    known_edits: tuple[KnownEdit, ...] = ()
    history: tuple[EditRecord, ...] = ()
    store_text: bool = True


@dataclass(frozen=True, slots=True)
class StoredSession:
    """What a store gives back: the newest checkpoint and every record after it, oldest first."""

    checkpoint: Checkpoint
    records: tuple[EditRecord, ...] = ()

    @property
    def fence(self) -> Fence:
        """What the next write is to be based on."""
        newest = self.records[-1].revision if self.records else self.checkpoint.revision
        return Fence(self.checkpoint.incarnation, newest)


class StoredSummary(NamedTuple):
    """What a list tells of a session: `text_bytes` of UTF-8, `written_s` its last write as seconds since 1970."""

    id: SessionId
    revision: int
    model: str
    text_bytes: int
    written_s: int


class SessionPage(NamedTuple):
    """A part of a list; `after` is what the next part is asked for with, None if this is the last."""

    sessions: tuple[StoredSummary, ...]
    after: SessionId | None


class Swept(NamedTuple):
    """What a sweep has forgotten, and whether there is more to do now."""

    keys: tuple[SessionKey, ...]
    more: bool


def added_bytes(record: EditRecord) -> int:
    """By how many bytes of UTF-8 the record makes the text longer; negative if shorter."""
    return sum(utf8_size(splice.inserted) - utf8_size(splice.removed) for splice in record.splices)


def utf8_size(text: str) -> int:
    """The bytes of UTF-8 that `text` takes."""
    return len(text) if text.isascii() else len(text.encode())


def known_apart(checkpoint: Checkpoint) -> tuple[KnownEdit, ...]:
    """The known edits that are not those of the newest records of its history: what must be kept beside these."""
    return checkpoint.known_edits[: len(checkpoint.known_edits) - known_in_history(checkpoint)]


def known_in_history(checkpoint: Checkpoint) -> int:
    """How many of the newest known edits are those of the newest records of the history."""
    shared = 0
    for known, record in zip(reversed(checkpoint.known_edits), reversed(checkpoint.history), strict=False):
        if known != record.known:
            break
        shared += 1
    return shared
