"""The shape of the database, as a list of changes. An applied change is never edited; append one.

sqlite_utils applies and records them; it is imported only when there is something to apply, as its
import costs 0.2 s.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from hub.store.first_migrations import (
    m001_first,
    m002_log_level,
    m004_tokens_that_end,
    m006_usage,
    m007_approvals,
    m008_audit,
)

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


def m009_reach_of_sessions(db: Database) -> None:
    db.execute("ALTER TABLE sessions ADD COLUMN reach TEXT NOT NULL DEFAULT ''")


def m010_named_sessions(db: Database) -> None:
    for column in (
        "name TEXT",
        "labels TEXT",
        "goal TEXT",
        "goes_on TEXT REFERENCES sessions (id)",
        "gone INTEGER",
    ):
        db.execute(f"ALTER TABLE sessions ADD COLUMN {column}")
    db.execute(
        "CREATE UNIQUE INDEX sessions_by_name ON sessions (agent, reach, name) "
        "WHERE name IS NOT NULL AND closed IS NULL"
    )
    db.execute("""
        CREATE TABLE notes (
            id INTEGER PRIMARY KEY NOT NULL,
            session TEXT NOT NULL REFERENCES sessions (id),
            at INTEGER NOT NULL,
            call TEXT NOT NULL,
            text TEXT,
            pin TEXT,
            CHECK (text IS NOT NULL OR pin IS NOT NULL)
        ) STRICT""")
    db.execute("CREATE INDEX notes_of_session ON notes (session)")
    db.execute("""
        CREATE TABLE repeatable (
            owner TEXT NOT NULL,
            key TEXT NOT NULL,
            digest BLOB NOT NULL CHECK (length(digest) = 32),
            tool TEXT NOT NULL,
            call TEXT NOT NULL,
            at INTEGER NOT NULL,
            result BLOB,
            PRIMARY KEY (owner, key)
        ) STRICT, WITHOUT ROWID""")
    db.execute("CREATE INDEX repeatable_by_age ON repeatable (at)")


def m010_memory(db: Database) -> None:
    db.execute("""
        CREATE TABLE memory (
            id INTEGER PRIMARY KEY NOT NULL,
            scope TEXT NOT NULL CHECK (scope IN ('session', 'agent', 'shared')),
            owner TEXT NOT NULL,
            key TEXT NOT NULL,
            value TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            agent TEXT NOT NULL,
            session TEXT NOT NULL,
            call TEXT NOT NULL,
            at INTEGER NOT NULL,
            until INTEGER,
            UNIQUE (scope, owner, key)
        ) STRICT""")
    db.execute("CREATE INDEX memory_that_ends ON memory (until) WHERE until IS NOT NULL")
    db.execute(
        "CREATE VIRTUAL TABLE memory_words USING fts5 (key, value, content='memory', content_rowid='id')"
    )
    gone = (
        "INSERT INTO memory_words (memory_words, rowid, key, value) "
        "VALUES ('delete', old.id, old.key, old.value)"
    )
    come = "INSERT INTO memory_words (rowid, key, value) VALUES (new.id, new.key, new.value)"
    db.execute(f"CREATE TRIGGER memory_added AFTER INSERT ON memory BEGIN {come}; END")
    db.execute(f"CREATE TRIGGER memory_removed AFTER DELETE ON memory BEGIN {gone}; END")
    db.execute(f"CREATE TRIGGER memory_changed AFTER UPDATE ON memory BEGIN {gone}; {come}; END")


def m011_results(db: Database) -> None:
    db.execute("""
        CREATE TABLE results (
            id TEXT PRIMARY KEY NOT NULL,
            agent TEXT NOT NULL,
            reach TEXT NOT NULL,
            session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            call TEXT NOT NULL,
            server TEXT NOT NULL,
            tool TEXT NOT NULL,
            name TEXT NOT NULL,
            labels TEXT NOT NULL,
            created INTEGER NOT NULL,
            length INTEGER NOT NULL,
            size_bytes INTEGER NOT NULL,
            digest BLOB NOT NULL CHECK (length(digest) = 32),
            outline BLOB NOT NULL,
            complete INTEGER NOT NULL DEFAULT 0
        ) STRICT""")
    db.execute("CREATE INDEX results_of_agent ON results (agent, created)")
    db.execute("CREATE INDEX results_of_session ON results (session)")
    db.execute("CREATE INDEX results_of_call ON results (call)")
    db.execute("CREATE INDEX results_by_age ON results (created)")
    db.execute("""
        CREATE TABLE result_parts (
            result TEXT NOT NULL REFERENCES results (id) ON DELETE CASCADE,
            start INTEGER NOT NULL,
            text TEXT NOT NULL
        ) STRICT""")
    db.execute("CREATE UNIQUE INDEX result_parts_in_order ON result_parts (result, start)")
    db.execute("""
        CREATE TABLE result_uses (
            call TEXT NOT NULL,
            result TEXT NOT NULL,
            pointer TEXT NOT NULL,
            place TEXT NOT NULL,
            size_bytes INTEGER NOT NULL,
            digest BLOB NOT NULL CHECK (length(digest) = 32),
            labels TEXT NOT NULL
        ) STRICT""")
    db.execute("CREATE INDEX result_uses_of_call ON result_uses (call)")


def m012_parts(db: Database) -> None:
    db.execute("""
        CREATE TABLE parts (
            call TEXT NOT NULL,
            number INTEGER NOT NULL,
            at INTEGER NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('sent', 'notified', 'more')),
            method TEXT NOT NULL,
            params TEXT NOT NULL,
            PRIMARY KEY (call, number)
        ) STRICT, WITHOUT ROWID""")


def m013_shares(db: Database) -> None:
    db.execute("""
        CREATE TABLE shares (
            session TEXT NOT NULL REFERENCES sessions (id),
            agent TEXT NOT NULL,
            reader TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('key', 'result')),
            name TEXT NOT NULL,
            write INTEGER NOT NULL,
            at INTEGER NOT NULL,
            PRIMARY KEY (session, reader, kind, name)
        ) STRICT, WITHOUT ROWID""")
    db.execute("CREATE INDEX shares_by_reader ON shares (reader, kind, name)")
    db.execute("""
        CREATE TABLE leases (
            scope TEXT NOT NULL,
            owner TEXT NOT NULL,
            key TEXT NOT NULL,
            fence INTEGER NOT NULL,
            agent TEXT NOT NULL,
            until INTEGER NOT NULL,
            PRIMARY KEY (scope, owner, key)
        ) STRICT, WITHOUT ROWID""")


def m014_contexts_of_sessions(db: Database) -> None:
    # So that a session can be deleted without looking at all others.
    db.execute("CREATE INDEX sessions_that_go_on ON sessions (goes_on) WHERE goes_on IS NOT NULL")


def m015_pins(db: Database) -> None:
    db.execute("""
        CREATE TABLE pinned_servers (
            server TEXT PRIMARY KEY NOT NULL,
            fingerprint TEXT NOT NULL,
            at INTEGER NOT NULL
        ) STRICT""")
    db.execute("""
        CREATE TABLE pins (
            server TEXT NOT NULL,
            tool TEXT NOT NULL,
            digest BLOB,
            definition TEXT,
            at INTEGER NOT NULL,
            by TEXT,
            seen BLOB,
            seen_at INTEGER,
            PRIMARY KEY (server, tool)
        ) STRICT""")


def m016_servers_before(db: Database) -> None:
    db.execute("""
        CREATE TABLE servers_before (
            name TEXT NOT NULL,
            until INTEGER NOT NULL,
            fingerprint TEXT NOT NULL,
            version TEXT NOT NULL,
            info TEXT NOT NULL,
            capabilities TEXT NOT NULL,
            instructions TEXT,
            definitions TEXT NOT NULL,
            learnt_at INTEGER NOT NULL,
            PRIMARY KEY (name, until)
        ) STRICT, WITHOUT ROWID""")


def m017_updates(db: Database) -> None:
    db.execute("""
        CREATE TABLE updates (
            session TEXT NOT NULL,
            at INTEGER NOT NULL,
            server TEXT NOT NULL,
            uri TEXT NOT NULL,
            PRIMARY KEY (session, at, server, uri)
        ) STRICT, WITHOUT ROWID""")


_CHANGES = (
    m001_first,
    m002_log_level,
    m004_tokens_that_end,
    m006_usage,
    m007_approvals,
    m008_audit,
    m009_reach_of_sessions,
    m010_named_sessions,
    m010_memory,
    m011_results,
    m012_parts,
    m013_shares,
    m014_contexts_of_sessions,
    m015_pins,
    m016_servers_before,
    m017_updates,
)

NAMES = tuple(change.__name__ for change in _CHANGES)
