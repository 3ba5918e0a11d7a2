"""What a store keeps of a session as one piece of bytes, for as long as nobody asks for it; of this process alone.

Python's `marshal` writes it: a microsecond for an edit, where objects of Python would take ten times the memory. Its
form may change with the interpreter, which is why nothing of it may leave the process.
"""

from __future__ import annotations

import marshal
from typing import Any

from service.sessions.records import Checkpoint, EditRecord, KnownEdit, Splice, StoredSession, known_in_history

_Plain = tuple[tuple[Any, ...], list[tuple[Any, ...]]]
"""An EditRecord as `marshal` takes it, which knows tuples but not their named kind."""


def pack(stored: StoredSession, beside: tuple[int, int]) -> bytes:
    """`stored` and the two numbers in a tenth of their memory, the text apart, which is held once in either form."""
    checkpoint = stored.checkpoint
    # Most known edits are those of the last records of the history; only what came before them is written by itself.
    shared = known_in_history(checkpoint)
    fields = (
        checkpoint.incarnation,
        checkpoint.revision,
        checkpoint.model,
        checkpoint.creation,
        checkpoint.text,
        checkpoint.cursor,
        [tuple(known) for known in checkpoint.known_edits[: len(checkpoint.known_edits) - shared]],
        shared,
        _plain(checkpoint.history),
        checkpoint.store_text,
    )
    return marshal.dumps((fields, _plain(stored.records), beside))


def unpack(packed: bytes) -> tuple[StoredSession, tuple[int, int]]:
    """What was packed, equal in all."""
    fields, records, beside = marshal.loads(packed)
    incarnation, revision, model, creation, text, cursor, earlier, shared, plain, store_text = fields
    history = _records(plain)
    known = (*map(KnownEdit._make, earlier), *(record.known for record in history[len(history) - shared :]))
    checkpoint = Checkpoint(incarnation, revision, model, creation, text, cursor, known, history, store_text)
    return StoredSession(checkpoint, _records(records)), beside


def _plain(records: tuple[EditRecord, ...]) -> list[_Plain]:
    return [(tuple(record.known), [tuple(splice) for splice in record.splices]) for record in records]


def _records(plain: list[_Plain]) -> tuple[EditRecord, ...]:
    return tuple(EditRecord(KnownEdit._make(known), tuple(map(Splice._make, splices))) for known, splices in plain)
