"""Approvals: which calls wait for a person, and what was decided. Plain functions of a connection.

Times are milliseconds since 1970. All that decides who gets what is one statement each: the writer's
thread does one after another, so of any number of calls that want the same approval one gets it.
"""

from __future__ import annotations

import sqlite3
from typing import Final, Literal, NamedTuple

from hub.errors import InvalidParams
from hub.store import audit

__all__ = [
    "OPEN",
    "ApprovalRow",
    "ApprovalState",
    "as_of",
    "ask",
    "claim",
    "close",
    "decide",
    "delete_old",
    "find_approval",
    "finish",
    "get_approval",
    "give_back",
    "go_on",
    "list_approvals",
]

ApprovalState = Literal["pending", "approved", "denied", "used", "expired", "withdrawn", "void"]
"""`void`: what it was asked for has another definition by now."""

OPEN: Final = ("pending", "approved")

_PREFIX_LENGTH_MIN: Final = 6
_BATCH: Final = 500
"""How many one transaction deletes."""
_OUTCOME_MS: Final = 3_600_000
"""How long the outcome of a task's call is kept, as its agent is told in `ttlMs`."""


class ApprovalRow(NamedTuple):
    id: str
    agent: str
    token: str | None
    """Of whoever asked first."""
    session: str
    method: str
    tool: str
    """The name or URI as the agent gave it."""
    server: str
    params: str
    """JSON: all of the call that is bound, for people: without what looks like a secret."""
    sealed: str
    """The same as it came, for the hub alone."""
    digest: bytes
    """Of agent, method, entry and params."""
    definition: bytes
    """Digest of the entry's definition when it was asked for."""
    rule: str
    """The rule that wants it, with its file and line."""
    asked: int
    until: int
    """When it ends: as pending, or once decided, as that."""
    state: ApprovalState = "pending"
    decided: int | None = None
    decider: str | None = None
    """The operating system's user who decided."""
    reason: str | None = None
    """What they said of it."""
    used: int | None = None
    call: str | None = None
    """The id of the one call that it was used for."""
    round: int = 0
    """How often that call went on after a question of its server."""
    outcome: str | None = None
    """What a task's call came to, for a while; for the hub alone."""


_COLUMNS: Final = ", ".join(ApprovalRow._fields)
_BRIEF: Final = ", ".join({"sealed": "''", "outcome": "NULL"}.get(name, name) for name in ApprovalRow._fields)
_MARKS: Final = ", ".join("?" * len(ApprovalRow._fields))


def as_of(row: ApprovalRow, now: int) -> ApprovalRow:
    """The row as it counts at a moment: what was neither decided nor used in time has expired."""
    return row._replace(state="expired") if row.state in OPEN and row.until <= now else row


def ask(connection: sqlite3.Connection, new: ApprovalRow, most: int) -> ApprovalRow | None:
    """What holds of the very call that `new` is for: what there is of it, else `new`, now written.

    One that was denied holds until its end, so that asking again and again is of no use.

    Returns:
        `None` where `most` of that agent wait already.
    """
    now = new.asked
    connection.execute(
        "UPDATE approvals SET state = 'expired' WHERE state IN ('pending', 'approved') AND until <= ?", (now,)
    )
    connection.execute(
        "UPDATE approvals SET outcome = NULL WHERE outcome IS NOT NULL AND used <= ?", (now - _OUTCOME_MS,)
    )
    found = connection.execute(
        f"SELECT {_COLUMNS} FROM approvals WHERE digest = ? AND until > ? "
        "AND state IN ('pending', 'approved', 'denied') ORDER BY asked DESC, id LIMIT 1",
        (new.digest, now),
    ).fetchone()
    if found is not None:
        row = ApprovalRow(*found)
        if row.definition == new.definition:
            return row
        close(connection, row.id, "void")
    (waiting,) = connection.execute(
        "SELECT count(*) FROM approvals WHERE agent = ? AND state = 'pending'", (new.agent,)
    ).fetchone()
    if waiting >= most:
        return None
    connection.execute(f"INSERT INTO approvals ({_COLUMNS}) VALUES ({_MARKS})", new)
    said = {"agent": new.agent, "tool": new.tool, "rule": new.rule, "digest": new.digest.hex()}
    audit.note(connection, now, "approval.asked", new.id, said)
    return new


def claim(connection: sqlite3.Connection, wanted: ApprovalRow, call: str, now: int) -> bool:
    """Use an approval for a call: whether it was there to be used, for exactly this, and now is not."""
    claimed = (
        connection.execute(
            "UPDATE approvals SET state = 'used', used = ?1, call = ?2 WHERE id = ?3 AND state = 'approved' "
            "AND until > ?1 AND digest = ?4 AND definition = ?5",
            (now, call, wanted.id, wanted.digest, wanted.definition),
        ).rowcount
        == 1
    )
    if claimed:
        audit.note(connection, now, "approval.used", wanted.id, {"call": call})
    return claimed


