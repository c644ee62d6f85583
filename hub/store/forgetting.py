"""Deletes what a session holds, so that it is gone from the files as well. Plain functions of a connection.

What stays is what the audit's chain is made of: that there was a session of an agent, and of each of its
calls who, what, when, how large and with what outcome. The chain says that this was deleted, and by whom.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, NamedTuple

from hub.store import audit, results
from hub.store.connection import BUSY_SECONDS

__all__ = ["Forgotten", "forget_result", "forget_session", "truncate_log"]


class Forgotten(NamedTuple):
    """How many of each."""

    calls: int
    """Whose params, results and errors are gone; their rows stay."""
    parts: int
    results: int
    notes: int
    memory: int
    shares: int
    approvals: int
    """Whose params are gone."""


_CALLS: Final = "SELECT id FROM calls WHERE session = ?1"
_DELETED: Final = (
    ("parts", f"DELETE FROM parts WHERE call IN ({_CALLS})"),
    ("results", "DELETE FROM results WHERE session = ?1"),
    ("notes", "DELETE FROM notes WHERE session = ?1"),
    ("memory", "DELETE FROM memory WHERE scope = 'session' AND owner = ?1"),
    ("shares", "DELETE FROM shares WHERE session = ?1"),
)
_DELETED_ALONG: Final = (
    f"DELETE FROM result_uses WHERE call IN ({_CALLS})",
    "DELETE FROM leases WHERE scope = 'session' AND owner = ?1",
    "DELETE FROM updates WHERE session = ?1",
    "UPDATE sessions SET goes_on = NULL WHERE goes_on = ?1",
)


def forget_session(
    connection: sqlite3.Connection, session: str, now: int, said: dict[str, str | int], by: str
) -> Forgotten:
    """Delete all that a session holds; closes it. To be called in a transaction.

    Args:
        said: What retention has said so far: its own entries say all of it anew.
        by: Who wants it: for the chain.
    """
    # What is freed is overwritten: else it stays in the file until something else needs the room.
    connection.execute("PRAGMA secure_delete = ON")
    try:
        seq, _ = audit.head(connection)
        counts = {name: connection.execute(statement, (session,)).rowcount for name, statement in _DELETED}
        for statement in _DELETED_ALONG:
            connection.execute(statement, (session,))
        calls = connection.execute(
            "UPDATE calls SET params = NULL, result = NULL, error = NULL WHERE session = ?1 "
            "AND (params IS NOT NULL OR result IS NOT NULL OR error IS NOT NULL)",
            (session,),
        ).rowcount
        if counts["memory"]:
            # The words of what is deleted stay in their index until it is merged.
            connection.execute("INSERT INTO memory_words (memory_words) VALUES ('optimize')")
        # The key stays, so that what was done is not done again; what came of it is gone.
        connection.execute(f"UPDATE repeatable SET result = NULL WHERE call IN ({_CALLS})", (session,))
        approvals = connection.execute(
            "UPDATE approvals SET params = '{}', sealed = '', outcome = NULL "
            "WHERE session = ?1 AND params <> '{}'",
            (session,),
        ).rowcount
        connection.execute(
            "UPDATE sessions SET client = '{}', capabilities = '{}', name = NULL, labels = NULL, "
            "goal = NULL, closed = coalesce(closed, ?2) WHERE id = ?1",
            (session, now),
        )
        said = {**said, "session": session, "through": seq, "by": by}
        audit.note(connection, now, "retention", session, said)
    finally:
        connection.execute("PRAGMA secure_delete = OFF")
    return Forgotten(calls, approvals=approvals, **counts)


def forget_result(connection: sqlite3.Connection, id: str, now: int, said: dict[str, str | int]) -> None:
    """Delete one stored result. To be called in a transaction.

    Args:
        said: What the chain says of it, and of who wants it.
    """
    connection.execute("PRAGMA secure_delete = ON")
    try:
        results.delete(connection, id)
        audit.note(connection, now, "result.deleted", id, said)
    finally:
        connection.execute("PRAGMA secure_delete = OFF")


def truncate_log(path: Path) -> bool:
    """Empty the database's write-ahead log, which holds pages as they were; whether that was possible."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.Error:
        return False
    finally:
        connection.close()
    return not busy
