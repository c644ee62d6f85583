"""What was recorded, in the order in which it was, with what is needed to tell of it. Reads only."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from hub.store.calls import CallRow

__all__ = ["EventRow", "events_after"]


class EventRow(NamedTuple):
    seq: int
    """Of its entry in the audit's chain."""
    at: int
    kind: str
    subject: str
    body: str | None
    """JSON: what an event without a row of its own says."""
    agent: str | None
    session: str | None
    call: CallRow | None
    """As it is now, without params, result and error; `None` for what is about none, or one that is gone."""


_BRIEF: Final = ", ".join(
    "NULL" if name in ("params", "result", "error") else f"calls.{name}" for name in CallRow._fields
)


def events_after(connection: sqlite3.Connection, seq: int, limit: int) -> list[EventRow]:
    """The first `limit` entries behind a number."""
    rows = connection.execute(
        "SELECT audit.seq, audit.at, audit.kind, audit.subject, audit.body, "
        "coalesce(calls.agent, approvals.agent, audit.body ->> '$.agent'), "
        f"coalesce(calls.session, approvals.session, audit.body ->> '$.session'), {_BRIEF} "
        "FROM audit LEFT JOIN calls ON calls.id = audit.subject AND audit.body IS NULL "
        "LEFT JOIN approvals ON approvals.id = audit.subject AND audit.body IS NOT NULL "
        "WHERE audit.seq > ? ORDER BY audit.seq LIMIT ?",
        (seq, limit),
    )
    width = len(EventRow._fields) - 1
    return [
        EventRow._make((*row[:width], None if row[width] is None else CallRow(*row[width:]))) for row in rows
    ]
