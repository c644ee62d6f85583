"""Sessions: the durable context that calls belong to. Plain functions of a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Literal, NamedTuple

__all__ = [
    "SessionKind",
    "SessionRow",
    "close",
    "close_all",
    "current",
    "get_session",
    "insert",
    "list_sessions",
    "set_log_level",
    "supersede",
    "touch",
]

SessionKind = Literal["legacy", "modern", "stdio", "local"]


class SessionRow(NamedTuple):
    id: str
    agent: str
    kind: SessionKind
    version: str
    """Of the protocol."""
    client: str
    """JSON: its `clientInfo`."""
    capabilities: str
    """JSON."""
    opened: int
    seen: int
    closed: int | None = None
    log_level: str | None = None
    """What a legacy client asked for, if it did."""


_COLUMNS = ", ".join(SessionRow._fields)


def insert(connection: sqlite3.Connection, row: SessionRow) -> None:
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO sessions ({_COLUMNS}) VALUES ({marks})", row)


def get_session(connection: sqlite3.Connection, id: str) -> SessionRow | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM sessions WHERE id = ?", (id,)).fetchone()
    return None if row is None else SessionRow(*row)


def current(connection: sqlite3.Connection, agent: str) -> SessionRow | None:
    """The agent's open session of the modern era; the newest, should there be several."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE agent = ? AND kind = 'modern' AND closed IS NULL "
        "ORDER BY opened DESC LIMIT 1",
        (agent,),
    ).fetchone()
    return None if row is None else SessionRow(*row)


def touch(connection: sqlite3.Connection, seen: Iterable[tuple[int, str]]) -> None:
    """`(when, id)` each; a moment before the one that is there is ignored."""
    connection.executemany("UPDATE sessions SET seen = max(seen, ?) WHERE id = ?", seen)


def close(connection: sqlite3.Connection, id: str, when: int) -> None:
    connection.execute("UPDATE sessions SET closed = ? WHERE id = ? AND closed IS NULL", (when, id))


def set_log_level(connection: sqlite3.Connection, id: str, level: str) -> None:
    connection.execute("UPDATE sessions SET log_level = ? WHERE id = ?", (level, id))


def supersede(connection: sqlite3.Connection, old: SessionRow | None, new: SessionRow) -> None:
    """Close one as another opens."""
    if old is not None:
        close(connection, old.id, new.opened)
    insert(connection, new)


def close_all(connection: sqlite3.Connection, agent: str, when: int) -> int:
    """Every open session of an agent; how many there were."""
    return connection.execute(
        "UPDATE sessions SET closed = ? WHERE agent = ? AND closed IS NULL", (when, agent)
    ).rowcount


def list_sessions(
    connection: sqlite3.Connection, *, agent: str | None = None, open_only: bool = False, limit: int = 50
) -> list[SessionRow]:
    """The newest first; at most `limit`, 1 to 1000."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE (?1 IS NULL OR agent = ?1) "
        "AND (closed IS NULL OR NOT ?2) ORDER BY opened DESC, id DESC LIMIT ?3",
        (agent, open_only, max(1, min(limit, 1000))),
    )
    return [SessionRow(*row) for row in rows]
