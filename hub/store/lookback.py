"""All that a session holds: for export, for a cassette, for its deletion. Plain functions of a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from hub.store.approvals import ApprovalRow
from hub.store.calls import CallRow
from hub.store.memory import MemoryRow
from hub.store.notes import NoteRow, list_notes

__all__ = [
    "answered_by",
    "approvals_of",
    "asked_by",
    "held",
    "memory_of",
    "notes_of",
    "results_of",
    "session_calls",
    "task_calls",
    "under_way",
]

ROUNDS_MAX: Final = 100

_COLUMNS = ", ".join(CallRow._fields)


def session_calls(connection: sqlite3.Connection, session: str) -> Iterator[CallRow]:
    """All of its calls, whole, in the order in which they began; one at a time."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM calls WHERE session = ? ORDER BY id", (session,))
    return (CallRow(*row) for row in rows)


def under_way(connection: sqlite3.Connection, session: str) -> int:
    """How many of its calls may still change something, and approvals of it that are open."""
    found = connection.execute(
        "SELECT (SELECT count(*) FROM calls WHERE session = ?1 AND state = 'intended') + "
        "(SELECT count(*) FROM approvals WHERE session = ?1 AND state IN ('pending', 'approved'))",
        (session,),
    ).fetchone()
    return int(found[0])


def held(connection: sqlite3.Connection, session: str) -> dict[str, int]:
    """How much of each there is of a session."""
    found = connection.execute(
        "SELECT (SELECT count(*) FROM calls WHERE session = ?1), "
        "(SELECT count(*) FROM calls WHERE session = ?1 AND (params IS NOT NULL OR result IS NOT NULL)), "
        "(SELECT coalesce(sum(length(params) + coalesce(length(result), 0)), 0) "
        "FROM calls WHERE session = ?1), "
        "(SELECT count(*) FROM results WHERE session = ?1), "
        "(SELECT coalesce(sum(size_bytes), 0) FROM results WHERE session = ?1), "
        "(SELECT count(*) FROM notes WHERE session = ?1), "
        "(SELECT count(*) FROM memory WHERE scope = 'session' AND owner = ?1)",
        (session,),
    ).fetchone()
    names = ("calls", "payloads", "payload_bytes", "results", "result_bytes", "notes", "memory")
    return dict(zip(names, found, strict=True))


def notes_of(connection: sqlite3.Connection, session: str) -> Iterator[NoteRow]:
    return iter(list_notes(connection, session))


def memory_of(connection: sqlite3.Connection, session: str) -> Iterator[MemoryRow]:
    """What it keeps for itself alone."""
    columns = ", ".join(MemoryRow._fields)
    rows = connection.execute(
        f"SELECT {columns} FROM memory WHERE scope = 'session' AND owner = ? ORDER BY id", (session,)
    )
    return (MemoryRow(*row) for row in rows)


def results_of(connection: sqlite3.Connection, session: str) -> Iterator[tuple[str, str, str, int, int, str]]:
    """Of each stored result: id, call, tool, when it was made, its bytes, and its text."""
    rows = connection.execute(
        "SELECT id, call, tool, created, size_bytes FROM results WHERE session = ? ORDER BY created, id",
        (session,),
    )
    for row in rows:
        parts = connection.execute("SELECT text FROM result_parts WHERE result = ? ORDER BY start", (row[0],))
        yield *row, "".join(text for (text,) in parts)


def asked_by(connection: sqlite3.Connection, session: str, state: str) -> CallRow | None:
    """The call of a session whose answer was a question with this `requestState`."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM calls WHERE session = ? AND kind = 'input_required' "
        "AND json_valid(result) AND result ->> '$.requestState' = ? ORDER BY id LIMIT 1",
        (session, state),
    ).fetchone()
    return None if row is None else CallRow(*row)


def answered_by(connection: sqlite3.Connection, session: str, state: str) -> list[CallRow]:
    """The calls of a session that came back with this `requestState`."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM calls WHERE session = ? AND json_valid(params) "
        "AND params ->> '$.requestState' = ? ORDER BY id LIMIT ?",
        (session, state, ROUNDS_MAX),
    )
    return [CallRow(*row) for row in rows]


def task_calls(connection: sqlite3.Connection, session: str, task: str) -> list[CallRow]:
    """What was asked of a task."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM calls WHERE session = ? AND method LIKE 'tasks/%' AND json_valid(params) "
        "AND params ->> '$.taskId' = ? ORDER BY id LIMIT ?",
        (session, task, ROUNDS_MAX),
    )
    return [CallRow(*row) for row in rows]


def approvals_of(connection: sqlite3.Connection, call: str) -> list[ApprovalRow]:
    """Those that a call was let through by."""
    columns = ", ".join(ApprovalRow._fields)
    rows = connection.execute(f"SELECT {columns} FROM approvals WHERE call = ? ORDER BY asked", (call,))
    return [ApprovalRow(*row) for row in rows]
