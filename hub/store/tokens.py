"""Tokens: which secrets prove which agent. Only SHA-256 hashes are kept. Plain functions of a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["TokenRow", "add", "add_alone", "list_tokens", "live", "mark_used", "revoke", "revoke_all"]


class TokenRow(NamedTuple):
    id: str
    agent: str
    created: int
    used: int | None
    """To the minute; `None` where it never was."""
    revoked: int | None


def add(connection: sqlite3.Connection, id: str, agent: str, hash: bytes, created: int) -> None:
    connection.execute(
        "INSERT INTO tokens (id, agent, hash, created) VALUES (?, ?, ?, ?)", (id, agent, hash, created)
    )


def add_alone(connection: sqlite3.Connection, id: str, agent: str, hash: bytes, created: int) -> None:
    """The same, and all others of the agent are revoked."""
    revoke_all(connection, agent, created)
    add(connection, id, agent, hash, created)


def live(connection: sqlite3.Connection) -> list[tuple[str, str, bytes]]:
    """`(id, agent, hash)` of every token that is not revoked."""
    return connection.execute("SELECT id, agent, hash FROM tokens WHERE revoked IS NULL").fetchall()


def revoke(connection: sqlite3.Connection, id: str, when: int) -> bool:
    """Whether there was such a token that was not revoked yet."""
    cursor = connection.execute("UPDATE tokens SET revoked = ? WHERE id = ? AND revoked IS NULL", (when, id))
    return cursor.rowcount > 0


def revoke_all(connection: sqlite3.Connection, agent: str, when: int) -> int:
    """All of an agent's; how many there were."""
    return connection.execute(
        "UPDATE tokens SET revoked = ? WHERE agent = ? AND revoked IS NULL", (when, agent)
    ).rowcount


def mark_used(connection: sqlite3.Connection, ids: Iterable[str], when: int) -> None:
    connection.executemany("UPDATE tokens SET used = ? WHERE id = ?", [(when, id) for id in ids])


def list_tokens(connection: sqlite3.Connection, agent: str | None = None) -> list[TokenRow]:
    """The newest first, revoked ones too."""
    rows = connection.execute(
        "SELECT id, agent, created, used, revoked FROM tokens WHERE ?1 IS NULL OR agent = ?1 "
        "ORDER BY created DESC, id DESC",
        (agent,),
    )
    return [TokenRow(*row) for row in rows]
