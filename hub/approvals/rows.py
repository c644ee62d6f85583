"""Approvals as people and scripts see and decide them, whether a hub runs or not. Imports no event loop."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from hub.failure import Failure
from hub.model import Json
from hub.records import moment
from hub.store import approvals
from hub.store.approvals import ApprovalRow

if TYPE_CHECKING:
    import sqlite3

__all__ = ["brief", "decided_row", "rows", "whole"]

_REASON_LENGTH_MAX: Final = 1000
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"))


def decided_row(
    connection: sqlite3.Connection,
    id: str,
    *,
    approve: bool,
    decider: str,
    reason: str | None,
    now: int,
    pending_seconds: float,
    approved_seconds: float,
) -> ApprovalRow:
    """Approve or deny one that is pending.

    Args:
        id: Or the first characters of it.
        reason: For the agent; at most 1000 characters of it.
        pending_seconds: How long a denial holds.
        approved_seconds: How long what is approved may be used.

    Raises:
        Failure: there is none such, or it is not pending.
        InvalidParams: `id` is too short, or more than one begins so.
    """
    row = _found(approvals.find_approval(connection, id), id)
    until = now + int(1000 * (approved_seconds if approve else pending_seconds))
    said = reason[:_REASON_LENGTH_MAX] if reason else None
    state: Any = "approved" if approve else "denied"
    if not approvals.decide(connection, row.id, state, decider, said, now, until):
        row = approvals.as_of(row, now)
        raise Failure(
            "usage",
            f"Approval {row.id} is {row.state}, no longer pending.",
            f"`hub approvals show {row.id}` shows more. The agent asks anew by calling again.",
        )
    return _found(approvals.get_approval(connection, row.id), id)


def rows(found: Iterable[ApprovalRow], now: int) -> list[Json]:
    return [brief(row, now) for row in found]


def brief(row: ApprovalRow, now: int) -> Json:
    row = approvals.as_of(row, now)
    return {
        "id": row.id,
        "state": row.state,
        "agent": row.agent,
        "tool": row.tool,
        "arguments": json.loads(row.params).get("arguments", {}),
        "age": _age(now - row.asked),
        "asked": moment(row.asked),
        "until": moment(row.until),
        "by": row.decider,
        "reason": row.reason,
    }


def whole(row: ApprovalRow | None, id: str, now: int) -> Json:
    """One, with all that its person has to know. Raises `Failure`: there is none."""
    row = _found(row, id)
    params = json.loads(row.params)
    further = {key: value for key, value in params.items() if key not in ("name", "uri", "arguments")}
    return {
        **brief(row, now),
        "method": row.method,
        "server": row.server,
        "further_params": further,
        "rule": row.rule,
        "session": row.session,
        "token": row.token,
        "decided": moment(row.decided),
        "used": moment(row.used),
        "call": row.call,
    }


def _found(row: ApprovalRow | None, id: str) -> ApprovalRow:
    if row is None:
        hint = "`hub approvals list --all` shows those there are."
        raise Failure("not_found", f"There is no approval {id[:60]!r}.", hint)
    return row


def _age(milliseconds: int) -> str:
    seconds = max(0, milliseconds // 1000)
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
