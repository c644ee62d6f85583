"""Methods that are not the protocol's own: of tasks, and of other extensions that servers speak.

Source: SEP-2663 (tasks); SEP-2133 (extensions).
"""

from __future__ import annotations

from connectors.jsonrpc import encode
from hub.extensions import onward
from hub.model import Json, Notify
from hub.server.belonging import call_of
from hub.server.era import Caller, missing_tasks, shaped
from hub.server.front import Front
from hub.tasks import declares_tasks

__all__ = ["ask_task", "use_extension"]


async def ask_task(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> bytes:
    """`tasks/get`, `tasks/update`, `tasks/cancel`."""
    # Before the id is looked at: what it says is for those who know what tasks are.
    if not declares_tasks(caller.capabilities):
        raise missing_tasks()
    call = await call_of(front, caller, method, params, notify)
    return encode(shaped(await front.hub.call(call), method, caller))


async def use_extension(
    front: Front, caller: Caller, method: str, params: Json, notify: Notify | None
) -> bytes:
    """A request of an extension that the agent may use, passed on to a server that speaks it."""
    among = front.hub.speakers(caller.agent, method)
    call = await call_of(front, caller, method, params, notify)
    result = shaped(await front.hub.call(call), method, caller)
    if "cacheScope" in result:
        # Who may ask is decided for each agent, so no cache may hand it to another one.
        result = {**result, "cacheScope": "private"}
    assert call.entry is not None
    return encode(onward(among, call.entry, method, result))
