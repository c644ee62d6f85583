"""Servers: what each said of itself when it was last asked, so that a new hub knows it before it runs."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

__all__ = ["ServerRow", "forget", "list_servers", "save"]


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


def save(connection: sqlite3.Connection, row: ServerRow) -> None:
    """In place of what was known of that server."""
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT OR REPLACE INTO servers ({_COLUMNS}) VALUES ({marks})", row)


def forget(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM servers WHERE name = ?", (name,))


def list_servers(connection: sqlite3.Connection) -> list[ServerRow]:
    """All, by name."""
    return [ServerRow(*row) for row in connection.execute(f"SELECT {_COLUMNS} FROM servers ORDER BY name")]
