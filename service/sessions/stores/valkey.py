"""The store that replicas share: Valkey, or Redis. The fence is checked there, in the step that writes.

All that waits is one list of commands, in the order of the calls, and consecutive edits of one session are one
compare-and-set. A tenant's list is told of a session before the session is made, and of its size now and then: it may
name sessions that are gone, and counts bytes that are a little old; never the other way round.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from service.errors import QuotaExceeded, Unavailable
from service.sessions.commands import SessionId, Tenant
from service.sessions.keeping import Keeping
from service.sessions.records import (
    Checkpoint,
    EditRecord,
    Fence,
    SessionKey,
    StoredSession,
    StoredSummary,
    Swept,
    added_bytes,
    known_apart,
    known_in_history,
    utf8_size,
)
from service.sessions.stores.encoding import DamagedRecord, decode_known, decode_record, encode_known, encode_record
from service.sessions.stores.valkey_link import RETRY_AFTER_S, Command, Link
from service.sessions.stores.valkey_queue import Appended, ValkeyQueue
from service.sessions.stores.valkey_scripts import (
    APPEND,
    CREATE,
    DELETE,
    FORGET,
    FORM,
    LOAD,
    PUT_SNAPSHOT,
    TELL,
    TENANTS,
    session_keys,
    tenant_keys,
)

_TOLD_BYTES = 1_024  # by which a session may have grown before its tenant's list is told
_TOLD_WITHIN_S = 300.0
_MOST_TOLD = 50_000  # sessions of which it is known what was told
_PAGE = 256
_DAMAGED_RETRY_S = 60.0
_WAS_LISTED = 2


class ValkeyStore:
    """A `Store` behind one connection. acknowledge: `fsync` waits for the server's append-only file (WAITAOF)."""

    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        acknowledge: Literal["store", "fsync"] = "store",
        keeping: Keeping | None = None,
        clock: Callable[[], float] = time.time,
        timeout_s: float = 2.0,
    ) -> None:
        """Connects at the first call. clock: seconds since 1970. timeout_s: for one list of commands."""
        self._link = Link(url, password, timeout_s)
        self._keeping, self._clock = keeping or Keeping(), clock
        sync = ("WAITAOF", 1, 0, int(timeout_s * 1000)) if acknowledge == "fsync" else None
        self._queue = ValkeyQueue(self._link, sync, self._append_command)
        retention_s = self._keeping.retention_s
        self._ttl_ms = 0 if retention_s is None else max(int(retention_s * 1000), 1)
        self._told: dict[SessionKey, tuple[int, float]] = {}  # bytes, and when
        self._full: dict[Tenant, tuple[QuotaExceeded, float]] = {}  # who may not add, and until when that is believed
        self._sweeping: list[Tenant] = []

    @property
    def shared(self) -> bool:
        """As `Store.shared`."""
        return True

    def durable(self, key: SessionKey) -> bool:
        """As `Store.durable`."""
        return True

    async def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        """As `Store.create`."""
        size = utf8_size(checkpoint.text)
        fields = {
            "v": FORM,
            "i": checkpoint.incarnation,
            "n": checkpoint.revision,
            "m": checkpoint.model,
            "c": checkpoint.creation.hex(),
            "b": size,
            "w": int(self._clock()),
            **_checkpoint_fields(checkpoint),
        }
        flat = [part for pair in fields.items() for part in pair]
        records = map(encode_record, checkpoint.history)
        create = (CREATE, 2, *session_keys(key), self._ttl_ms, len(flat), *flat, *records)
        listed = [("SADD", TENANTS, key.tenant), self._tell_command(key, checkpoint.incarnation, size, new=True)]
        if self._keeping.has_quota:
            # Asked first, as what is made here cannot depend on a list that lies elsewhere.
            allowed, sessions, text_bytes = (await self._queue.ask(listed, _all))[1]
            if not allowed:
                if await self.load(key) is not None:
                    return False
                self._keeping.check(sessions, text_bytes)
            created = (await self._queue.ask([create], _all))[0]
        else:
            _, (allowed, *_), created = await self._queue.ask([*listed, create], _all)
        if created and allowed == _WAS_LISTED:
            self._tell(key, checkpoint.incarnation, size)  # of an earlier session of this id
        return bool(created)

    async def append(
        self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None = None
    ) -> None:
        """As `Store.append`."""
        full = self._full.get(key.tenant) if self._full else None
        if full is not None and added_bytes(record) > 0:
            if self._clock() < full[1]:
                raise QuotaExceeded(str(full[0]), full[0].retry_after_s)
            del self._full[key.tenant]
        text_bytes = await self._queue.append(Appended(key, fence, record, checkpoint))
        if self._is_news(key, text_bytes):
            self._tell(key, fence.incarnation, text_bytes)

    async def settled(self, key: SessionKey) -> None:
        """As `Store.settled`."""
        await self._queue.ask((), _nothing)

    async def load(self, key: SessionKey) -> StoredSession | None:
        """As `Store.load`."""
        load = (LOAD, 2, *session_keys(key))
        stored: StoredSession | None = await self._queue.ask([load], lambda answers: _read(key, answers[0]))
        return stored

    def rest(self, key: SessionKey) -> None:
        """As `Store.rest`: nothing of a session is in memory, but what its tenant's list was told."""
        self._told.pop(key, None)

    async def delete(self, key: SessionKey, incarnation: int) -> None:
        """As `Store.delete`."""
        delete = (DELETE, 2, *session_keys(key), incarnation)
        await self._queue.ask([delete, (FORGET, 4, *tenant_keys(key.tenant), key.id, incarnation)], _nothing)
        self._told.pop(key, None)

    async def put_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        """As `Store.put_snapshot`."""
        await self._queue.ask([(PUT_SNAPSHOT, 1, session_keys(key)[0], incarnation, snapshot)], _nothing)

    async def get_snapshot(self, key: SessionKey, incarnation: int) -> bytes | None:
        """As `Store.get_snapshot`."""
        kept, snapshot = await self._queue.ask([("HMGET", session_keys(key)[0], "i", "s")], _first)
        return snapshot if kept is not None and int(kept) == incarnation else None

    async def page(self, tenant: Tenant, after: SessionId | None, limit: int) -> tuple[StoredSummary, ...]:
        """As `Store.page`."""
        found: list[StoredSummary] = []
        start = "-" if after is None else f"({after}"
        while len(found) < limit:
            by_id = ("ZRANGEBYLEX", tenant_keys(tenant)[0], start, "+", "LIMIT", 0, min(limit, _PAGE))
            ids = [SessionId(id_.decode()) for id_ in await self._queue.ask([by_id], _first)]
            if not ids:
                break
            heads = [("HMGET", session_keys(SessionKey(tenant, id_))[0], "n", "m", "b", "w") for id_ in ids]
            for id_, head in zip(ids, await self._queue.ask(heads, _all), strict=True):
                if head[0] is not None:  # the list may name who is gone
                    found.append(StoredSummary(id_, int(head[0]), head[1].decode(), int(head[2]), int(head[3])))
            start = f"({ids[-1]}"
        return tuple(found[:limit])

    async def sweep(self, limit: int) -> Swept:
        """As `Store.sweep`: the server lets sessions expire by itself, which leaves the tenants' lists to be swept."""
        if self._keeping.retention_s is None:
            return Swept((), more=False)
        if not self._sweeping:
            self._sweeping = [Tenant(name.decode()) for name in await self._queue.ask([("SMEMBERS", TENANTS)], _first)]
        if not self._sweeping:
            return Swept((), more=False)
        tenant = self._sweeping[-1]
        before_s = self._clock() - self._keeping.retention_s
        old = ("ZRANGEBYSCORE", tenant_keys(tenant)[1], "-inf", f"({before_s}", "LIMIT", 0, limit)
        keys = [SessionKey(tenant, SessionId(id_.decode())) for id_ in await self._queue.ask([old], _first)]
        gone = await self._forget_expired(keys)
        if len(keys) < limit:
            self._sweeping.pop()
        return Swept(gone, more=bool(self._sweeping))

    async def close(self) -> None:
        """As `Store.close`."""
        await self._queue.close()
        await self._link.close()

    async def _forget_expired(self, keys: Sequence[SessionKey]) -> tuple[SessionKey, ...]:
        """Of sessions that the list has for old: take out who is gone, tell of who is not."""
        if not keys:
            return ()
        heads = await self._queue.ask([("HMGET", session_keys(key)[0], "i", "b") for key in keys], _all)
        gone = [key for key, head in zip(keys, heads, strict=True) if head[0] is None]
        for key, (incarnation, size) in zip(keys, heads, strict=True):
            if incarnation is not None:
                self._tell(key, int(incarnation), int(size))
        if gone:
            await self._queue.ask([(FORGET, 4, *tenant_keys(key.tenant), key.id, "*") for key in gone], _nothing)
        return tuple(gone)

    # --- what a tenant's list is told ---------------------------------------------------------------------------------

    def _is_news(self, key: SessionKey, text_bytes: int) -> bool:
        told = self._told.get(key)
        return told is None or abs(told[0] - text_bytes) >= _TOLD_BYTES or self._clock() - told[1] >= _TOLD_WITHIN_S

    def _tell(self, key: SessionKey, incarnation: int, text_bytes: int) -> None:
        """Soon, and whether it arrives or not: it is told again."""
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told[key] = (text_bytes, self._clock())
        told = self._queue.ask([self._tell_command(key, incarnation, text_bytes)], _first)
        told.add_done_callback(lambda answer: self._heard(key.tenant, answer))

    def _tell_command(self, key: SessionKey, incarnation: int, text_bytes: int, *, new: bool = False) -> Command:
        most = (self._keeping.sessions_per_tenant or 0, self._keeping.bytes_per_tenant or 0)
        about = (key.id, incarnation, text_bytes, int(self._clock()), *most, int(new))
        return (TELL, 4, *tenant_keys(key.tenant), *about)

    def _heard(self, tenant: Tenant, answer: asyncio.Future[Any]) -> None:
        if answer.cancelled() or answer.exception() is not None:
            return
        _, _, text_bytes = answer.result()
        try:
            self._keeping.check(0, text_bytes)
        except QuotaExceeded as error:
            self._full[tenant] = (error, self._clock() + RETRY_AFTER_S)

    def _append_command(self, edits: Sequence[Appended]) -> Command:
        """The compare-and-set of edits of one session that follow each other."""
        first, last = edits[0], edits[-1]
        records = [encode_record(edit.record) for edit in edits]
        added = sum(added_bytes(edit.record) for edit in edits)
        fences = (first.fence.incarnation, first.fence.revision, last.record.revision)
        command = (APPEND, 2, *session_keys(first.key), self._ttl_ms, *fences, added, int(self._clock()))
        if last.checkpoint is None:
            return (*command, len(records), *records)
        fields = _checkpoint_fields(last.checkpoint)
        kept = len(last.checkpoint.history)
        return (*command, len(records), *records, kept, *(part for pair in fields.items() for part in pair))


