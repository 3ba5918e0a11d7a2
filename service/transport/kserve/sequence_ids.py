"""What a sequence is called in the domain: it is a session, and this is the session's id."""

from __future__ import annotations

import re
from hashlib import blake2b

from service.sessions.commands import SessionId

_READABLE = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)  # what a session may be called


def session_of(model: str, sequence: int | str) -> SessionId:
    """The session of a model's sequence: another one for each model, and for the number 42 and the string "42".

    Readable where it can be, so that whoever lists sessions knows it again. The length of the model's name stands
    before it, so that no two pairs of names are written alike.
    """
    kind = "i" if isinstance(sequence, int) else "s"
    readable = f"sequence.{len(model)}.{model}.{kind}.{sequence}"
    if _READABLE.fullmatch(readable):
        return SessionId(readable)
    digest = blake2b(readable.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    return SessionId(f"sequence.h.{digest}")
