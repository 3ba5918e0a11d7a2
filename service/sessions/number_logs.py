"""The logs of sequences whose model reads no text: the numbers that were appended, as the text of a stored session.

A sequence's state is a cache of its log, as a session's is of its text. So the log is kept where sessions are, under
the same fence, quotas and retention, and another process finds what this one appended. There is no model below: nothing
here is suggested, and the session has no place in an engine.

A number stands as the shortest decimal that reads back as the same float32, or as a whole number; a space between two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

from service.errors import InvalidArgument, Unavailable
from service.sessions.limits import Limits
from service.sessions.ports import Store
from service.sessions.records import Checkpoint, EditRecord, Fence, KnownEdit, SessionKey, Splice, StoredSession

_FIRST_REVISION = 1
_TRIES = 4  # against other writers of the same id
_RETRY_AFTER_S = 0.1


@dataclass(frozen=True, slots=True)
class Logged:
    """How far a log is: what the next append is based on, and how many characters it has."""

    fence: Fence
    length: int


class NumberLogs:
    """Logs in a store, each only appended to. new_incarnation: numbers that do not repeat. Called on one thread.

    Raises Unavailable if the store is down, QuotaExceeded if the tenant has too much in it.
    """

    def __init__(self, store: Store, *, new_incarnation: Callable[[], int], limits: Limits) -> None:
        self._store, self._new_incarnation, self._limits = store, new_incarnation, limits

    @property
    def shared(self) -> bool:
        """Whether other processes may append, so that what was read of a log before may be old."""
        return self._store.shared

    async def begin(self, key: SessionKey, model: str, numbers: str) -> Logged:
        """A new log in the place of whatever was there. Raises InvalidArgument (`inputs`) if it is too long."""
        self._check(len(numbers))
        incarnation = self._new_incarnation()
        digest = blake2b(f"{model}\n{numbers}".encode(), digest_size=16).digest()
        begun = Checkpoint(incarnation, _FIRST_REVISION, model, digest, numbers, cursor=len(numbers))
        for _ in range(_TRIES):
            await self.forget(key)
            if await self._store.create(key, begun):
                return Logged(Fence(incarnation, _FIRST_REVISION), len(numbers))
        raise Unavailable(f"others begin {key.id!r} at the same time: try again", _RETRY_AFTER_S)

    async def find(self, key: SessionKey) -> tuple[Logged, str] | None:
        """How far the log is, and all of it; None if there is none."""
        stored = await self._store.load(key)
        if stored is None:
            return None
        text = _text_of(stored)
        return Logged(stored.fence, len(text)), text

    async def append(self, key: SessionKey, logged: Logged, numbers: str) -> Logged:
        """Append what is not empty. Raises Fenced, and nothing changed, if the log is not as `logged` says any more."""
        added = f" {numbers}" if logged.length else numbers
        length = logged.length + len(added)
        self._check(length)
        revision = logged.fence.revision + 1
        splice = Splice(logged.length, "", added, logged.length, length)
        digest = blake2b(added.encode(), digest_size=16).digest()
        record = EditRecord(KnownEdit(f"log-{revision}", digest, revision, length, length), (splice,))
        checkpoint = await self._due_checkpoint(key, record, added)
        await self._store.append(key, logged.fence, record, checkpoint)
        return Logged(Fence(logged.fence.incarnation, revision), length)

    def rest(self, key: SessionKey) -> None:
        """Nobody asks for the log just now; see `Store.rest`."""
        self._store.rest(key)

    async def forget(self, key: SessionKey) -> None:
        """Give the log up; nothing happens if there is none."""
        stored = await self._store.load(key)
        if stored is not None:
            await self._store.delete(key, stored.fence.incarnation)

    async def _due_checkpoint(self, key: SessionKey, record: EditRecord, added: str) -> Checkpoint | None:
        """Every so often the whole log in one piece, so that the store need not keep each append apart."""
        if record.revision % self._limits.checkpoint_every:
            return None
        stored = await self._store.load(key)
        if stored is None or stored.fence.revision != record.revision - 1:
            return None  # the append will be refused
        text = _text_of(stored) + added
        before = stored.checkpoint
        return Checkpoint(
            before.incarnation,
            record.revision,
            before.model,
            before.creation,
            text,
            cursor=len(text),
            known_edits=(record.known,),
            history=(record,),
        )

    def _check(self, length: int) -> None:
        most = self._limits.max_text_bytes
        if length > most:
            raise InvalidArgument(
                "inputs",
                f"the sequence's log would have {length} characters, and a log has at most {most}: begin it anew with "
                "sequence_start, giving it the newest steps alone",
            )


def _text_of(stored: StoredSession) -> str:
    parts = [stored.checkpoint.text]
    parts += [splice.inserted for record in stored.records for splice in record.splices]
    return "".join(parts)
