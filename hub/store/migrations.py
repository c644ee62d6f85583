"""The shape of the database, as a list of changes. An applied change is never edited; append one.

sqlite_utils applies and records them; it is imported only when there is something to apply, as its
import costs 0.2 s.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["NAMES", "applied", "apply"]

_SET = "hub"


def applied(connection: sqlite3.Connection) -> tuple[str, ...] | None:
    """The names of the changes that a database has seen, oldest first.

    `()` for an empty database, `None` for one that is of some other program.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not tables:
        return ()
    if "_sqlite_migrations" not in tables:
        return None
    rows = connection.execute(
        "SELECT name FROM _sqlite_migrations WHERE migration_set = ? ORDER BY rowid", (_SET,)
    )
    return tuple(name for (name,) in rows) or None


def apply(connection: sqlite3.Connection) -> None:
    """Apply what is missing, all of it or nothing. Raises `sqlite3.Error`."""
    from sqlite_utils import Database, Migrations

    migrations = Migrations(_SET)
    for change in _CHANGES:
        migrations(name=change.__name__)(change)
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(Database(connection, recursive_triggers=False))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def m001_first(db: Database) -> None:
    db.execute("""
        CREATE TABLE sessions (
            id TEXT PRIMARY KEY NOT NULL,
            agent TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('legacy', 'modern', 'stdio', 'local')),
            version TEXT NOT NULL,
            client TEXT NOT NULL,
            capabilities TEXT NOT NULL,
            opened INTEGER NOT NULL,
            seen INTEGER NOT NULL,
            closed INTEGER
        ) STRICT""")
    db.execute("CREATE INDEX sessions_of_agent ON sessions (agent, opened)")
    # Each further index on calls costs 6 us a call at concurrency 1 (measured), so there are two:
    # the calls of a session, and the few that are open (to find them after a crash).
    db.execute("""
        CREATE TABLE calls (
            id TEXT PRIMARY KEY NOT NULL,
            session TEXT NOT NULL REFERENCES sessions (id),
            agent TEXT NOT NULL,
            token TEXT,
            server TEXT,
            method TEXT NOT NULL,
            tool TEXT NOT NULL,
            own TEXT,
            params TEXT,
            params_bytes INTEGER NOT NULL,
            started INTEGER NOT NULL,
            state TEXT NOT NULL
                CHECK (state IN ('intended', 'done', 'failed', 'refused', 'cancelled', 'unknown')),
            kind TEXT,
            reason TEXT,
            rule TEXT,
            result TEXT,
            error TEXT,
            result_bytes INTEGER,
            duration_us INTEGER
        ) STRICT""")
    db.execute("CREATE INDEX calls_of_session ON calls (session)")
    db.execute("CREATE INDEX calls_open ON calls (id) WHERE state = 'intended'")
    db.execute("""
        CREATE TABLE tokens (
            id TEXT PRIMARY KEY NOT NULL,
            agent TEXT NOT NULL,
            hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
            created INTEGER NOT NULL,
            used INTEGER,
            revoked INTEGER
        ) STRICT""")
    db.execute("CREATE INDEX tokens_of_agent ON tokens (agent)")
    db.execute("""
        CREATE TABLE servers (
            name TEXT PRIMARY KEY NOT NULL,
            fingerprint TEXT NOT NULL,
            version TEXT NOT NULL,
            info TEXT NOT NULL,
            capabilities TEXT NOT NULL,
            instructions TEXT,
            definitions TEXT NOT NULL,
            learnt_at INTEGER NOT NULL
        ) STRICT""")
    # One row that is written to find out whether the database can be written again.
    db.execute("CREATE TABLE probe (id INTEGER PRIMARY KEY CHECK (id = 1), filler BLOB NOT NULL) STRICT")


def m002_log_level(db: Database) -> None:
    db.execute("ALTER TABLE sessions ADD COLUMN log_level TEXT")


_CHANGES = (m001_first, m002_log_level)

NAMES = tuple(change.__name__ for change in _CHANGES)
