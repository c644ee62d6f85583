"""What agents keep under keys of their own: with who put it there, when and in which call.

Plain functions of a connection.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

__all__ = [
    "BYTES_MAX",
    "KEYS_MAX",
    "MemoryRow",
    "Owner",
    "Scope",
    "delete_old",
    "forget",
    "get",
    "newest",
    "put",
    "search",
]

Scope = Literal["session", "agent", "shared"]
Owner = tuple[Scope, str]
"""The scope, and whose: a session's id, an agent's name, `""`."""

KEYS_MAX: Final = 5_000
BYTES_MAX: Final = 8 * 1024 * 1024
"""Of one owner."""

_FOUND_MAX: Final = 500
"""How many of those that match are weighed: the newest."""
_WORDS_MAX: Final = 16
_words = re.compile(r"\w+")


class MemoryRow(NamedTuple):
    scope: Scope
    owner: str
    key: str
    value: str
    """JSON."""
    bytes: int
    """Of key and value."""
    agent: str
    """Who put it there last; so the next three."""
    session: str
    call: str
    at: int
    until: int | None
    """When it is forgotten by itself."""


_COLUMNS = ", ".join(MemoryRow._fields)
_LIVE = "(until IS NULL OR until > ?)"


def put(connection: sqlite3.Connection, row: MemoryRow) -> str | None:
    """Keep it, over what is there under that key; what is too many or too much, if anything is."""
    connection.execute("DELETE FROM memory WHERE until <= ?", (row.at,))
    count, size = connection.execute(
        "SELECT count(*), coalesce(sum(bytes), 0) FROM memory WHERE scope = ? AND owner = ? AND key <> ?",
        (row.scope, row.owner, row.key),
    ).fetchone()
    if count >= KEYS_MAX:
        return f"there are {KEYS_MAX} keys already"
    if size + row.bytes > BYTES_MAX:
        return f"all of it together is at most {BYTES_MAX} bytes"
    changes = ", ".join(f"{name} = excluded.{name}" for name in MemoryRow._fields[3:])
    connection.execute(
        f"INSERT INTO memory ({_COLUMNS}) VALUES ({', '.join('?' * len(row))}) "
        f"ON CONFLICT (scope, owner, key) DO UPDATE SET {changes}",
        row,
    )
    return None


def get(connection: sqlite3.Connection, owner: Owner, key: str, now: int) -> MemoryRow | None:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM memory WHERE scope = ? AND owner = ? AND key = ? AND {_LIVE}",
        (*owner, key, now),
    ).fetchone()
    return None if row is None else MemoryRow(*row)


def delete_old(connection: sqlite3.Connection, before: int) -> int:
    """Forget some of what was last put before a moment, in milliseconds; how many."""
    return connection.execute(
        "DELETE FROM memory WHERE id IN (SELECT id FROM memory WHERE at < ? LIMIT ?)", (before, _FOUND_MAX)
    ).rowcount


def forget(connection: sqlite3.Connection, owner: Owner, key: str) -> bool:
    """Whether there was such a key."""
    found = connection.execute("DELETE FROM memory WHERE scope = ? AND owner = ? AND key = ?", (*owner, key))
    return found.rowcount == 1


def newest(connection: sqlite3.Connection, owners: Sequence[Owner], now: int, limit: int) -> list[MemoryRow]:
    """All there is of these owners, the newest first."""
    where, values = _of(owners)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM memory WHERE {where} AND {_LIVE} ORDER BY at DESC, id DESC LIMIT ?",
        (*values, now, limit),
    )
    return [MemoryRow(*row) for row in rows]


def search(
    connection: sqlite3.Connection, owners: Sequence[Owner], query: str, now: int, limit: int
) -> list[MemoryRow]:
    """Where a word of `query` begins a word of the key or value: those with most of its words first, then the
    newest.

    (Not by what the index says of how rare a word is: that would depend on what others keep.)
    """
    words = list(dict.fromkeys(word.lower() for word in _words.findall(query)))[:_WORDS_MAX]
    if not words:
        return []
    where, values = _of(owners)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM memory "
        "WHERE id IN (SELECT rowid FROM memory_words WHERE memory_words MATCH ?) "
        f"AND {where} AND {_LIVE} ORDER BY at DESC, id DESC LIMIT ?",
        (" OR ".join(f'"{word}"*' for word in words), *values, now, _FOUND_MAX),
    )
    found = [MemoryRow(*row) for row in rows]
    found.sort(key=lambda row: -_count(words, row))
    return found[:limit]


def _count(words: Iterable[str], row: MemoryRow) -> int:
    there = set(_words.findall(f"{row.key} {row.value}".lower()))
    return sum(any(each.startswith(word) for each in there) for word in words)


def _of(owners: Sequence[Owner]) -> tuple[str, list[str]]:
    pairs = " OR ".join(["(scope = ? AND owner = ?)"] * len(owners))
    return f"({pairs or 'FALSE'})", [part for owner in owners for part in owner]
