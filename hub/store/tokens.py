"""Tokens: which secrets prove which agent, how long, for how much. Only SHA-256 hashes are kept.

Plain functions of a connection. A child is never wider than its parent when it is written (its end
and its number of calls), and ends with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from hub.errors import InvalidParams, NotFound, TokenSpent
from hub.store import audit

__all__ = [
    "CHILDREN_MAX",
    "DEPTH_MAX",
    "NewToken",
    "TokenRow",
    "add",
    "add_alone",
    "delete_dead",
    "list_tokens",
    "live",
    "live_scopes",
    "mark_used",
    "revoke",
    "revoke_all",
    "spend",
]

CHILDREN_MAX: Final = 1000
"""How many live tokens with a parent one agent may have: an agent can make them by itself."""

DEPTH_MAX: Final = 8
"""How many generations there may be."""

_BATCH: Final = 500
"""How many one transaction deletes."""

_LIVE: Final = "revoked IS NULL AND (expires IS NULL OR expires > :now)"


class NewToken(NamedTuple):
    id: str
    agent: str
    hash: bytes
    created: int
    expires: int | None = None
    scope: str | None = None
    """What it may be used for, of what its agent or parent may: see `hub.identity.scopes`."""
    calls: int | None = None
    """How many in all; `None` does not limit."""
    parent: str | None = None


class TokenRow(NamedTuple):
    id: str
    agent: str
    created: int
    used: int | None
    """To the minute; `None` where it never was."""
    revoked: int | None
    expires: int | None
    scope: str | None
    calls: int | None
    spent: int
    """How many calls were made with it and its children, where `calls` limits it or one of them."""
    parent: str | None


def add(connection: sqlite3.Connection, token: NewToken) -> NewToken:
    """Write a token; returns it as it is kept: a child ends with its parent, and has no more calls.

    Raises:
        NotFound: there is no such live parent of that agent.
        InvalidParams: there are too many children, or too many generations.
    """
    if token.parent is not None:
        token = _narrowed(connection, token, token.parent)
    connection.execute(
        f"INSERT INTO tokens ({', '.join(NewToken._fields)}) VALUES ({', '.join('?' * len(token))})", token
    )
    said = {key: getattr(token, key) for key in ("agent", "expires", "scope", "calls", "parent")}
    audit.note(connection, token.created, "token.made", token.id, said)
    return token


def add_alone(connection: sqlite3.Connection, token: NewToken) -> NewToken:
    """The same, and all others of the agent are revoked: so it has no parent."""
    revoke_all(connection, token.agent, token.created)
    return add(connection, token._replace(parent=None))


def live(connection: sqlite3.Connection, now: int) -> list[NewToken]:
    """Every token that is neither revoked nor over, parents before their children."""
    rows = connection.execute(
        f"SELECT {', '.join(NewToken._fields)} FROM tokens WHERE {_LIVE} ORDER BY rowid", {"now": now}
    )
    return [NewToken(*row) for row in rows]


def revoke(connection: sqlite3.Connection, id: str, when: int) -> bool:
    """End a token and all that descend from it; whether there was such a token that was not revoked yet."""
    ended = connection.execute(
        "WITH RECURSIVE tree (id) AS "
        "(VALUES (?2) UNION SELECT tokens.id FROM tokens, tree WHERE parent = tree.id) "
        "UPDATE tokens SET revoked = ?1 WHERE id IN tree AND revoked IS NULL RETURNING id, agent",
        (when, id),
    ).fetchall()
    _note_ended(connection, ended, when)
    return any(each == id for each, _ in ended)


def revoke_all(connection: sqlite3.Connection, agent: str, when: int) -> int:
    """All of an agent's; how many there were."""
    ended = connection.execute(
        "UPDATE tokens SET revoked = ? WHERE agent = ? AND revoked IS NULL RETURNING id, agent", (when, agent)
    ).fetchall()
    _note_ended(connection, ended, when)
    return len(ended)


