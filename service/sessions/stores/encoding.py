"""The lasting form of what a store keeps: JSON, the same in every durable store. Never changed, only added to.

A record is a list of its edit id, digest (hexadecimal), revision, length, cursor and splices, a splice a list of its
five fields. Written on every keystroke, so there are no field names; read by other versions, so there is no pickle.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from service.sessions.records import EditRecord, KnownEdit, Splice

_write = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class DamagedRecord(ValueError):
    """What a store holds is not what was written."""


def encode_record(record: EditRecord) -> str:
    """One line of JSON."""
    edit_id, digest, revision, length, cursor = record.known
    return _write((edit_id, digest.hex(), revision, length, cursor, record.splices))


def decode_record(written: str) -> EditRecord:
    """What was encoded. Raises DamagedRecord."""
    try:
        edit_id, digest, revision, length, cursor, splices = json.loads(written)
        known = KnownEdit(edit_id, bytes.fromhex(digest), revision, length, cursor)
        return EditRecord(known, tuple(map(Splice._make, splices)))
    except (ValueError, TypeError) as error:
        raise DamagedRecord(f"no record of an edit: {error}") from error


def encode_known(known_edits: Iterable[KnownEdit]) -> str:
    """The known edits that no kept record holds."""
    return _write([(known.edit_id, known.digest.hex(), *known[2:]) for known in known_edits])


def decode_known(written: str) -> tuple[KnownEdit, ...]:
    """What was encoded. Raises DamagedRecord."""
    try:
        return tuple(KnownEdit(edit_id, bytes.fromhex(digest), *rest) for edit_id, digest, *rest in json.loads(written))
    except (ValueError, TypeError) as error:
        raise DamagedRecord(f"no list of known edits: {error}") from error
