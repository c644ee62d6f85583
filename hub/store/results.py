"""Results that agents have a handle of: what they say, in pieces, and where in it what lies.

Plain functions of a connection. A result is written in several transactions, so that none is long; it is
there once the last of them says so. What a session's results hold goes with the session.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from hub.store import audit

__all__ = [
    "PART_LENGTH",
    "ResultRow",
    "Use",
    "add_parts",
    "begin",
    "delete",
    "delete_unfinished",
    "delete_until",
    "finish",
    "get_result",
    "list_results",
    "note_uses",
    "same",
    "text",
    "trim",
    "uses_of",
]

PART_LENGTH: Final = 65_536
"""Characters of one piece."""


class ResultRow(NamedTuple):
    id: str
    agent: str
    reach: str
    """How much the token that it was got with is good for (`hub.sessions.reach_of`)."""
    session: str
    call: str
    """The call that it is the result of."""
    server: str
    tool: str
    """The name there of what was called."""
    name: str
    """What its agent called that by."""
    labels: str
    """JSON: the servers and tags that what it says comes from."""
    created: int
    length: int
    """Of its text, in characters."""
    size_bytes: int
    """The same in UTF-8."""
    digest: bytes
    outline: bytes
    """JSON (`hub.results.outline`); `null` of a text that is no JSON."""
    complete: int = 0

    @property
    def is_text(self) -> bool:
        return self.outline == b"null"


class Use(NamedTuple):
    """One place of a result that was filled into a call."""

    call: str
    result: str
    pointer: str
    place: str
    """Where in the call's arguments."""
    size_bytes: int
    digest: bytes
    """SHA-256 of what was filled in, as compact JSON."""
    labels: str


_COLUMNS: Final = ", ".join(ResultRow._fields)
_BRIEF: Final = ", ".join("x''" if name == "outline" else name for name in ResultRow._fields)
_MARKS: Final = ", ".join("?" * len(ResultRow._fields))
_USE_COLUMNS: Final = ", ".join(Use._fields)


def begin(connection: sqlite3.Connection, row: ResultRow) -> None:
    connection.execute(f"INSERT INTO results ({_COLUMNS}) VALUES ({_MARKS})", row)


def add_parts(connection: sqlite3.Connection, id: str, parts: Sequence[tuple[int, str]]) -> None:
    """
    Args:
        parts: Where in the text each begins, and what it says; all but the last of `PART_LENGTH`.
    """
    rows = [(id, start, text) for start, text in parts]
    connection.executemany("INSERT INTO result_parts (result, start, text) VALUES (?, ?, ?)", rows)


def finish(connection: sqlite3.Connection, id: str, bytes_max: int) -> None:
    """From now on it is there; the oldest of its agent's go, as far as they are more than that together."""
    connection.execute("UPDATE results SET complete = 1 WHERE id = ?", (id,))
    trim(connection, id, bytes_max)


def trim(connection: sqlite3.Connection, id: str, bytes_max: int) -> None:
    """Keep the newest of the agent that has `id`, and that one in any case."""
    connection.execute(
        "DELETE FROM results WHERE id IN (SELECT id FROM (SELECT id, complete, "
        "sum(size_bytes) OVER (ORDER BY created DESC, id DESC) AS so_far "
        "FROM results WHERE agent = (SELECT agent FROM results WHERE id = ?1)) "
        "WHERE so_far > ?2 AND complete AND id <> ?1)",
        (id, bytes_max),
    )


def same(connection: sqlite3.Connection, like: ResultRow) -> ResultRow | None:
    """One that says the same to the same agent, of the same tool and session: now as new as `like`."""
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM results WHERE session = ? AND digest = ? AND complete "
        "AND (agent, reach, server, tool, labels) = (?, ?, ?, ?, ?) LIMIT 1",
        (like.session, like.digest, like.agent, like.reach, like.server, like.tool, like.labels),
    ).fetchone()
    if found is None:
        return None
    row = ResultRow(*found)
    connection.execute("UPDATE results SET created = ? WHERE id = ?", (like.created, row.id))
    return row


def get_result(connection: sqlite3.Connection, id: str) -> ResultRow | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM results WHERE id = ? AND complete", (id,)).fetchone()
    return None if row is None else ResultRow(*row)


def list_results(
    connection: sqlite3.Connection, *, agent: str | None = None, session: str | None = None, limit: int = 50
) -> list[ResultRow]:
    """The newest first, without `outline`."""
    rows = connection.execute(
        f"SELECT {_BRIEF} FROM results WHERE (?1 IS NULL OR agent = ?1) AND (?2 IS NULL OR session = ?2) "
        "AND complete ORDER BY created DESC, id DESC LIMIT ?3",
        (agent, session, max(1, min(limit, 1000))),
    )
    return [ResultRow(*row) for row in rows]


def text(connection: sqlite3.Connection, id: str, start: int, end: int) -> str:
    """What it says from one character to another."""
    first = start // PART_LENGTH * PART_LENGTH
    found = "".join(_parts(connection, id, first, end))
    return found[start - first : end - first]


def _parts(connection: sqlite3.Connection, id: str, first: int, end: int) -> Iterator[str]:
    rows = connection.execute(
        "SELECT text FROM result_parts WHERE result = ? AND start >= ? AND start < ? ORDER BY start",
        (id, first, end),
    )
    return (part for (part,) in rows)


def delete(connection: sqlite3.Connection, id: str) -> bool:
    return connection.execute("DELETE FROM results WHERE id = ?", (id,)).rowcount == 1


def delete_until(connection: sqlite3.Connection, moment: int, most: int) -> int:
    """Some of those that are older; how many that were. A transaction is not to take long."""
    return connection.execute(
        "DELETE FROM results WHERE id IN (SELECT id FROM results WHERE created < ? ORDER BY created LIMIT ?)",
        (moment, most),
    ).rowcount


def delete_unfinished(connection: sqlite3.Connection) -> int:
    """What a hub that ended had begun to write. To be called before anything is kept."""
    return connection.execute("DELETE FROM results WHERE NOT complete").rowcount


def note_uses(connection: sqlite3.Connection, at: int, uses: Sequence[Use]) -> None:
    """Say what of which results goes out with a call, in the chain over the record too."""
    marks = ", ".join("?" * len(Use._fields))
    connection.executemany(f"INSERT INTO result_uses ({_USE_COLUMNS}) VALUES ({marks})", uses)
    for use in uses:
        said: dict[str, Any] = {
            "result": use.result,
            "at": use.pointer,
            "into": use.place,
            "bytes": use.size_bytes,
            "sha256": use.digest.hex(),
            "labels": use.labels,
        }
        audit.note(connection, at, "result.used", use.call, said)


def uses_of(connection: sqlite3.Connection, call: str) -> list[Use]:
    rows = connection.execute(
        f"SELECT {_USE_COLUMNS} FROM result_uses WHERE call = ? ORDER BY rowid", (call,)
    )
    return [Use(*row) for row in rows]
