"""What the store remembers, as people and scripts get it. Field names are a promise.

A running hub and a command without one read the same rows and show the same. Imports no event loop.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from hub.errors import InvalidParams
from hub.failure import Failure
from hub.model import KINDS, Json, Kind
from hub.store.reading import CallFilter, CallRow, ServerRow, SessionRow, TokenRow, Use
from hub.units import lifetime_seconds

__all__ = [
    "CALLS_SHOWN",
    "call",
    "call_filter",
    "calls",
    "definitions",
    "earliest",
    "moment",
    "reference",
    "server",
    "session",
    "sessions",
    "text_of",
    "tokens",
    "value_of",
]

CALLS_SHOWN = 20
"""How many of a session's calls are shown with it."""


def call_filter(
    now: float,
    *,
    agent: str | None = None,
    server: str | None = None,
    session: str | None = None,
    errors: bool = False,
    since: str | None = None,
    limit: int = 50,
) -> CallFilter:
    """Which calls a person wants.

    Args:
        now: Seconds since 1970.
        errors: Only those that did not go well.
        since: Not older than this: `30m`, `1h`, `7d`.
        limit: 1 to 1000.

    Raises:
        InvalidParams: `since` is no duration.
    """
    oldest = earliest(since, now)
    return CallFilter(agent=agent, server=server, session=session, errors=errors, since=oldest, limit=limit)


def earliest(since: str | None, now: float) -> int | None:
    """The moment that `--since` means, in milliseconds since 1970. Raises `InvalidParams`.

    Args:
        now: Seconds since 1970.
    """
    try:
        return None if since is None else int((now - lifetime_seconds(since)) * 1000)
    except ValueError as error:
        raise InvalidParams(f"--since: {error}") from None


def calls(rows: Iterable[CallRow]) -> list[Json]:
    return [_call(row) for row in rows]


def call(row: CallRow | None, id: str) -> Json:
    """One call with what was asked and answered. Raises `Failure`: there is none."""
    if row is None:
        raise Failure(
            "not_found", f"There is no call {id[:60]!r}.", "`hub calls list` shows those there are."
        )
    return {
        **_call(row),
        "method": row.method,
        "own_name": row.own,
        "token": row.token,
        "rule": row.rule,
        "params": value_of(row.params),
        "params_bytes": row.params_bytes,
        "result": value_of(row.result),
        "result_bytes": row.result_bytes,
        "error": value_of(row.error),
        "attempts": row.attempts,
        "audit_entry": row.seq,
    }


def reference(use: Use) -> Json:
    """What of a stored result was filled into a call, and where."""
    return {
        "into": use.place,
        "result": use.result,
        "at": use.pointer,
        "bytes": use.size_bytes,
        "sha256": use.digest.hex(),
        "labels": value_of(use.labels),
    }


def sessions(rows: Iterable[SessionRow]) -> list[Json]:
    return [_session(row) for row in rows]


def session(row: SessionRow | None, id: str, last_calls: Iterable[CallRow]) -> Json:
    """One session with its last calls. Raises `Failure`: there is none."""
    if row is None:
        hint = "`hub sessions list` shows those there are."
        raise Failure("not_found", f"There is no session {id[:60]!r}.", hint)
    return {**_session(row), "capabilities": value_of(row.capabilities), "last_calls": calls(last_calls)}


def tokens(rows: Iterable[TokenRow]) -> list[Json]:
    """An agent's tokens, revoked ones too. Never a token itself."""
    return [
        {
            "id": row.id,
            "created": moment(row.created),
            "used": moment(row.used),
            "expires": moment(row.expires),
            "revoked": moment(row.revoked),
            "calls": row.calls,
            "calls_made": None if row.calls is None else row.spent,
            "scope": value_of(row.scope) or {},
            "parent": row.parent,
        }
        for row in rows
    ]


def moment(milliseconds: int | None) -> str | None:
    """`2026-11-21T09:30:00.123Z`."""
    if milliseconds is None:
        return None
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _call(row: CallRow) -> Json:
    return {
        "id": row.id,
        "session": row.session,
        "agent": row.agent,
        "server": row.server,
        "tool": row.tool,
        "state": row.state,
        "kind": row.kind,
        "reason": row.reason,
        "started": moment(row.started),
        "duration_ms": None if row.duration_us is None else row.duration_us / 1000,
    }


def _session(row: SessionRow) -> Json:
    client = value_of(row.client)
    return {
        "id": row.id,
        "agent": row.agent,
        "name": row.name,
        "goal": row.goal,
        "labels": value_of(row.labels) or {},
        "kind": row.kind,
        "protocol": row.version,
        "client": client if isinstance(client, dict) else {},
        "started": moment(row.opened),
        "last_used": moment(row.seen),
        "closed": moment(row.closed),
    }


def value_of(text: str | None) -> Any:
    """What was written; the text itself where it was cut short."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def server(row: ServerRow) -> Json:
    """What a server said of itself when it was last asked."""
    return {
        "info": value_of(row.info),
        "capabilities": value_of(row.capabilities),
        "instructions": row.instructions,
    }


def definitions(row: ServerRow) -> dict[Kind, tuple[Json, ...]]:
    """What it offered then, by kind."""
    found = value_of(row.definitions)
    return {kind: tuple(found.get(kind, ())) for kind in KINDS}


def text_of(value: Any) -> str:
    """As JSON, for people."""
    return json.dumps(value, ensure_ascii=False)
