"""The shape of the database, as a list of changes. An applied change is never edited; append one.

sqlite_utils applies and records them; it is imported only when there is something to apply, as its
import costs 0.2 s.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from hub.store import audit

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


def m004_tokens_that_end(db: Database) -> None:
    for column in (
        "expires INTEGER",
        "scope TEXT",
        "calls INTEGER CHECK (calls > 0)",
        "spent INTEGER NOT NULL DEFAULT 0 CHECK (spent <= calls)",
        "parent TEXT REFERENCES tokens (id)",
    ):
        db.execute(f"ALTER TABLE tokens ADD COLUMN {column}")
    db.execute("CREATE INDEX tokens_of_parent ON tokens (parent) WHERE parent IS NOT NULL")


def m006_usage(db: Database) -> None:
    db.execute("""
        CREATE TABLE usage (
            meter TEXT NOT NULL,
            measure TEXT NOT NULL CHECK (measure IN ('calls', 'bytes', 'cost')),
            period INTEGER NOT NULL,
            start INTEGER NOT NULL,
            until INTEGER NOT NULL,
            used INTEGER NOT NULL,
            PRIMARY KEY (meter, measure, period)
        ) STRICT, WITHOUT ROWID""")


def m007_approvals(db: Database) -> None:
    db.execute("""
        CREATE TABLE approvals (
            id TEXT PRIMARY KEY NOT NULL,
            agent TEXT NOT NULL,
            token TEXT,
            session TEXT NOT NULL,
            method TEXT NOT NULL,
            tool TEXT NOT NULL,
            server TEXT NOT NULL,
            params TEXT NOT NULL,
            sealed TEXT NOT NULL,
            digest BLOB NOT NULL CHECK (length(digest) = 32),
            definition BLOB NOT NULL CHECK (length(definition) = 32),
            rule TEXT NOT NULL,
            asked INTEGER NOT NULL,
            until INTEGER NOT NULL,
            state TEXT NOT NULL
                CHECK (state IN ('pending', 'approved', 'denied', 'used', 'expired', 'withdrawn', 'void')),
            decided INTEGER,
            decider TEXT,
            reason TEXT,
            used INTEGER,
            call TEXT,
            round INTEGER NOT NULL DEFAULT 0,
            outcome TEXT
        ) STRICT""")
    db.execute("CREATE INDEX approvals_of_call ON approvals (digest, asked)")
    db.execute("CREATE INDEX approvals_open ON approvals (agent) WHERE state IN ('pending', 'approved')")
    db.execute("CREATE INDEX approvals_with_outcome ON approvals (used) WHERE outcome IS NOT NULL")


def m008_audit(db: Database) -> None:
    db.execute("ALTER TABLE calls ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1")
    db.execute("ALTER TABLE calls ADD COLUMN seq INTEGER")
    # No index but the number (and of a few): entries are added at the end, and read in order.
    db.execute("""
        CREATE TABLE audit (
            seq INTEGER PRIMARY KEY NOT NULL,
            at INTEGER NOT NULL,
            kind TEXT NOT NULL,
            subject TEXT NOT NULL,
            body TEXT,
            payload BLOB,
            digest BLOB NOT NULL CHECK (length(digest) = 32),
            previous BLOB NOT NULL CHECK (length(previous) = 32),
            hash BLOB NOT NULL CHECK (length(hash) = 32)
        ) STRICT""")
    db.execute("""
        CREATE TABLE checkpoints (
            seq INTEGER PRIMARY KEY NOT NULL,
            at INTEGER NOT NULL,
            hash BLOB NOT NULL CHECK (length(hash) = 32),
            key TEXT NOT NULL,
            signature BLOB NOT NULL
        ) STRICT""")
    db.execute("CREATE INDEX audit_retention ON audit (seq) WHERE kind = 'retention'")
    audit.begin(db.conn)


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
)

NAMES = tuple(change.__name__ for change in _CHANGES)