def _checkpoint_fields(checkpoint: Checkpoint) -> dict[str, str | int]:
    return {
        "h": checkpoint.revision,
        "t": checkpoint.text,
        "p": checkpoint.cursor,
        "k": encode_known(known_apart(checkpoint)),
        "q": known_in_history(checkpoint),
    }


def _read(key: SessionKey, answer: Any) -> StoredSession | None:
    """The session. Raises Unavailable if they cannot be read."""
    if not isinstance(answer, list):
        return None
    (form, incarnation, model, creation, revision, text, cursor, known, known_records), written = answer
    if int(form) > FORM:
        raise Unavailable(f"session {key.id!r} was written by a newer Carousel: ask that one", RETRY_AFTER_S)
    try:
        records = tuple(decode_record(one.decode()) for one in written)
        apart = decode_known(known.decode())
    except (DamagedRecord, UnicodeDecodeError) as error:
        raise Unavailable(f"what is stored of session {key.id!r} is damaged: delete it", _DAMAGED_RETRY_S) from error
    history = tuple(record for record in records if record.revision <= int(revision))
    known_edits = (*apart, *(record.known for record in history[len(history) - int(known_records) :]))
    checkpoint = Checkpoint(
        int(incarnation),
        int(revision),
        model.decode(),
        bytes.fromhex(creation.decode()),
        text.decode(),
        int(cursor),
        known_edits,
        history,
    )
    return StoredSession(checkpoint, records[len(history) :])


def _first(answers: list[Any]) -> Any:
    return answers[0]


def _all(answers: list[Any]) -> list[Any]:
    return answers


def _nothing(answers: list[Any]) -> None:
    """Nobody wants to know."""