def _note_ended(connection: sqlite3.Connection, ended: Sequence[tuple[str, str]], when: int) -> None:
    for id, agent in ended:
        audit.note(connection, when, "token.revoked", id, {"agent": agent})


def spend(connection: sqlite3.Connection, ids: Sequence[str]) -> None:
    """Count one call to each of these tokens, or to none.

    Raises:
        TokenSpent: one has no call left. (The caller's savepoint takes back what was counted.)
    """
    for id in ids:
        counted = connection.execute(
            "UPDATE tokens SET spent = spent + 1 WHERE id = ? AND spent < calls AND revoked IS NULL", (id,)
        )
        if counted.rowcount == 0:
            raise TokenSpent(
                "All the calls that this token was made for are used up. Ask whoever gave it to you for "
                "another; what it may be used for can still be listed."
            )


def mark_used(connection: sqlite3.Connection, ids: Iterable[str], when: int) -> None:
    connection.executemany("UPDATE tokens SET used = ? WHERE id = ?", [(when, id) for id in ids])


def list_tokens(connection: sqlite3.Connection, agent: str | None = None) -> list[TokenRow]:
    """The newest first, revoked ones too."""
    rows = connection.execute(
        f"SELECT {', '.join(TokenRow._fields)} FROM tokens WHERE ?1 IS NULL OR agent = ?1 "
        "ORDER BY created DESC, id DESC",
        (agent,),
    )
    return [TokenRow(*row) for row in rows]


def live_scopes(connection: sqlite3.Connection, agent: str, now: int) -> list[tuple[str, str]]:
    """`(id, scope)` of an agent's live tokens that have one, the oldest first."""
    return connection.execute(
        f"SELECT id, scope FROM tokens WHERE agent = :agent AND scope IS NOT NULL AND {_LIVE} ORDER BY rowid",
        {"agent": agent, "now": now},
    ).fetchall()


def delete_dead(connection: sqlite3.Connection, before: int) -> int:
    """Forget some tokens that were revoked or over before a moment, children first; how many.

    The chain keeps that they were made and ended.
    """
    return connection.execute(
        "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens AS old WHERE (revoked < ?1 OR expires < ?1) "
        "AND NOT EXISTS (SELECT 1 FROM tokens WHERE parent = old.id) LIMIT ?2)",
        (before, _BATCH),
    ).rowcount


def _narrowed(connection: sqlite3.Connection, token: NewToken, parent: str) -> NewToken:
    where = {"parent": parent, "agent": token.agent, "now": token.created}
    found = connection.execute(
        f"SELECT expires, calls FROM tokens WHERE id = :parent AND agent = :agent AND {_LIVE}", where
    ).fetchone()
    if found is None:
        raise NotFound(f"Agent {token.agent!r} has no live token {parent[:60]!r} that could be a parent")
    (children,) = connection.execute(
        f"SELECT count(*) FROM tokens WHERE agent = :agent AND parent IS NOT NULL AND {_LIVE}", where
    ).fetchone()
    if children >= CHILDREN_MAX:
        raise InvalidParams(
            f"Agent {token.agent!r} has {CHILDREN_MAX} live child tokens already: revoke some first"
        )
    (depth,) = connection.execute(
        "WITH RECURSIVE line (id, depth) AS (VALUES (?1, 1) UNION ALL SELECT tokens.parent, depth + 1 "
        "FROM tokens, line WHERE tokens.id = line.id AND tokens.parent IS NOT NULL AND depth < ?2) "
        "SELECT max(depth) FROM line",
        (parent, DEPTH_MAX),
    ).fetchone()
    if depth >= DEPTH_MAX:
        raise InvalidParams(
            f"A token has at most {DEPTH_MAX - 1} generations above it: mint from an older one"
        )
    return token._replace(expires=_least(token.expires, found[0]), calls=_least(token.calls, found[1]))


def _least(first: int | None, second: int | None) -> int | None:
    return min((each for each in (first, second) if each is not None), default=None)
