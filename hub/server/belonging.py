"""Which session a request belongs to, the one that it names or the one that its agent is in; and the call.

A name is an agent's own (`hub__session` opens one). One that is unknown, closed or another agent's is
refused, with the same sentence.
"""

from __future__ import annotations

from typing import Final

from connectors.jsonrpc import INVALID_PARAMS
from hub.model import Agent, Call, Json, Notify
from hub.server.era import SESSION_KEY, Caller, inner_params
from hub.server.errors import Fault
from hub.server.front import Front
from hub.sessions import Session

__all__ = ["call_of"]

_NAME_LENGTH_MAX: Final = 256


def session_named(caller: Caller, params: Json) -> str | None:
    """What the request calls its session, in `_meta` or by its header; `None` where it does not.

    Raises:
        Fault: -32602, it is no text, or the two say different things.
    """
    meta = params.get("_meta")
    if type(meta) is not dict or SESSION_KEY not in meta:
        return caller.named
    name = meta[SESSION_KEY]
    if type(name) is not str:
        raise Fault(INVALID_PARAMS, f"Invalid params: params._meta['{SESSION_KEY}'] must be a string")
    if caller.named is not None and caller.named != name:
        raise Fault(
            INVALID_PARAMS,
            f"Invalid params: Hub-Session and params._meta['{SESSION_KEY}'] name different sessions",
        )
    return name


async def named_session(front: Front, agent: Agent, name: str) -> Session:
    """
    Raises:
        Fault: -32602, the agent has no such open session.
        StoreError: nobody can say.
    """
    session = await front.sessions.named(name, agent) if len(name) <= _NAME_LENGTH_MAX else None
    if session is None:
        said = name[:_NAME_LENGTH_MAX]
        raise Fault(
            INVALID_PARAMS,
            f"Unknown session: {said}. Open it first, without naming it: call hub__session with "
            '{"action": "open", "name": ...}',
            {"reason": "unknown_session"},
        )
    return session


async def belonging(front: Front, caller: Caller, params: Json) -> tuple[Session, str | None]:
    """The session that a request belongs to, and that of its connection where it named none."""
    name = session_named(caller, params)
    if name is not None:
        return await named_session(front, caller.agent, name), None
    by = caller.session or await front.sessions.current(caller.agent, caller.client)
    return front.sessions.context(by), by.id


async def call_of(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> Call:
    """The use of an entry that a request asks for, in its session.

    Raises `Fault`, `StoreError`, and what `Hub.new_call` raises.
    """
    inner = inner_params(params)
    session, by = await belonging(front, caller, params)
    return front.hub.new_call(
        caller.agent,
        session.id,
        method,
        inner,
        capabilities=caller.capabilities,
        modern=caller.modern,
        log_level=caller.log_level,
        notify=notify,
        labels=session.labels,
        came_by=by,
    )
