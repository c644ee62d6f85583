"""Refuses what the agent may not use. Unknown and not granted are one answer, byte for byte."""

from __future__ import annotations

from hub.errors import NotFound
from hub.model import Call, Handler, Result
from hub.policy import decide

__all__ = ["authorize"]


async def authorize(call: Call, inner: Handler) -> Result:
    if call.entry is None:
        raise NotFound(unknown(call))
    decision = decide(call.agent.grants, call.entry.grant)
    if decision.allowed:
        return await inner(call)
    refusal = NotFound(unknown(call))
    # For the record and for people; the agent is told neither that there is a rule nor which.
    refusal.rule = None if decision.rule is None else decision.rule.id
    raise refusal


def unknown(call: Call) -> str:
    """What an agent reads of an entry that it may not know of, or that there is not."""
    return f"Unknown {call.kind}: {call.name}"
