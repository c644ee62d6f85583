"""Keys that agents gave to calls, so that none is made twice. Plain functions of a connection."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

__all__ = ["Claim", "claim", "find", "free", "keep", "pass_on"]


class Claim(NamedTuple):
    owner: str
    """Whose key it is."""
    key: str
    digest: bytes
    """SHA-256 of what is called with which arguments."""
    tool: str
    call: str
    """The call that was made with it."""
    at: int
    result: bytes | None = None
    """JSON: what came of it, where that is known and not too long."""


_COLUMNS = ", ".join(Claim._fields)


def find(connection: sqlite3.Connection, owner: str, key: str, since: int) -> Claim | None:
    """Not older than `since`."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM repeatable WHERE owner = ? AND key = ? AND at >= ?", (owner, key, since)
    ).fetchone()
    return None if row is None else Claim(*row)


def claim(connection: sqlite3.Connection, new: Claim, since: int) -> None:
    """From now on the key is that call's; what is older than `since` is forgotten."""
    connection.execute("DELETE FROM repeatable WHERE at < ?", (since,))
    connection.execute(f"INSERT OR REPLACE INTO repeatable ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", new)


def pass_on(connection: sqlite3.Connection, owner: str, key: str, call: str) -> None:
    """The next round of the same call has another id; what is kept of the last one is so until it is over."""
    connection.execute("UPDATE repeatable SET call = ? WHERE owner = ? AND key = ?", (call, owner, key))


def keep(connection: sqlite3.Connection, owner: str, key: str, call: str, result: bytes | None) -> None:
    connection.execute(
        "UPDATE repeatable SET result = ? WHERE owner = ? AND key = ? AND call = ?",
        (result, owner, key, call),
    )


def free(connection: sqlite3.Connection, owner: str, key: str, call: str) -> None:
    """The call was not made after all."""
    connection.execute("DELETE FROM repeatable WHERE owner = ? AND key = ? AND call = ?", (owner, key, call))
