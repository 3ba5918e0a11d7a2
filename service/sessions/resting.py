"""What this process keeps of a session that nobody asks for just now; all else of it is in the store."""

from __future__ import annotations

import marshal
from typing import NamedTuple

from service.engine.requests import PathId
from service.sessions.records import Fence


class Resting(NamedTuple):
    """A session at rest: its place in the engine, and what may be accepted.

    fence: of the last commit; if the store has another, somebody else has written.  kept: how many code points left of
    the cursor the engine knows.  offered: the suggestions, the oldest first.  saved: how many of them a snapshot is of.
    """

    path: PathId
    model: str
    fence: Fence
    kept: int
    offered: tuple[str, ...]
    saved: int = 0


def pack(resting: Resting) -> bytes:
    """`resting` in a third of its memory; see `stores.packed` for the form."""
    return marshal.dumps((resting.path, resting.model, *resting.fence, resting.kept, resting.offered, resting.saved))


def unpack(packed: bytes) -> Resting:
    """What was packed."""
    path, model, incarnation, revision, kept, offered, saved = marshal.loads(packed)
    return Resting(path, model, Fence(incarnation, revision), kept, offered, saved)
