"""Pins: how each tool of each server was defined when it was found fit, and how it changed since.

Plain functions of a connection. All that is pinned of a server is of one way to reach it: who changes that
in the manifest begins anew. What is noted goes into the audit's chain, in the same transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hub.store import audit

__all__ = ["Look", "Note", "PinRow", "approve", "keep", "list_pins", "list_servers", "texts"]


class PinRow(NamedTuple):
    server: str
    tool: str
    """By its server's own name."""
    digest: bytes | None
    """Of the definition that is served; `None` of a tool that is new, and never was."""
    seen: bytes | None
    """Of another one that was offered since, and when first."""
    seen_at: int | None


class Note(NamedTuple):
    """One event for the audit."""

    kind: str
    subject: str
    said: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """What came of a look at a server's tools."""

    server: str
    fingerprint: str
    at: int
    anew: bool = False
    """Whether nothing that was pinned before counts."""
    pinned: Sequence[tuple[str, bytes, str]] = ()
    """`(tool, digest, definition)`: served from now on."""
    seen: Sequence[tuple[str, bytes]] = ()
    """`(tool, digest)`: kept back."""
    forgotten: Sequence[str] = ()
    notes: Sequence[Note] = ()


def keep(connection: sqlite3.Connection, look: Look) -> None:
    if look.anew:
        connection.execute("DELETE FROM pins WHERE server = ?", (look.server,))
        connection.execute(
            "INSERT OR REPLACE INTO pinned_servers VALUES (?, ?, ?)", (look.server, look.fingerprint, look.at)
        )
    connection.executemany(
        "INSERT OR REPLACE INTO pins (server, tool, digest, definition, at) VALUES (?, ?, ?, ?, ?)",
        [(look.server, tool, digest, definition, look.at) for tool, digest, definition in look.pinned],
    )
    connection.executemany(
        "INSERT INTO pins (server, tool, at, seen, seen_at) VALUES (?1, ?2, ?4, ?3, ?4) "
        "ON CONFLICT (server, tool) DO UPDATE SET seen = ?3, seen_at = ?4",
        [(look.server, tool, digest, look.at) for tool, digest in look.seen],
    )
    connection.executemany(
        "DELETE FROM pins WHERE server = ? AND tool = ?", [(look.server, tool) for tool in look.forgotten]
    )
    for note in look.notes:
        audit.note(connection, look.at, note.kind, note.subject, note.said)


def approve(connection: sqlite3.Connection, look: Look, by: str) -> None:
    """Serve what `look` has pinned from now on, as this user of the operating system said."""
    keep(connection, look)
    connection.executemany(
        "UPDATE pins SET by = ? WHERE server = ? AND tool = ?",
        [(by, look.server, tool) for tool, _, _ in look.pinned],
    )


def list_servers(connection: sqlite3.Connection) -> dict[str, str]:
    """The fingerprint of each server's `connect` that its pins are of."""
    return dict(connection.execute("SELECT server, fingerprint FROM pinned_servers"))


def list_pins(connection: sqlite3.Connection) -> list[PinRow]:
    """All, by server, without their texts."""
    rows = connection.execute(f"SELECT {', '.join(PinRow._fields)} FROM pins ORDER BY server, tool")
    return [PinRow(*row) for row in rows]


def texts(connection: sqlite3.Connection, tools: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The pinned definitions, as JSON, of those of these `(server, tool)` that have one."""
    found = {}
    for server, tool in tools:
        row = connection.execute(
            "SELECT definition FROM pins WHERE server = ? AND tool = ?", (server, tool)
        ).fetchone()
        if row is not None and row[0] is not None:
            found[server, tool] = row[0]
    return found
