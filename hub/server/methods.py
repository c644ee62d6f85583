"""What each method does: a request in, the text of its answer out. Knows no transport.

Two tables, one for each era: a method that an era does not have is unknown in it. Streams
(`subscriptions/listen`) and the handshake belong to the transports, which own what is open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Literal

from connectors.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, encode
from hub.hub import METHOD_KINDS
from hub.model import Agent, Json, Notify
from hub.server.changes import METHODS
from hub.server.era import (
    CAPABILITIES,
    SERVER_INFO,
    SUPPORTED_VERSIONS,
    Caller,
    inner_params,
    legacy_version,
    shaped,
)
from hub.server.errors import Fault, fault_of
from hub.server.front import Front
from hub.server.lists import LISTS, TTL_MS, page
from hub.sessions import Session

__all__ = ["LEGACY", "MODERN", "answer", "failure", "honoured", "initialize", "respond", "silenced"]

Method = Callable[[Front, Caller, str, Json, Notify | None], Awaitable[bytes]]
"""`(front, caller, method, params, notify)` -> the JSON text of the result."""


async def respond(
    front: Front, caller: Caller, id: int | str, method: str, params: Json, notify: Notify | None = None
) -> tuple[int, bytes]:
    """The whole answer to one request, and the code of the error that it is (0: a result)."""
    try:
        handle = (MODERN if caller.modern else LEGACY).get(method)
        if handle is None:
            raise Fault(METHOD_NOT_FOUND, f"Method not found: {method:.100}")
        return 0, answer(id, await handle(front, caller, method, params, notify))
    except Exception as error:
        fault = fault_of(error, modern=caller.modern, method=method, params=params)
        return fault.code, failure(fault, id)


def answer(id: int | str, result: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":' + encode(id) + b',"result":' + result + b"}"


def failure(fault: Fault, id: int | str | None = None) -> bytes:
    """An error answer; without an id where the request's could not be read."""
    if id is None:
        return encode({"jsonrpc": "2.0", "error": fault.as_json()})
    return encode({"jsonrpc": "2.0", "id": id, "error": fault.as_json()})


async def initialize(
    front: Front, agent: Agent, kind: Literal["legacy", "stdio"], params: Json
) -> tuple[Session, bytes]:
    """Open a session for a legacy client, and answer its handshake.

    Raises:
        Fault: -32602, its params are none.
    """
    requested = params.get("protocolVersion")
    client, capabilities = params.get("clientInfo"), params.get("capabilities")
    if type(requested) is not str:
        raise Fault(INVALID_PARAMS, "Invalid params: 'protocolVersion' must be a string")
    if type(client) is not dict:
        raise Fault(INVALID_PARAMS, "Invalid params: 'clientInfo' must be an object")
    if type(capabilities) is not dict:
        raise Fault(INVALID_PARAMS, "Invalid params: 'capabilities' must be an object")
    version = legacy_version(requested)
    session = await front.sessions.open(
        agent, kind=kind, version=version, client=client, capabilities=capabilities
    )
    result: Json = {"protocolVersion": version, "capabilities": CAPABILITIES, "serverInfo": SERVER_INFO}
    instructions = front.instructions(agent)
    if instructions is not None:
        result["instructions"] = instructions
    return session, encode(result)


async def _discover(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> bytes:
    result: Json = {"supportedVersions": SUPPORTED_VERSIONS, "capabilities": CAPABILITIES}
    instructions = front.instructions(caller.agent)
    if instructions is not None:
        result["instructions"] = instructions
    return encode({**shaped(result, method, caller.modern), "ttlMs": TTL_MS, "cacheScope": "private"})


async def _ping(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> bytes:
    return b"{}"


async def _list(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> bytes:
    return page(front.hub.sight(caller.agent), method, caller.modern, params.get("cursor"))


async def _use(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> bytes:
    """Use an entry: `tools/call`, `resources/read`, `prompts/get`, `completion/complete`."""
    arguments = params.get("arguments")
    if arguments is not None and type(arguments) is not dict:
        raise Fault(INVALID_PARAMS, "Invalid params: 'arguments' must be an object")
    inner = inner_params(params)
    session = caller.session or await front.sessions.current(caller.agent, caller.client)
    call = front.hub.new_call(
        caller.agent,
        session.id,
        method,
        inner,
        capabilities=caller.capabilities,
        modern=caller.modern,
        log_level=caller.log_level,
        notify=notify,
    )
    return encode(shaped(await front.hub.call(call), method, caller.modern))


_BOTH: Final[dict[str, Method]] = {**dict.fromkeys(LISTS, _list), **dict.fromkeys(METHOD_KINDS, _use)}
MODERN: Final[dict[str, Method]] = {**_BOTH, "server/discover": _discover}
LEGACY: Final[dict[str, Method]] = {**_BOTH, "ping": _ping}


PROGRESS: Final = "notifications/progress"
LOG: Final = "notifications/message"


def silenced(caller: Caller, method: str, params: Json) -> frozenset[str] | None:
    """What a call's agent did not ask to be told while it runs; `None`: nothing may be told at all."""
    if method not in METHOD_KINDS:
        return None
    meta = params.get("_meta")
    progress = type(meta) is dict and "progressToken" in meta
    if caller.log_level is None:
        return _NO_LOG if progress else None
    return frozenset() if progress else _NO_PROGRESS


_NO_LOG: Final = frozenset({LOG})
_NO_PROGRESS: Final = frozenset({PROGRESS})


_FILTER: Final = {
    "toolsListChanged": METHODS["tool"],
    "promptsListChanged": METHODS["prompt"],
    "resourcesListChanged": METHODS["resource"],
}


def honoured(params: Json) -> dict[str, str]:
    """What of a `subscriptions/listen` the hub does: its filter's keys, and the method that each brings.

    Raises:
        Fault: -32602, there is no filter, or it is none.
    """
    asked = params.get("notifications")
    if type(asked) is not dict:
        raise Fault(INVALID_PARAMS, "Invalid params: 'notifications' must be an object")
    for key in _FILTER:
        if type(asked.get(key, False)) is not bool:
            raise Fault(INVALID_PARAMS, f"Invalid params: notifications.{key} must be true or false")
    return {key: method for key, method in _FILTER.items() if asked.get(key) is True}
