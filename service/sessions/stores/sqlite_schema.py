"""The tables of the SQLite store, as the steps from each version of them to the next.

A step is never changed once it was released; `tests/contract/stores` keeps a file of every earlier version.
"""

from __future__ import annotations

import sqlite3

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
-- The text at `revision`. `known` holds the known edits that no row of `records` does; of those, the newest `known_records`
-- up to that revision are known, too.
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

_STEPS = (_VERSION_1,)

NEWEST = len(_STEPS)
"""The version that this program writes."""


class NewerVersion(Exception):
    """The file was written by a newer program; `version` is its version."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


class ForeignDatabase(Exception):
    """The file is a database, but not one of ours."""


def upgrade(connection: sqlite3.Connection) -> int:
    """Bring an empty file, or one of an earlier version, to the newest. Returns the version that it had; 0 if empty.

    Each step is one transaction. Raises NewerVersion, ForeignDatabase, sqlite3.Error.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application not in (0, APPLICATION) or (application == 0 and _holds_tables(connection)):
        raise ForeignDatabase
    if version > NEWEST:
        raise NewerVersion(version)
    for number, step in enumerate(_STEPS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {step}; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {number}; COMMIT;"
        )
    return int(version)


def _holds_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None
