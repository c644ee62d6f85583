"""What happened within a call besides its question and its answer; and between calls. Of a connection.

Most calls have none of it. A row may be there before its call's: neither waits for the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

__all__ = [
    "PartKind",
    "PartRow",
    "UpdateRow",
    "delete_updates",
    "insert_parts",
    "insert_updates",
    "parts_of",
    "updates_of",
]

UPDATES_MAX: Final = 1000
"""How many updates are kept of a session: the first ones."""

PartKind = Literal["sent", "notified", "more"]
"""`sent`: what the server was sent, where the hub filled something in. `notified`: what the server told
meanwhile. `more`: from here on nothing more was kept."""


class PartRow(NamedTuple):
    call: str
    number: int
    """0, 1, 2 ... of one call."""
    at: int
    kind: PartKind
    method: str
    params: str
    """JSON, redacted."""


class UpdateRow(NamedTuple):
    """A server said that a resource, which the session watched, was another one from then on."""

    session: str
    at: int
    server: str
    uri: str
    """By the server's own name, redacted."""


_COLUMNS: Final = ", ".join(PartRow._fields)


def insert_parts(connection: sqlite3.Connection, rows: Sequence[PartRow]) -> None:
    connection.executemany(f"INSERT OR REPLACE INTO parts ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", rows)


def parts_of(connection: sqlite3.Connection, calls: Iterable[str]) -> list[PartRow]:
    """Of these calls, each call's in order."""
    found: list[PartRow] = []
    for call in calls:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM parts WHERE call = ? ORDER BY number", (call,))
        found.extend(PartRow(*row) for row in rows)
    return found


def insert_updates(connection: sqlite3.Connection, rows: Sequence[UpdateRow]) -> None:
    for row in rows:
        connection.execute(
            "INSERT OR IGNORE INTO updates (session, at, server, uri) SELECT ?1, ?2, ?3, ?4 "
            "WHERE (SELECT count(*) FROM updates WHERE session = ?1) < ?5",
            (*row, UPDATES_MAX),
        )


def delete_updates(connection: sqlite3.Connection, before: int) -> int:
    """Forget some that were earlier; how many."""
    return connection.execute(
        "DELETE FROM updates WHERE (session, at) IN (SELECT session, at FROM updates WHERE at < ? LIMIT ?)",
        (before, UPDATES_MAX),
    ).rowcount


def updates_of(connection: sqlite3.Connection, session: str) -> list[UpdateRow]:
    """In order."""
    rows = connection.execute(
        "SELECT session, at, server, uri FROM updates WHERE session = ? ORDER BY at", (session,)
    )
    return [UpdateRow(*row) for row in rows]
