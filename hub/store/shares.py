"""What agents let each other see of their sessions, and who may change a key just now.

Plain functions of a connection.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Literal, NamedTuple

from hub.store.memory import KEYS_MAX, Owner

__all__ = [
    "SHARES_MAX",
    "Lease",
    "ShareRow",
    "add",
    "hindered",
    "lease",
    "release",
    "session_of",
    "shared_results",
    "take_back",
]

SHARES_MAX = 1000
"""Of one session."""


class ShareRow(NamedTuple):
    session: str
    agent: str
    """Whose session it is."""
    reader: str
    """Who may see it as well."""
    kind: Literal["key", "result"]
    name: str
    """A key of the session's memory, or the id of a result."""
    write: int
    at: int


_COLUMNS = ", ".join(ShareRow._fields)


def add(connection: sqlite3.Connection, rows: Iterable[ShareRow]) -> str | None:
    """Share all of them, over what was said of them before; what is wrong, if anything is: then none is."""
    rows = list(rows)
    session = rows[0].session if rows else ""
    (count,) = connection.execute("SELECT count(*) FROM shares WHERE session = ?", (session,)).fetchone()
    if count + len(rows) > SHARES_MAX:
        return f"a session shares at most {SHARES_MAX} keys and results"
    for row in rows:
        if (
            row.kind == "key"
            and not connection.execute(
                "SELECT 1 FROM memory WHERE scope = 'session' AND owner = ? AND key = ?",
                (row.session, row.name),
            ).fetchone()
        ):
            return f"there is no key {row.name!r} in the session's memory"
    connection.executemany(f"INSERT OR REPLACE INTO shares ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    return None


def take_back(connection: sqlite3.Connection, session: str, reader: str) -> int:
    """How many it was."""
    found = connection.execute("DELETE FROM shares WHERE session = ? AND reader = ?", (session, reader))
    return found.rowcount


def session_of(connection: sqlite3.Connection, agent: str, reader: str, key: str) -> tuple[str, bool] | None:
    """The open session whose `key` an agent has shared with `reader` last, and whether it may be changed."""
    row = connection.execute(
        "SELECT shares.session, shares.write FROM shares JOIN sessions ON sessions.id = shares.session "
        "WHERE shares.agent = ? AND reader = ? AND shares.kind = 'key' AND shares.name = ? "
        "AND closed IS NULL ORDER BY at DESC, shares.session DESC LIMIT 1",
        (agent, reader, key),
    ).fetchone()
    return None if row is None else (row[0], bool(row[1]))


def shared_results(connection: sqlite3.Connection, reader: str, ids: Iterable[str]) -> frozenset[str]:
    """Which of these results somebody has shared with `reader`, by a session that is still open."""
    found = set()
    for id in ids:
        row = connection.execute(
            "SELECT 1 FROM shares JOIN sessions ON sessions.id = shares.session "
            "WHERE reader = ? AND shares.kind = 'result' AND shares.name = ? AND closed IS NULL",
            (reader, id),
        ).fetchone()
        if row is not None:
            found.add(id)
    return frozenset(found)


class Lease(NamedTuple):
    fence: int
    """Greater than that of every lease before it."""
    agent: str
    until: int


def _lease(connection: sqlite3.Connection, owner: Owner, key: str) -> Lease | None:
    row = connection.execute(
        "SELECT fence, agent, until FROM leases WHERE scope = ? AND owner = ? AND key = ?", (*owner, key)
    ).fetchone()
    return None if row is None else Lease(*row)


def _leases(connection: sqlite3.Connection, owner: Owner) -> int:
    count: int = connection.execute(
        "SELECT count(*) FROM leases WHERE scope = ? AND owner = ?", owner
    ).fetchone()[0]
    return count


def lease(
    connection: sqlite3.Connection,
    owner: Owner,
    key: str,
    agent: str,
    fence: int | None,
    now: int,
    until: int,
) -> tuple[bool, Lease]:
    """Whether it was given, and the lease that counts now (its fence is 0 where there are too many).

    Args:
        fence: Of the lease that is to be longer, where it is to be.
    """
    known = _lease(connection, owner, key)
    if fence is not None:
        if known is None or known.fence != fence or known.agent != agent:
            return False, known or Lease(0, agent, 0)
        given = Lease(fence, agent, until)
    elif known is not None and known.until > now:
        return False, known
    elif known is None and _leases(connection, owner) >= KEYS_MAX:
        return False, Lease(0, agent, 0)
    else:
        given = Lease(1 if known is None else known.fence + 1, agent, until)
    connection.execute(
        "INSERT OR REPLACE INTO leases (scope, owner, key, fence, agent, until) VALUES (?, ?, ?, ?, ?, ?)",
        (*owner, key, *given),
    )
    return True, given


def release(connection: sqlite3.Connection, owner: Owner, key: str, agent: str, fence: int, now: int) -> bool:
    """Whether it was held so. Its number is not given again."""
    found = connection.execute(
        "UPDATE leases SET until = ?1 WHERE scope = ?2 AND owner = ?3 AND key = ?4 AND agent = ?5 "
        "AND fence = ?6 AND until > ?1",
        (now, *owner, key, agent, fence),
    )
    return found.rowcount == 1


def hindered(
    connection: sqlite3.Connection, owner: Owner, key: str, agent: str, fence: int | None, now: int
) -> Lease | None:
    """The lease that keeps `key` from being changed with this fence; `None` where nothing does.

    The newest fence counts also when its time is over, as long as nobody has leased the key since.
    """
    known = _lease(connection, owner, key)
    if fence is None:
        return known if known is not None and known.until > now else None
    return (
        None
        if known is not None and (known.fence, known.agent) == (fence, agent)
        else known or Lease(0, "", 0)
    )
