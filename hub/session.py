"""One session, what may be its name, and how the store has it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from connectors.jsonrpc import encode
from hub.errors import InvalidParams
from hub.model import Agent, Json
from hub.store.sessions import SessionKind, SessionRow

__all__ = [
    "Session",
    "checked_capabilities",
    "checked_name",
    "reach_of",
    "row_of",
    "session_of",
    "short_client",
]

CLIENT_BYTES_MAX: Final = 4096
CAPABILITIES_BYTES_MAX: Final = 8192
"""Of JSON. Sessions are remembered by the thousand, and clients say what they like."""
_WORD_LENGTH_MAX: Final = 256

_named = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch


@dataclass(frozen=True, slots=True)
class Session:
    """All moments are milliseconds since 1970, UTC."""

    id: str
    agent: str
    kind: SessionKind
    version: str
    """Of the protocol."""
    client: Json
    """Its `clientInfo`."""
    capabilities: Json
    """What the client declared when it opened a session of the older era; `{}` in the modern one."""
    opened: int
    seen: int
    """When it was last used, as it stood when this was read."""
    closed: int | None = None
    log_level: str | None = None
    """From which level on a legacy client wants log messages, if it said so."""
    reach: str = ""
    """As `reach_of` its agent was."""
    name: str | None = None
    """What its agent calls it."""
    labels: Mapping[str, str] | None = None
    """What a person called it, for rules."""
    goal: str | None = None
    goes_on: str | None = None
    """The session that calls which come by this one belonged to, as it stood when this was read."""
    gone: int | None = None
    """When its client ended it, where it goes on as a context for the client's next connections."""


def checked_name(name: object) -> str:
    """`name`, where it can be a session's. Raises `InvalidParams`."""
    if type(name) is not str or _named(name) is None:
        raise InvalidParams(
            "A session's name has 1 to 64 letters, digits, '.', '_' and '-', the first a letter or digit"
        )
    return name


def checked_capabilities(capabilities: Json) -> Json:
    """What a client declares, where it can be remembered. Raises `InvalidParams`."""
    if len(encode(capabilities)) > CAPABILITIES_BYTES_MAX:
        raise InvalidParams(f"Invalid params: 'capabilities' have at most {CAPABILITIES_BYTES_MAX} bytes")
    return capabilities


def short_client(client: Json) -> Json:
    """What a client says of itself; where that is long (it may bring pictures), its names alone."""
    if len(encode(client)) <= CLIENT_BYTES_MAX:
        return client
    words = {key: client.get(key) for key in ("name", "title", "version")}
    return {key: word[:_WORD_LENGTH_MAX] for key, word in words.items() if isinstance(word, str)}


def reach_of(agent: Agent) -> str:
    """What tells apart how much an agent's tokens are good for: the narrowest scope, `""` for all of it."""
    return "" if agent.grants.within is None else agent.grants.file


def row_of(session: Session) -> SessionRow:
    return SessionRow(
        session.id,
        session.agent,
        session.kind,
        session.version,
        encode(session.client).decode(),
        encode(session.capabilities).decode(),
        session.opened,
        session.seen,
        session.closed,
        session.log_level,
        session.reach,
        session.name,
        None if session.labels is None else encode(dict(session.labels)).decode(),
        session.goal,
        session.goes_on,
        session.gone,
    )


def session_of(row: SessionRow) -> Session:
    return Session(
        row.id,
        row.agent,
        row.kind,
        row.version,
        json.loads(row.client),
        json.loads(row.capabilities),
        row.opened,
        row.seen,
        row.closed,
        row.log_level,
        row.reach,
        row.name,
        None if row.labels is None else json.loads(row.labels),
        row.goal,
        row.goes_on,
        row.gone,
    )
