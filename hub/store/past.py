"""Calls of the past, with what was asked in each: for deciding them anew. Reads only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

from hub.store.calls import State

__all__ = ["PastCall", "past_calls", "session_labels"]


class PastCall(NamedTuple):
    id: str
    agent: str
    token: str | None
    server: str | None
    method: str
    tool: str
    own: str | None
    params: str | None
    """JSON; secrets are taken out of it, and of what was long it says only how it began."""
    started: int
    """Milliseconds since 1970."""
    state: State
    reason: str | None
    labels: str | None
    """JSON: of its session, as they are now."""
    asked: bool
    """Whether a person was asked."""


_WAITED = (
    "coalesce(reason IN ('pending', 'denied', 'unapproved'), FALSE)"
    " OR (kind = 'input_required' AND instr(result, 'hub://approvals/') > 0)"
    " OR (state = 'done' AND instr(result, '\"resultType\":\"task\"') > 0"
    " AND instr(result, 'hub approvals approve') > 0)"
)


def past_calls(
    connection: sqlite3.Connection, since: int | None = None, agent: str | None = None
) -> Iterator[PastCall]:
    """All that are over, the oldest first, one at a time.

    Args:
        since: Started at this moment or later, in milliseconds since 1970.
    """
    approved = {id for (id,) in connection.execute("SELECT call FROM approvals WHERE call IS NOT NULL")}
    rows = connection.execute(
        "SELECT id, agent, token, server, method, tool, own, params, started, state, reason, "
        "(SELECT labels FROM sessions WHERE sessions.id = calls.session), "
        f"coalesce({_WAITED}, FALSE) FROM calls "
        "WHERE state <> 'intended' AND (?1 IS NULL OR started >= ?1) AND (?2 IS NULL OR agent = ?2) "
        "ORDER BY id",
        (since, agent),
    )
    for row in rows:
        call = PastCall(*row)
        yield call._replace(asked=bool(call.asked) or call.id in approved)


def session_labels(connection: sqlite3.Connection) -> list[str]:
    """All that sessions are labelled with, each once, as JSON."""
    rows = connection.execute("SELECT DISTINCT labels FROM sessions WHERE labels IS NOT NULL")
    return [labels for (labels,) in rows]
