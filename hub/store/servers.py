"""Servers: what each said of itself when it was last asked, so that a new hub knows it before it runs.

And what it said before that, so that a session of then can be played as it was.
"""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

__all__ = ["ServerRow", "forget", "known_since", "list_servers", "save"]

BEFORE_MAX: Final = 100
"""How many times it is remembered of a server what it said before."""
_BEFORE_LENGTH_MAX: Final = 16 * 1024**2
"""And how much that may be, together, in characters."""


class ServerRow(NamedTuple):
    name: str
    fingerprint: str
    """Of the manifest's `connect`: what was learnt from another one does not count."""
    version: str
    """Of the protocol, as agreed on."""
    info: str
    """JSON: its `serverInfo`."""
    capabilities: str
    """JSON."""
    instructions: str | None
    definitions: str
    """JSON: an object with a list of raw definitions for each kind."""
    learnt_at: int


_COLUMNS = ", ".join(ServerRow._fields)
_OURS: Final = frozenset({"name", "fingerprint", "learnt_at"})
_SAID: Final = tuple(index for index, field in enumerate(ServerRow._fields) if field not in _OURS)
"""Of its columns, those that are the server's own words."""


def save(connection: sqlite3.Connection, row: ServerRow) -> None:
    """In place of what was known of that server."""
    known = connection.execute(f"SELECT {_COLUMNS} FROM servers WHERE name = ?", (row.name,)).fetchone()
    if known is not None and any(known[index] != row[index] for index in _SAID):
        _remember(connection, ServerRow(*known), row.learnt_at)
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT OR REPLACE INTO servers ({_COLUMNS}) VALUES ({marks})", row)


def _remember(connection: sqlite3.Connection, row: ServerRow, until: int) -> None:
    marks = ", ".join("?" * (len(row) + 1))
    connection.execute(
        f"INSERT OR REPLACE INTO servers_before (until, {_COLUMNS}) VALUES ({marks})", (until, *row)
    )
    connection.execute(
        "DELETE FROM servers_before WHERE name = ?1 AND until IN (SELECT until FROM (SELECT until, "
        "row_number() OVER newest AS number, sum(length(definitions)) OVER newest AS so_far "
        "FROM servers_before WHERE name = ?1 WINDOW newest AS (ORDER BY until DESC)) "
        "WHERE number > ?2 OR so_far > ?3)",
        (row.name, BEFORE_MAX, _BEFORE_LENGTH_MAX),
    )


def known_since(connection: sqlite3.Connection, name: str, moment: int) -> list[tuple[int, ServerRow]]:
    """What was known of a server at a moment, and whatever took its place until now; each with since when.

    The first is since 0, whenever that was learnt. Of a moment too long ago, it is the oldest that there is.
    """
    rows = connection.execute(
        f"SELECT until, {_COLUMNS} FROM servers_before WHERE name = ? AND until > ? ORDER BY until",
        (name, moment),
    )
    found: list[tuple[int, ServerRow]] = []
    since = 0
    for until, *row in rows:
        found.append((since, ServerRow(*row)))
        since = until
    now = connection.execute(f"SELECT {_COLUMNS} FROM servers WHERE name = ?", (name,)).fetchone()
    return found if now is None else [*found, (since, ServerRow(*now))]


def forget(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM servers WHERE name = ?", (name,))


def list_servers(connection: sqlite3.Connection) -> list[ServerRow]:
    """All, by name."""
    return [ServerRow(*row) for row in connection.execute(f"SELECT {_COLUMNS} FROM servers ORDER BY name")]
