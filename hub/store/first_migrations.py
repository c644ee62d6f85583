"""The first changes of the database's shape; the later ones are in `migrations.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.store import audit

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = [
    "m001_first",
    "m002_log_level",
    "m004_tokens_that_end",
    "m006_usage",
    "m007_approvals",
    "m008_audit",
]


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
