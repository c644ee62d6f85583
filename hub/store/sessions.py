"""Sessions: the durable context that calls belong to. Plain functions of a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from hub.errors import InvalidParams

__all__ = [
    "SessionKind",
    "SessionRow",
    "close",
    "close_all",
    "close_unused",
    "current",
    "delete_closed",
    "find_named",
    "get_session",
    "go_on",
    "insert",
    "insert_after",
    "list_named",
    "list_sessions",
    "open_named",
    "sessions_named",
    "set_goal",
    "set_labels",
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
    reach: str = ""
    """What its token was narrowed to, where it was: see `hub.sessions`."""
    name: str | None = None
    """What its agent calls it."""
    labels: str | None = None
    """JSON: what a person called it, for rules."""
    goal: str | None = None
    goes_on: str | None = None
    """The session that calls which come by this one belong to, where that is another one."""
    gone: int | None = None
    """When its client ended it, where it has gone on as a context for others since."""


NAMED_MAX: Final = 1000
"""How many sessions with a name an agent may have open."""
_BATCH: Final = 500
"""How many one transaction deletes."""
_REFERRED_TO: Final = " OR ".join(
    f"EXISTS (SELECT 1 FROM {table} WHERE {table}.{column} = old.id)"
    for table, column in (
        ("calls", "session"), ("notes", "session"), ("results", "session"), ("shares", "session"),
        ("sessions", "goes_on"),
    )
) + " OR id IN (SELECT session FROM memory)"  # fmt: skip

_COLUMNS = ", ".join(SessionRow._fields)


def insert(connection: sqlite3.Connection, row: SessionRow) -> None:
    marks = ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO sessions ({_COLUMNS}) VALUES ({marks})", row)


def get_session(connection: sqlite3.Connection, id: str) -> SessionRow | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM sessions WHERE id = ?", (id,)).fetchone()
    return None if row is None else SessionRow(*row)


def current(connection: sqlite3.Connection, agent: str, reach: str) -> SessionRow | None:
    """The agent's open session of the modern era; the newest, should there be several."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE agent = ? AND reach = ? AND kind = 'modern' "
        "AND closed IS NULL AND name IS NULL ORDER BY opened DESC LIMIT 1",
        (agent, reach),
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


def find_named(connection: sqlite3.Connection, agent: str, reach: str, name: str) -> SessionRow | None:
    """An agent's open session by what the agent calls it, else by its id."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE agent = ?1 AND reach = ?2 AND closed IS NULL "
        "AND (name = ?3 OR id = ?3) ORDER BY name IS NULL LIMIT 1",
        (agent, reach, name),
    ).fetchone()
    return None if row is None else SessionRow(*row)


def sessions_named(connection: sqlite3.Connection, name: str) -> list[SessionRow]:
    """Any agent's of that name, the newest first; some."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE name = ? ORDER BY opened DESC, id DESC LIMIT 20", (name,)
    )
    return [SessionRow(*row) for row in rows]


def list_named(
    connection: sqlite3.Connection, agent: str, reach: str, *, but: str, limit: int = 20
) -> list[SessionRow]:
    """An agent's open sessions that have a name, without one of them; the one used last first."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE agent = ? AND reach = ? AND name IS NOT NULL "
        "AND closed IS NULL AND id <> ? ORDER BY seen DESC, id DESC LIMIT ?",
        (agent, reach, but, limit),
    )
    return [SessionRow(*row) for row in rows]


def open_named(connection: sqlite3.Connection, new: SessionRow) -> SessionRow:
    """The agent's open session of that name; `new` where there is none."""
    assert new.name is not None
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE agent = ? AND reach = ? AND name = ? AND closed IS NULL",
        (new.agent, new.reach, new.name),
    ).fetchone()
    if row is not None:
        return SessionRow(*row)
    (count,) = connection.execute(
        "SELECT count(*) FROM sessions WHERE agent = ? AND name IS NOT NULL AND closed IS NULL", (new.agent,)
    ).fetchone()
    if count >= NAMED_MAX:
        raise InvalidParams(f"There are {NAMED_MAX} open sessions with a name already; close some first")
    insert(connection, new)
    return new


def insert_after(
    connection: sqlite3.Connection, new: SessionRow, since: int, left: frozenset[str] = frozenset()
) -> SessionRow | None:
    """Insert a connection's session; the one that it goes on with, if the same client's last has just ended.

    That one is open again then, though its own client cannot come back to it. Those that nobody has come
    back to since `since` are closed.

    Args:
        left: Of those that are open, the ones whose clients have gone.
    """
    whose = (new.agent, new.reach, new.kind, new.client)
    connection.execute(
        "UPDATE sessions SET closed = seen WHERE agent = ? AND reach = ? AND kind = ? AND client = ? "
        "AND gone < ? AND seen < ? AND closed IS NULL AND name IS NULL",
        (*whose, since, since),
    )
    last = connection.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE agent = ? AND reach = ? AND kind = ? AND client = ? "
        "ORDER BY coalesce(gone, closed, 9e18) DESC, opened DESC LIMIT 1",
        whose,
    ).fetchone()
    before = None if last is None else SessionRow(*last)
    ended = None if before is None else before.closed if before.gone is None else before.gone
    if before is not None and before.id in left:
        ended = before.seen
    if before is None or ended is None or min(ended, before.seen) < since:
        insert(connection, new)
        return None
    context: SessionRow | None = before
    if before.goes_on is not None:
        context = get_session(connection, before.goes_on)
    if context is not None and (context.name is None or context.closed is None):
        connection.execute(
            "UPDATE sessions SET gone = coalesce(gone, closed), closed = NULL "
            "WHERE id = ? AND closed IS NOT NULL",
            (context.id,),
        )
        insert(connection, new._replace(goes_on=context.id))
        return get_session(connection, context.id)
    insert(connection, new)
    return None


def go_on(connection: sqlite3.Connection, id: str, context: str | None) -> None:
    """What comes by a session belongs to another from now on; `None`: to itself again."""
    connection.execute("UPDATE sessions SET goes_on = ? WHERE id = ?", (context, id))


def set_goal(connection: sqlite3.Connection, id: str, goal: str) -> None:
    connection.execute("UPDATE sessions SET goal = ? WHERE id = ?", (goal, id))


def set_labels(connection: sqlite3.Connection, id: str, labels: str | None) -> None:
    connection.execute("UPDATE sessions SET labels = ? WHERE id = ?", (labels, id))


def close_unused(connection: sqlite3.Connection, before: int, started: int, when: int) -> list[str]:
    """Close what was last used before a moment and has no name; the ids.

    A pipe closes its session itself: of these only what is older than the hub, which `started` then.
    """
    rows = connection.execute(
        "UPDATE sessions SET closed = ?3 WHERE closed IS NULL AND name IS NULL AND seen < ?1 "
        "AND (kind != 'stdio' OR gone IS NOT NULL OR opened < ?2) RETURNING id",
        (before, started, when),
    ).fetchall()
    return [id for (id,) in rows]


def delete_closed(connection: sqlite3.Connection, before: int, closed_before: int) -> int:
    """Forget some that were last used and closed before these moments; how many.

    Not those that somebody made something of (a name, labels, a goal), nor those that anything refers to.
    """
    return connection.execute(
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions AS old WHERE seen < ?1 AND closed < ?2 "
        "AND coalesce(name, labels, goal) IS NULL "
        f"AND NOT ({_REFERRED_TO}) LIMIT ?3)",
        (before, closed_before, _BATCH),
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
