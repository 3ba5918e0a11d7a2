"""The tables of the SQLite store, as the steps from each version of them to the next.

A step is never changed once it was released; `tests/contract/earlier_files` keeps a file of every earlier version.
"""

from __future__ import annotations

import sqlite3

from service.sessions.records import added_bytes
from service.sessions.stores.encoding import decode_record

APPLICATION = 0x6361726F  # "caro" in ASCII: tells our files from other programs' databases

_VERSION_1 = """
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    model TEXT NOT NULL,
    creation BLOB NOT NULL,
    UNIQUE (tenant, id)
);
-- The text at `revision`. `known` holds the known edits that no row of `records` does; of the rows up to that revision,
-- the newest `known_records` are known, too.
CREATE TABLE checkpoints (
    session INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    text TEXT NOT NULL,
    cursor INTEGER NOT NULL,
    known TEXT NOT NULL,
    known_records INTEGER NOT NULL
);
CREATE TABLE records (
    session INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (session, revision)
) WITHOUT ROWID;
"""

# What retention and quotas ask for. `written_s` (seconds since 1970) is up to a minute old: see `sqlite_file`.
_VERSION_2 = """
ALTER TABLE sessions ADD COLUMN text_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN written_s INTEGER NOT NULL DEFAULT 0;
UPDATE sessions SET
    written_s = CAST(strftime('%s', 'now') AS INTEGER),
    text_bytes = (SELECT length(CAST(c.text AS BLOB)) FROM checkpoints AS c WHERE c.session = number) + coalesce((
        SELECT sum(added_bytes(r.record)) FROM records AS r
        WHERE r.session = number AND r.revision > (SELECT c.revision FROM checkpoints AS c WHERE c.session = number)
    ), 0);
CREATE INDEX sessions_by_time ON sessions (written_s);
"""

# A state of a beginning of the session's text, as bytes that say themselves what they are of.
_VERSION_3 = """
CREATE TABLE snapshots (
    session INTEGER PRIMARY KEY,
    snapshot BLOB NOT NULL
);
"""

_STEPS = (_VERSION_1, _VERSION_2, _VERSION_3)

NEWEST = len(_STEPS)
"""The version that this program writes."""


class NewerVersion(Exception):
    """The file was written by a newer program; `version` is its version."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


class ForeignDatabase(Exception):
    """The file is a database, but not one of ours."""


def version_of(connection: sqlite3.Connection) -> int:
    """The version of the file's tables; 0 if it is empty. Raises NewerVersion, ForeignDatabase, sqlite3.Error."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application not in (0, APPLICATION) or (application == 0 and _holds_tables(connection)):
        raise ForeignDatabase
    if version > NEWEST:
        raise NewerVersion(version)
    return int(version)


def upgrade(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables from `version` to the newest; each step is one transaction. Raises sqlite3.Error."""
    connection.create_function(
        "added_bytes", 1, lambda written: added_bytes(decode_record(written)), deterministic=True
    )
    for number, step in enumerate(_STEPS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {step}; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number}; COMMIT;"
        )


def _holds_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None
