"""What was used of limits that count in calendar periods. Plain functions of a connection.

A row is never less than what was used in truth: a running hub writes ahead, and the exact number
only when it ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["UsageRow", "current", "save", "settle"]


class UsageRow(NamedTuple):
    meter: str
    """Whose: as `hub/allowances.py` writes it."""
    measure: str
    """`calls`, `bytes`, or `cost` (in millionths)."""
    period: int
    """Which kind of period, as its seconds."""
    start: int
    """When this period began, in milliseconds."""
    until: int
    used: int


_COLUMNS = ", ".join(UsageRow._fields)


def save(connection: sqlite3.Connection, rows: Sequence[UsageRow]) -> None:
    """Lay them over what is there."""
    connection.executemany(
        f"INSERT INTO usage ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (meter, measure, period) DO UPDATE SET "
        "start = excluded.start, until = excluded.until, used = excluded.used",
        rows,
    )


def current(connection: sqlite3.Connection, now: int) -> list[UsageRow]:
    """Of all periods that have not ended."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM usage WHERE until > ?", (now,))
    return [UsageRow(*row) for row in rows]


def settle(connection: sqlite3.Connection, rows: Sequence[UsageRow], now: int) -> None:
    """The same, and drop what periods that have ended left."""
    save(connection, rows)
    connection.execute("DELETE FROM usage WHERE until <= ?", (now,))