def give_back(connection: sqlite3.Connection, id: str, call: str, now: int) -> None:
    """The call that it was used for never left the hub: it may be used again, within its time."""
    connection.execute(
        "UPDATE approvals SET state = 'approved', used = NULL, call = NULL "
        "WHERE id = ? AND state = 'used' AND call = ? AND round = 0 AND until > ?",
        (id, call, now),
    )


def go_on(connection: sqlite3.Connection, wanted: ApprovalRow, round: int) -> bool:
    """Whether the call that it was used for may go on with this round: each once, one after another."""
    return (
        connection.execute(
            "UPDATE approvals SET round = ?1 WHERE id = ?2 AND state = 'used' AND round = ?1 - 1 "
            "AND digest = ?3 AND definition = ?4",
            (round, wanted.id, wanted.digest, wanted.definition),
        ).rowcount
        == 1
    )


def decide(
    connection: sqlite3.Connection,
    id: str,
    state: Literal["approved", "denied"],
    decider: str,
    reason: str | None,
    now: int,
    until: int,
) -> bool:
    """Whether it was pending still, and now is decided."""
    decided = (
        connection.execute(
            "UPDATE approvals SET state = ?1, decided = ?2, decider = ?3, reason = ?4, until = ?5 "
            "WHERE id = ?6 AND state = 'pending' AND until > ?2",
            (state, now, decider, reason, until, id),
        ).rowcount
        == 1
    )
    if decided:
        audit.note(connection, now, f"approval.{state}", id, {"by": decider, "reason": reason})
    return decided


def close(connection: sqlite3.Connection, id: str, state: Literal["withdrawn", "void"]) -> bool:
    """Whether it was open still, and now is not. A denial holds until its end, whatever its agent wants."""
    return (
        connection.execute(
            "UPDATE approvals SET state = ?1 WHERE id = ?2 "
            "AND (state IN ('pending', 'approved') OR (state = 'denied' AND ?1 = 'void'))",
            (state, id),
        ).rowcount
        == 1
    )


def finish(connection: sqlite3.Connection, id: str, outcome: str) -> None:
    """What the call of a task came to."""
    connection.execute("UPDATE approvals SET outcome = ? WHERE id = ?", (outcome, id))


def delete_old(connection: sqlite3.Connection, before: int) -> int:
    """Forget some that nothing has become of since a moment, and can no longer; how many."""
    return connection.execute(
        "DELETE FROM approvals WHERE id IN (SELECT id FROM approvals WHERE asked < ?1 AND until < ?1 "
        "AND coalesce(decided, 0) < ?1 AND coalesce(used, 0) < ?1 LIMIT ?2)",
        (before, _BATCH),
    ).rowcount


def get_approval(connection: sqlite3.Connection, id: str) -> ApprovalRow | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM approvals WHERE id = ?", (id,)).fetchone()
    return None if row is None else ApprovalRow(*row)


def find_approval(connection: sqlite3.Connection, id: str) -> ApprovalRow | None:
    """One by its id, or by the first characters of it: for people, who can see them all.

    Raises:
        InvalidParams: fewer than 6 characters, or more than one begins so.
    """
    if len(id) < _PREFIX_LENGTH_MIN:
        raise InvalidParams(
            f"An approval is named by at least the first {_PREFIX_LENGTH_MIN} characters of its id"
        )
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM approvals WHERE id >= ? AND id < ? ORDER BY id LIMIT 2", (id, id + "\x7f")
    ).fetchall()
    if len(rows) > 1 and rows[0][0] != id:
        raise InvalidParams(f"More than one approval begins with {id!r}: give more of its id")
    return ApprovalRow(*rows[0]) if rows else None


def list_approvals(
    connection: sqlite3.Connection,
    now: int,
    *,
    everything: bool = False,
    agent: str | None = None,
    limit: int = 50,
) -> list[ApprovalRow]:
    """The newest first: those that wait for somebody, or `everything`. Without what is for the hub alone."""
    rows = connection.execute(
        f"SELECT {_BRIEF} FROM approvals "
        "WHERE (?1 OR (state = 'pending' AND until > ?2)) AND (?3 IS NULL OR agent = ?3) "
        "ORDER BY asked DESC, id LIMIT ?4",
        (everything, now, agent, limit),
    )
    return [as_of(ApprovalRow(*row), now) for row in rows]
