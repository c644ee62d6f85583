"""What is known of a session, for a brief of it. One reading, of one moment. Functions of a connection."""

from __future__ import annotations

import sqlite3
from typing import Final, NamedTuple

from hub.store import approvals, calls, notes, results, sessions, shares
from hub.store.approvals import ApprovalRow
from hub.store.notes import NoteRow
from hub.store.sessions import SessionRow

__all__ = ["CalledTool", "Gathered", "LastCall", "Pinned", "Task", "gather"]

_CALLS: Final = 100
_START_LENGTH: Final = 300
_PINNED_LENGTH: Final = 1200
_HUB: Final = "hub"


class CalledTool(NamedTuple):
    tool: str
    state: str
    times: int


class LastCall(NamedTuple):
    id: str
    tool: str
    state: str
    reason: str | None
    started: int
    params: str | None
    """The arguments' beginning, as JSON."""
    said: str | None
    """The beginning of what it said, where that is text."""
    result: str | None
    """The id of the stored result."""


class Task(NamedTuple):
    call: str
    tool: str
    status: str
    """As it was last heard."""


class Pinned(NamedTuple):
    id: str
    name: str | None
    """The tool that it is from; `None` where there is no such thing (any longer)."""
    start: str
    bytes: int


class Gathered(NamedTuple):
    session: SessionRow
    counts: list[CalledTool]
    """Without the hub's own tools."""
    calls: list[LastCall]
    """The newest first; the same."""
    unknown: list[LastCall]
    approvals: list[ApprovalRow]
    tasks: list[Task]
    notes: list[NoteRow]
    """The oldest first."""
    pinned: list[Pinned]
    others: list[SessionRow]
    """Open ones of the same agent that have a name, the one used last first."""


def gather(connection: sqlite3.Connection, id: str, now: int) -> Gathered | None:
    session = sessions.get_session(connection, id)
    if session is None:
        return None
    written = notes.list_notes(connection, id)
    counts = connection.execute(
        "SELECT tool, state, count(*) FROM calls WHERE session = ? AND server IS NOT ? "
        "GROUP BY tool, state ORDER BY count(*) DESC, tool, state",
        (id, _HUB),
    )
    waiting = [
        row
        for row in approvals.list_approvals(connection, now, everything=True, agent=session.agent, limit=200)
        if row.session == id and row.state in ("pending", "approved")
    ]
    pins = dict.fromkeys(note.pin for note in written if note.pin is not None)
    return Gathered(
        session,
        [CalledTool(*row) for row in counts],
        _calls(connection, id, "state <> 'intended' AND server IS NOT 'hub'", _CALLS),
        _calls(connection, id, "state = 'unknown'", 20),
        waiting,
        _tasks(connection, id),
        written,
        [_pinned(connection, session, pin) for pin in pins],
        sessions.list_named(connection, session.agent, session.reach, but=id),
    )


def _calls(connection: sqlite3.Connection, session: str, where: str, limit: int) -> list[LastCall]:
    rows = connection.execute(
        "SELECT id, tool, state, coalesce(reason, kind), started, "
        "CASE WHEN json_valid(params) THEN "
        f"substr(json_extract(params, '$.arguments'), 1, {_START_LENGTH}) END, "
        "CASE WHEN json_valid(result) THEN "
        f"substr(json_extract(result, '$.content[0].text'), 1, {_START_LENGTH}) "
        f"WHEN json_valid(error) THEN substr(json_extract(error, '$.message'), 1, {_START_LENGTH}) END, "
        "(SELECT results.id FROM results WHERE results.call = calls.id AND complete LIMIT 1) "
        f"FROM calls WHERE session = ? AND {where} ORDER BY id DESC LIMIT ?",
        (session, limit),
    )
    return [LastCall(*row) for row in rows]


def _tasks(connection: sqlite3.Connection, session: str) -> list[Task]:
    """Those that were made and not heard to be over."""
    made = connection.execute(
        "SELECT json_extract(result, '$.taskId'), id, tool, json_extract(result, '$.status') FROM calls "
        "WHERE session = ? AND state = 'done' AND instr(result, '\"resultType\":\"task\"') > 0 "
        "AND json_valid(result) ORDER BY id",
        (session,),
    ).fetchall()
    heard = dict(
        connection.execute(
            "SELECT json_extract(params, '$.taskId'), json_extract(result, '$.status') FROM calls "
            "WHERE session = ? AND method = 'tasks/get' AND state = 'done' AND json_valid(params) "
            "AND json_valid(result) ORDER BY id",
            (session,),
        ).fetchall()
        if made
        else ()
    )
    found = (Task(call, tool, str(heard.get(id) or status or "working")) for id, call, tool, status in made)
    return [task for task in found if task.status in ("working", "input_required", "submitted")]


def _pinned(connection: sqlite3.Connection, session: SessionRow, id: str) -> Pinned:
    result = results.get_result(connection, id)
    if result is not None and (
        (result.agent, result.reach) == (session.agent, session.reach)
        or shares.shared_results(connection, session.agent, [id])
    ):
        return Pinned(id, result.name, results.text(connection, id, 0, _PINNED_LENGTH), result.size_bytes)
    row = calls.get_call(connection, id) if len(id) >= calls.PREFIX_LENGTH_MIN else None
    owner = None if row is None else sessions.get_session(connection, row.session)
    if row is None or owner is None or (owner.agent, owner.reach) != (session.agent, session.reach):
        return Pinned(id, None, "", 0)
    said = row.result or row.error or ""
    return Pinned(id, row.tool, said[:_PINNED_LENGTH], row.result_bytes or len(said))
