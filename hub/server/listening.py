"""What an agent asks to be told: the filter of a modern stream, the subscriptions of a legacy session.

Knows no transport: what is agreed upon here is told by whoever has the watch.

Source: specification 2026-07-28, basic/patterns/subscriptions; 2025-11-25, server/resources.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

import anyio

from connectors.base import RemoteError
from connectors.jsonrpc import INVALID_PARAMS, INVALID_REQUEST
from hub.errors import HubError, NotFound
from hub.model import Call, Json
from hub.policy import decide
from hub.server.changes import METHODS, Watch
from hub.server.era import Caller, missing_tasks, read_envelope
from hub.server.errors import Fault
from hub.server.front import Front
from hub.server.subscriptions import SUBSCRIPTIONS_MAX
from hub.tasks import declares_tasks

__all__ = ["SUBSCRIBING", "Wanted", "agree", "honoured", "subscribe", "unsubscribe"]

log = logging.getLogger(__name__)

SUBSCRIBING: Final = frozenset({"resources/subscribe", "resources/unsubscribe"})
"""The methods of the older era that need a session's watch."""

AGREE_SECONDS: Final = 5.0
"""How long servers may take to say that they tell of a resource. Of one that takes longer, the agent
is told once it does, as of a change."""

_FILTER: Final = {
    "toolsListChanged": METHODS["tool"],
    "promptsListChanged": METHODS["prompt"],
    "resourcesListChanged": METHODS["resource"],
}
_URIS: Final = "resourceSubscriptions"
_TASKS: Final = "taskIds"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a filter the hub knows."""

    lists: tuple[str, ...]
    """Keys of the filter."""
    uris: tuple[str, ...]
    tasks: tuple[str, ...]

    @property
    def methods(self) -> list[str]:
        return [_FILTER[key] for key in self.lists]


def honoured(params: Json) -> Wanted:
    """What a `subscriptions/listen` asks for.

    Raises:
        Fault: -32602, there is no filter, or it is none; -32021, it asks for tasks, which this
            client does not say it understands.
    """
    asked = params.get("notifications")
    if type(asked) is not dict:
        raise Fault(INVALID_PARAMS, "Invalid params: 'notifications' must be an object")
    for key in _FILTER:
        if type(asked.get(key, False)) is not bool:
            raise Fault(INVALID_PARAMS, f"Invalid params: notifications.{key} must be true or false")
    uris = asked.get(_URIS, [])
    if type(uris) is not list or not all(type(uri) is str for uri in uris):
        raise Fault(INVALID_PARAMS, f"Invalid params: notifications.{_URIS} must be an array of strings")
    tasks = asked.get(_TASKS, [])
    if type(tasks) is not list or not all(type(id) is str for id in tasks):
        raise Fault(INVALID_PARAMS, f"Invalid params: notifications.{_TASKS} must be an array of strings")
    if len(uris) + len(tasks) > SUBSCRIPTIONS_MAX:
        raise Fault(
            INVALID_PARAMS, f"Invalid params: at most {SUBSCRIPTIONS_MAX} resources and tasks at once"
        )
    if tasks and not declares_tasks(read_envelope(params).capabilities):
        raise missing_tasks()
    lists = tuple(key for key in _FILTER if asked.get(key) is True)
    return Wanted(lists, tuple(dict.fromkeys(uris)), tuple(dict.fromkeys(tasks)))


async def agree(front: Front, caller: Caller, watch: Watch, wanted: Wanted) -> Json:
    """Watch what of it the agent may know of; returns the filter to acknowledge.

    What it may not read is left out, exactly as what there is not.
    """
    agreed: Json = dict.fromkeys(wanted.lists, True)
    if not wanted.uris and not wanted.tasks:
        return agreed
    session = front.sessions.context(
        caller.session or await front.sessions.current(caller.agent, caller.client)
    )
    found: set[str] = set()

    async def add(uri: str) -> None:
        try:
            await watch.resources.add(_reading(front, caller, session.id, uri), AGREE_SECONDS)
        except (HubError, RemoteError) as error:
            log.info("agent %s is not told of a resource: %s", caller.agent.name, type(error).__name__)
        else:
            found.add(uri)

    async def add_tasks() -> None:
        calls = [_asking(front, caller, session.id, id) for id in wanted.tasks]
        heard = await watch.tasks.add(calls, AGREE_SECONDS)
        if heard:
            agreed[_TASKS] = heard

    async with anyio.create_task_group() as tasks:
        for uri in wanted.uris:
            tasks.start_soon(add, uri)
        if wanted.tasks:
            tasks.start_soon(add_tasks)
    if found:
        agreed[_URIS] = [uri for uri in wanted.uris if uri in found]
    return agreed


async def subscribe(front: Front, caller: Caller, params: Json) -> None:
    """A legacy session wants to hear of a resource.

    Raises:
        Fault: its params are none, or there is no session.
        HubError: it may not, or cannot.
        RemoteError: the server refuses to tell.
    """
    watch, uri = _session_watch(caller), _uri(params)
    await watch.resources.add(_reading(front, caller, _session(front, caller), uri), AGREE_SECONDS)


def unsubscribe(front: Front, caller: Caller, params: Json) -> None:
    """A legacy session does not want to hear of a resource any longer.

    Raises:
        Fault: its params are none, or there is no session.
        NotFound: there is no such resource, or none that the agent may read.
    """
    watch, uri = _session_watch(caller), _uri(params)
    if not watch.resources.remove(uri):
        call = _reading(front, caller, _session(front, caller), uri)
        if call.entry is None or not decide(call.agent.grants, call.entry).allowed:
            raise NotFound(f"Unknown resource: {uri}")


def _reading(front: Front, caller: Caller, session: str, uri: str) -> Call:
    return front.hub.new_call(
        caller.agent,
        session,
        "resources/read",
        {"uri": uri},
        capabilities=caller.capabilities,
        modern=caller.modern,
    )


def _asking(front: Front, caller: Caller, session: str, id: str) -> Call:
    """The call that asks for a task."""
    return front.hub.new_call(
        caller.agent, session, "tasks/get", {"taskId": id}, capabilities=caller.capabilities
    )


def _uri(params: Json) -> str:
    uri: Any = params.get("uri")
    if type(uri) is not str:
        raise Fault(INVALID_PARAMS, "Invalid params: 'uri' must be a string")
    return uri


def _session(front: Front, caller: Caller) -> str:
    assert caller.session is not None
    return front.sessions.context(caller.session).id


def _session_watch(caller: Caller) -> Watch:
    if caller.watch is None or caller.session is None:
        raise Fault(INVALID_REQUEST, "Invalid request: initialize first")
    return caller.watch
