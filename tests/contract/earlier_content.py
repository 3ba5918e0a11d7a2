"""What the committed files of earlier versions of a store hold; each was written by the program of its version.

`tests/contract/earlier_files/version-N.sqlite` was made by calling `fill` with version N of the SQLite store.
"""

from __future__ import annotations

from collections.abc import Callable

from service.sessions.commands import SessionId, Tenant
from service.sessions.records import Checkpoint, EditRecord, Fence, KnownEdit, SessionKey, Splice

TYPED = SessionKey(Tenant("default"), SessionId("typed"))
FRESH = SessionKey(Tenant("default"), SessionId("fresh"))
OTHERS = SessionKey(Tenant("münchen"), SessionId("typed"))
KEYS = (TYPED, FRESH, OTHERS)


def typed(revision: int) -> EditRecord:
    """The record of the `revision`th edit of TYPED."""
    return EditRecord(
        KnownEdit(f"edit-{revision}", bytes([revision]) * 16, revision, revision - 1, revision - 1),
        (Splice(revision - 2, "", "xé😀\x00"[revision % 4], revision - 2, revision - 1),),
    )


def typed_checkpoint() -> Checkpoint:
    """TYPED at revision 5, which could not undo its first edits any more."""
    records = tuple(typed(revision) for revision in range(2, 6))
    text = "".join(record.splices[0].inserted for record in records)
    known = tuple(record.known for record in records[1:])
    return Checkpoint(2**63 - 1, 5, "python", b"\x00made", text, 4, known, records[2:])


def fill(
    create: Callable[[SessionKey, Checkpoint], object],
    append: Callable[[SessionKey, Fence, EditRecord, Checkpoint | None], object],
) -> None:
    """Write everything, with the `create` and `append` of a store."""
    create(TYPED, Checkpoint(2**63 - 1, 1, "python", b"\x00made", "", 0))
    for revision in range(2, 8):
        checkpoint = typed_checkpoint() if revision == 5 else None
        append(TYPED, Fence(2**63 - 1, revision - 1), typed(revision), checkpoint)
    create(FRESH, Checkpoint(1, 1, "python", b"", "import os\n", 10))
    create(OTHERS, Checkpoint(7, 1, "prose", b"\xff" * 16, "Grüß Gott", 9))
