"""Refuses what the agent may not use. Unknown and not granted are one answer, byte for byte."""

from __future__ import annotations

from hub.errors import NotFound
from hub.model import Call, Handler, Result
from hub.policy import decide

__all__ = ["authorize"]


async def authorize(call: Call, inner: Handler) -> Result:
    entry = call.entry
    if entry is None or not decide(call.agent.grants, entry.grant).allowed:
        raise NotFound(unknown(call))
    return await inner(call)


def unknown(call: Call) -> str:
    """What an agent reads of an entry that it may not know of, or that there is not."""
    kind = {"tools/call": "tool", "resources/read": "resource", "prompts/get": "prompt"}[call.method]
    return f"Unknown {kind}: {call.name}"
