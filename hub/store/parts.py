"""What happened within a call besides its question and its answer. Plain functions of a connection.

Most calls have none of it. A row may be there before its call's: neither waits for the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

__all__ = ["PartKind", "PartRow", "insert_parts", "parts_of"]

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
