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

from service.errors import Fenced, Unavailable
from service.sessions.commands import SessionId, Tenant
from service.sessions.records import Checkpoint, EditRecord, Fence, SessionKey, StoredSession
from service.sessions.stores.encoding import (
    DamagedRecord,
    decode_known,
    decode_record,
    encode_known,
    encode_record,
    known_apart,
    known_in_history,
)
from service.sessions.stores.file_lock import FileInUse, FileLock
from service.sessions.stores.opening import CannotOpen
from service.sessions.stores.sqlite_schema import NEWEST, ForeignDatabase, NewerVersion, upgrade

_READ_THROUGH_BYTES = 16 << 20  # files up to this size are read through when they are opened: some ten milliseconds
_WAL_BYTES = 16 << 20  # of the write-ahead log on disk between checkpoints, which SQLite makes every 1,000 pages
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SIBLINGS = ("", "-wal", "-shm")

_log = logging.getLogger("carousel.store")


class SessionFile:
    """The open file. What raises sqlite3.Error has changed nothing once `rolled_back` is through."""

    def __init__(self, path: Path, acknowledge: Literal["store", "fsync", "memory"]) -> None:
        """Open or make the file. Raises CannotOpen, whose message says what to do."""
        self._path, self._acknowledge = path, acknowledge
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

    # --- what a store does; `_calls` of the store name these -----------------------------------------------------------

    def create(self, key: SessionKey, checkpoint: Checkpoint) -> bool:
        """As `Store.create`."""
        row = self._connection.execute(
            "INSERT INTO sessions (tenant, id, incarnation, revision, model, creation) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING RETURNING number",
            (key.tenant, key.id, checkpoint.incarnation, checkpoint.revision, checkpoint.model, checkpoint.creation),
        ).fetchone()
        if row is None:
            return False
        self._put_checkpoint(row[0], checkpoint)
        self._connection.executemany(
            "INSERT INTO records VALUES (?, ?, ?)",
            [(row[0], record.revision, encode_record(record)) for record in checkpoint.history],
        )
        return True

    def append(self, key: SessionKey, fence: Fence, record: EditRecord, checkpoint: Checkpoint | None) -> None:
        """As `Store.append`."""
        execute = self._connection.execute
        row = execute(
            "UPDATE sessions SET revision = ? WHERE tenant = ? AND id = ? AND incarnation = ? AND revision = ? "
            "RETURNING number",
            (record.known.revision, key.tenant, key.id, fence.incarnation, fence.revision),
        ).fetchone()
        if row is None:
            raise Fenced(f"session {key.id!r} was changed or deleted elsewhere: read it and send the edits anew")
        execute("INSERT INTO records VALUES (?, ?, ?)", (row[0], record.known.revision, encode_record(record)))
        if checkpoint is not None:
            self._put_checkpoint(row[0], checkpoint)
            oldest = checkpoint.history[0].revision if checkpoint.history else checkpoint.revision + 1
            execute("DELETE FROM records WHERE session = ? AND revision < ?", (row[0], oldest))

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

    def delete(self, key: SessionKey, incarnation: int) -> None:
        """As `Store.delete`."""
        self._forget(
            "DELETE FROM sessions WHERE tenant = ? AND id = ? AND incarnation = ? RETURNING number",
            (key.tenant, key.id, incarnation),
        )

    # --- transactions ---------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done within it is kept, or nothing. Raises sqlite3.Error, and nothing was kept then."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def set_aside_if_damaged(self, error: sqlite3.Error) -> bool:
        """After `error`: if it says that the file is damaged, go on with a fresh one. Whether that was so."""
        if not _is_damage(error):
            return False
        self._connection.close()
        self._connection = self._fresh(error)
        return True

    # --- opening ----------------------------------------------------------------------------------------------------------

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
        execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a file that is new; what is deleted is given back in steps
        execute("PRAGMA journal_mode = WAL")
        # A commit survives the process either way; FULL syncs the log at each of them, which survives power loss, too
        # (sqlite.org/pragma.html#pragma_synchronous).
        execute(f"PRAGMA synchronous = {'FULL' if self._acknowledge == 'fsync' else 'NORMAL'}")
        execute("PRAGMA secure_delete = ON")  # deleted text is overwritten, not only unlinked
        execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        had = upgrade(connection)
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

    # --- parts --------------------------------------------------------------------------------------------------------------

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

    def _forget(self, deletion: str, parameters: tuple[object, ...]) -> int:
        """Run the statement, which deletes rows of `sessions` and returns their numbers, and what hangs on them."""
        numbers = self._connection.execute(deletion, parameters).fetchall()
        self._connection.executemany("DELETE FROM checkpoints WHERE session = ?", numbers)
        self._connection.executemany("DELETE FROM records WHERE session = ?", numbers)
        return len(numbers)


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
