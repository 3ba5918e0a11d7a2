"""A SQLite file of sessions, as one thread sees it: opened, repaired or set aside, read and written. Never waits.

All of it is called from the store's own thread, which is also the only one that imports sqlite3.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from service.errors import Fenced, QuotaExceeded, Unavailable
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
from service.sessions.stores.file_lock import FileInUse, FileLock
from service.sessions.stores.opening import CannotOpen
from service.sessions.stores.sqlite_schema import NEWEST, ForeignDatabase, NewerVersion, upgrade, version_of

_READ_THROUGH_BYTES = 16 << 20  # files up to this size are read through when they are opened: some ten milliseconds
_WRITTEN_WITHIN_S = 60  # `written_s` is that exact: it is indexed, and need not be for every keystroke
_FREED_AT_ONCE = 256  # pages given back to the system after a sweep or a deletion
_OLDEST_SQLITE = (3, 35, 0)  # RETURNING
_WAL_BYTES = 16 << 20  # of the write-ahead log on disk between checkpoints, which SQLite makes every 1,000 pages
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SIBLINGS = ("", "-wal", "-shm")

_log = logging.getLogger("carousel.store")


class SessionFile:
    """The open file. What raises sqlite3.Error has changed nothing once `rolled_back` is through."""

    def __init__(
        self, path: Path, acknowledge: Literal["store", "fsync", "memory"], keeping: Keeping, clock: Callable[[], float]
    ) -> None:
        """Open or make the file. clock: seconds since 1970. Raises CannotOpen, whose message says what to do."""
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise CannotOpen(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 is needed, or --store memory:")
        self._path, self._acknowledge, self._keeping, self._clock = path, acknowledge, keeping, clock
        self._usage: dict[Tenant, list[int]] = {}  # sessions and bytes of text of the tenants seen, if there is a quota
        self.untidy = False  # deleted text may still be in the log
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = FileLock(path.with_name(path.name + ".lock"))
        except FileInUse as error:
            raise CannotOpen(
                f"{path} is in use by process {error.holder or '?'}: one server has a file; give this one another "
                "(sqlite:PATH), or let several share valkey://HOST:PORT/DB"
            ) from error
        except OSError as error:
            raise CannotOpen(
                f"{path} cannot be written ({error.strerror}): name another file (sqlite:PATH), or memory: to keep none"
            ) from error
        try:
            self._connection = self._open()
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Write the log into the file, and let others in."""
        try:
            self._connection.close()
        finally:
            self._lock.release()

    # --- what a store does: the methods are those of the port --------------------------------------

    def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        """As `Store.create`."""
        taken = self._connection.execute("SELECT 1 FROM sessions WHERE tenant = ? AND id = ?", key).fetchone()
        if taken is not None:
            return False
        size = utf8_size(checkpoint.text)
        if self._keeping.has_quota:
            used = self._used(key.tenant)
            self._keeping.check(used[0] + 1, used[1] + size)
            used[0] += 1
            used[1] += size
        (number,) = self._connection.execute(
            "INSERT INTO sessions (tenant, id, incarnation, revision, model, creation, text_bytes, written_s) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
            (
                *key,
                checkpoint.incarnation,
                checkpoint.revision,
                checkpoint.model,
                checkpoint.creation,
                size,
                int(self._clock()),
            ),
        ).fetchone()
        self._put_checkpoint(number, checkpoint)
        self._connection.executemany(
            "INSERT INTO records VALUES (?, ?, ?)",
            [(number, record.revision, encode_record(record)) for record in checkpoint.history],
        )
        return True

    def append(self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None) -> None:
        """As `Store.append`."""
        execute = self._connection.execute
        added = added_bytes(record)
        used = self._used(key.tenant) if self._keeping.has_quota else None
        row = execute(
            "UPDATE sessions SET revision = ?, text_bytes = text_bytes + ? "
            "WHERE tenant = ? AND id = ? AND incarnation = ? AND revision = ? RETURNING number, written_s",
            (record.known.revision, added, key.tenant, key.id, fence.incarnation, fence.revision),
        ).fetchone()
        if row is None:
            raise Fenced(f"session {key.id!r} was changed or deleted elsewhere: read it and send the edits anew")
        number, written_s = row
        if used is not None:
            if added > 0:
                try:
                    self._keeping.check(0, used[1] + added)
                except QuotaExceeded:
                    undone = (fence.revision, added, number)
                    execute("UPDATE sessions SET revision = ?, text_bytes = text_bytes - ? WHERE number = ?", undone)
                    raise
            used[1] += added
        execute("INSERT INTO records VALUES (?, ?, ?)", (number, record.known.revision, encode_record(record)))
        now_s = int(self._clock())
        if now_s - written_s >= _WRITTEN_WITHIN_S:
            execute("UPDATE sessions SET written_s = ? WHERE number = ?", (now_s, number))
        if checkpoint is not None:
            self._put_checkpoint(number, checkpoint)
            oldest = checkpoint.history[0].revision if checkpoint.history else checkpoint.revision + 1
            execute("DELETE FROM records WHERE session = ? AND revision < ?", (number, oldest))

    def load(self, key: SessionKey) -> StoredSession | None:
        """As `Store.load`. Raises Unavailable if what is kept of the session cannot be read."""
        execute = self._connection.execute
        row = execute(
            "SELECT number, incarnation, model, creation, c.revision, text, cursor, known, known_records "
            "FROM sessions JOIN checkpoints AS c ON c.session = number WHERE tenant = ? AND id = ?",
            (key.tenant, key.id),
        ).fetchone()
        if row is None:
            return None
        number, incarnation, model, creation, revision, text, cursor, known, known_records = row
        rows = execute("SELECT record FROM records WHERE session = ? ORDER BY revision", (number,)).fetchall()
        try:
            records = tuple(decode_record(written) for (written,) in rows)
            apart = decode_known(known)
        except DamagedRecord as error:
            _log.error("a session is damaged", extra={"session": key.id, "tenant": key.tenant, "fault": str(error)})
            raise Unavailable(f"what is stored of session {key.id!r} is damaged: delete it", 60.0) from error
        history = tuple(record for record in records if record.revision <= revision)
        known_edits = (*apart, *(record.known for record in history[len(history) - known_records :]))
        checkpoint = Checkpoint(incarnation, revision, model, creation, text, cursor, known_edits, history)
        return StoredSession(checkpoint, records[len(history) :])

    def put_snapshot(self, key: SessionKey, incarnation: int, snapshot: bytes) -> None:
        """As `Store.put_snapshot`."""
        self._connection.execute(
            "INSERT OR REPLACE INTO snapshots SELECT number, ? FROM sessions "
            "WHERE tenant = ? AND id = ? AND incarnation = ?",
            (snapshot, *key, incarnation),
        )

    def get_snapshot(self, key: SessionKey, incarnation: int) -> bytes | None:
        """As `Store.get_snapshot`."""
        row = self._connection.execute(
            "SELECT snapshot FROM snapshots JOIN sessions ON session = number "
            "WHERE tenant = ? AND id = ? AND incarnation = ?",
            (*key, incarnation),
        ).fetchone()
        return row[0] if row is not None and isinstance(row[0], bytes) else None

    def delete(self, key: SessionKey, incarnation: int) -> None:
        """As `Store.delete`."""
        self._forget(
            "DELETE FROM sessions WHERE tenant = ? AND id = ? AND incarnation = ? "
            "RETURNING number, tenant, id, text_bytes",
            (*key, incarnation),
        )

    def page(self, tenant: Tenant, after: SessionId | None, limit: int) -> tuple[StoredSummary, ...]:
        """As `Store.page`."""
        rows = self._connection.execute(
            "SELECT id, revision, model, text_bytes, written_s FROM sessions WHERE tenant = ? AND id > ? "
            "ORDER BY id LIMIT ?",
            (tenant, after or "", limit),
        )
        return tuple(map(StoredSummary._make, rows))

    def sweep(self, limit: int) -> Swept:
        """As `Store.sweep`, those first that were not written for the longest time."""
        retention_s = self._keeping.retention_s
        if retention_s is None:
            return Swept((), more=False)
        keys = self._forget(
            "DELETE FROM sessions WHERE number IN "
            "(SELECT number FROM sessions WHERE written_s < ? ORDER BY written_s LIMIT ?) "
            "RETURNING number, tenant, id, text_bytes",
            (self._clock() - retention_s, limit),
        )
        return Swept(keys, more=len(keys) == limit)

    def tidy(self) -> None:
        """Give back what was deleted: overwrite the log that may still hold it. For a quiet moment."""
        self._connection.execute(f"PRAGMA incremental_vacuum({_FREED_AT_ONCE})").fetchall()
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.untidy = False

    # --- transactions ------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done within it is kept, or nothing. Raises sqlite3.Error, and nothing was kept then."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._usage.clear()
            self._roll_back()
            raise

    @property
    def unusable(self) -> bool:
        """Whether the connection is of no use any more: a transaction that cannot be ended, or it is closed."""
        try:
            return self._connection.in_transaction
        except sqlite3.Error:
            return True

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:  # the connection is then `unusable`, and opened again
                _log.warning("a transaction could not be rolled back", extra={"fault": str(error)})

    def set_aside_if_damaged(self, error: sqlite3.Error) -> bool:
        """After `error`: if it says that the file is damaged, go on with a fresh one. Whether that was so."""
        if not _is_damage(error):
            return False
        self._connection.close()
        self._connection = self._fresh(error)
        return True

    def reopen(self) -> None:
        """After an error that left the connection unusable. Raises CannotOpen."""
        self._connection.close()
        self._connection = self._open()

    # --- opening -----------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise self._refused(error) from error
            return self._fresh(error)

    def _fresh(self, error: sqlite3.Error) -> sqlite3.Connection:
        aside = _set_aside(self._path)
        _log.error(
            "THE SESSION FILE IS DAMAGED: it was set aside, and an empty one begun",
            extra={"file": str(self._path), "set_aside_as": str(aside), "fault": str(error)},
        )
        try:
            return self._connect()
        except sqlite3.DatabaseError as again:
            raise self._refused(again) from again

    def _connect(self) -> sqlite3.Connection:
        """Raises CannotOpen, or sqlite3.DatabaseError if the file is damaged or SQLite cannot get at it."""
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # what is typed is private
        except OSError as error:
            raise self._refused(error) from error
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=0.0, cached_statements=64)
        try:
            self._prepare(connection)
        except NewerVersion as error:
            connection.close()
            raise CannotOpen(
                f"{self._path} was written by a newer Carousel (schema {error.version}, this one knows {NEWEST}): "
                "start that one, or name another file (sqlite:PATH)"
            ) from error
        except ForeignDatabase as error:
            connection.close()
            raise CannotOpen(f"{self._path} is another program's database: name another file (sqlite:PATH)") from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        execute = connection.execute
        # No other process may have it open, which spares the shared memory, too (sqlite.org/wal.html#noshm).
        execute("PRAGMA locking_mode = EXCLUSIVE")
        had = version_of(connection)  # first, as a file that is refused stays as it is
        execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a file that is new; what is deleted is given back in steps
        execute("PRAGMA journal_mode = WAL")
        # A commit survives the process either way; FULL syncs the log at each of them, which survives power loss, too
        # (sqlite.org/pragma.html#pragma_synchronous).
        execute(f"PRAGMA synchronous = {'FULL' if self._acknowledge == 'fsync' else 'NORMAL'}")
        execute("PRAGMA secure_delete = ON")  # deleted text is overwritten, not only unlinked
        execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        upgrade(connection, had)
        if 0 < had < NEWEST:
            _log.info("the session file was brought to the newest version", extra={"had": had, "has": NEWEST})
        if self._path.stat().st_size <= _READ_THROUGH_BYTES:
            (found,) = execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise _Damage(found)

    def _refused(self, error: Exception) -> CannotOpen:
        return CannotOpen(
            f"{self._path} cannot be used ({error}): end whoever has it open, name another file (sqlite:PATH), "
            "or memory: to keep nothing"
        )

    # --- parts -------------------------------------------------------------------------------------

    def _put_checkpoint(self, number: int, checkpoint: Checkpoint) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)",
            (
                number,
                checkpoint.revision,
                checkpoint.text,
                checkpoint.cursor,
                encode_known(known_apart(checkpoint)),
                known_in_history(checkpoint),
            ),
        )

    def _forget(self, deletion: str, parameters: tuple[object, ...]) -> tuple[SessionKey, ...]:
        """Run the statement, which deletes rows of `sessions` and returns what they were, and what hangs on them."""
        rows = self._connection.execute(deletion, parameters).fetchall()
        for number, tenant, _, text_bytes in rows:
            self._connection.execute("DELETE FROM checkpoints WHERE session = ?", (number,))
            self._connection.execute("DELETE FROM records WHERE session = ?", (number,))
            self._connection.execute("DELETE FROM snapshots WHERE session = ?", (number,))
            used = self._usage.get(tenant)
            if used is not None:
                used[0] -= 1
                used[1] -= text_bytes
            self.untidy = True
        return tuple(SessionKey(tenant, id_) for _, tenant, id_, _ in rows)

    def _used(self, tenant: Tenant) -> list[int]:
        """Sessions and bytes of text of a tenant: read once, before any of it changes, and counted on."""
        used = self._usage.get(tenant)
        if used is None:
            counted = "SELECT count(*), coalesce(sum(text_bytes), 0) FROM sessions WHERE tenant = ?"
            used = self._usage[tenant] = list(self._connection.execute(counted, (tenant,)).fetchone())
        return used


class _Damage(sqlite3.DatabaseError):
    """`quick_check` has found something."""


def _is_damage(error: sqlite3.Error) -> bool:
    if isinstance(error, _Damage):
        return True
    code = getattr(error, "sqlite_errorcode", None)  # errors of the module itself have none
    return code is not None and code & 0xFF in _DAMAGED


def _set_aside(path: Path) -> Path:
    """Rename the file and what belongs to it; where the file is now."""
    stem = f"{path.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    for sibling in _SIBLINGS:
        part = path.with_name(path.name + sibling)
        if part.exists():
            part.rename(path.with_name(stem + sibling))
    return path.with_name(stem)
