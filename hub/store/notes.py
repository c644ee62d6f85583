"""What an agent wrote down in a session. Plain functions of a connection."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

__all__ = ["NOTES_MAX", "NoteRow", "add", "list_notes"]

NOTES_MAX = 500
"""Of one session."""


class NoteRow(NamedTuple):
    session: str
    at: int
    call: str
    """Which wrote it."""
    text: str | None
    pin: str | None
    """The id of a result, or of a call, that is to be kept in sight."""


_COLUMNS = ", ".join(NoteRow._fields)


def add(connection: sqlite3.Connection, row: NoteRow) -> bool:
    """Whether there was room. What is pinned already is not pinned twice."""
    (count,) = connection.execute("SELECT count(*) FROM notes WHERE session = ?", (row.session,)).fetchone()
    if count >= NOTES_MAX:
        return False
    pinned = connection.execute(
        "SELECT 1 FROM notes WHERE session = ? AND pin = ? AND text IS ?", (row.session, row.pin, row.text)
    ).fetchone()
    if row.pin is None or pinned is None:
        connection.execute(f"INSERT INTO notes ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)", row)
    return True


def list_notes(connection: sqlite3.Connection, session: str) -> list[NoteRow]:
    """The oldest first."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM notes WHERE session = ? ORDER BY id", (session,))
    return [NoteRow(*row) for row in rows]
