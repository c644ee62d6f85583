"""What each method does: a request in, the text of its answer out. Knows no transport.

Two tables, one for each era: a method that an era does not have is unknown in it. Streams
(`subscriptions/listen`) and the handshake belong to the transports, which own what is open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Literal

from connectors.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, encode
from hub.errors import Denied, OverLimit, Unapproved
from hub.hub import METHOD_KINDS
from hub.model import Agent, Call, Json, Notify, Result
from hub.server.belonging import call_of
from hub.server.era import (
    LOG_LEVELS,
    SERVER_INFO,
    SUPPORTED_VERSIONS,
    Caller,
    Text,
    legacy_version,
    shaped,
    text_of,
)
from hub.server.errors import Fault, fault_of, refusal
from hub.server.extended import ask_task, use_extension
from hub.server.front import Front
from hub.server.listening import subscribe, unsubscribe
from hub.server.lists import LISTS, TTL_MS, page
from hub.server.questions import CannotAsk, concluded
from hub.sessions import Session
from hub.tasks import TASK_METHODS

__all__ = [
    "AFTER",
    "LEGACY",
    "MODERN",
    "answer",
    "before",
    "failed",
    "failure",
    "initialize",
    "is_use",
    "respond",
    "result_of",
    "silenced",
]

Method = Callable[[Front, Caller, str, Json, Notify | None], Awaitable[Text]]
"""`(front, caller, method, params, notify)` -> the JSON text of the result."""


async def respond(
    front: Front, caller: Caller, id: int | str, method: str, params: Json, notify: Notify | None = None
) -> tuple[int, bytes]:
    """The whole answer to one request, and the code of the error that it is (0: a result)."""
    try:
        return 0, answer(id, await result_of(front, caller, method, params, notify))
    except Exception as error:
        return failed(error, caller, id, method, params)


async def result_of(
    front: Front, caller: Caller, method: str, params: Json, notify: Notify | None = None
) -> Text:
    """The result alone: its sender puts it between `before` and `AFTER`. Raises whatever `failed` can say."""
    handle = (MODERN if caller.modern else LEGACY).get(method)
    if handle is None and front.hub.speakers(caller.agent, method):
        handle = use_extension
    if handle is None:
        raise Fault(METHOD_NOT_FOUND, f"Method not found: {method:.100}")
    return await handle(front, caller, method, params, notify)


def failed(error: Exception, caller: Caller, id: int | str, method: str, params: Json) -> tuple[int, bytes]:
    """The answer to a request that `error` came of, and its code."""
    fault = fault_of(error, modern=caller.modern, method=method, params=params)
    return fault.code, failure(fault, id)


def answer(id: int | str, result: Text) -> bytes:
    if isinstance(result, tuple):
        return b"".join((before(id), *result, AFTER))
    return before(id) + result + AFTER


def before(id: int | str) -> bytes:
    """What stands before a result in the answer to that request."""
    return b'{"jsonrpc":"2.0","id":%b,"result":' % (b"%d" % id if type(id) is int else encode(id))


AFTER: Final = b"}"


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
    left = await front.voices.left(agent.name) if kind == "legacy" else frozenset[str]()
    session = await front.sessions.open(
        agent, kind=kind, version=version, client=client, capabilities=capabilities, left=left
    )
    result: Json = {
        "protocolVersion": version,
        "capabilities": _capabilities(front, agent, modern=False),
        "serverInfo": SERVER_INFO,
    }
    if front.hub.meta:
        result["_meta"] = front.hub.meta
    instructions = front.instructions(agent)
    if instructions is not None:
        result["instructions"] = instructions
    return session, encode(result)


def _capabilities(front: Front, agent: Agent, *, modern: bool) -> Json:
    extensions = front.hub.extensions(agent, modern=modern)
    found = front.capabilities(agent)
    return {**found, "extensions": extensions} if extensions else found


async def _discover(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> bytes:
    cached = front.hub.sight(caller.agent).cached
    text = cached.get(method)
    if text is None:
        capabilities = _capabilities(front, caller.agent, modern=True)
        result: Json = {"supportedVersions": SUPPORTED_VERSIONS, "capabilities": capabilities}
        if front.hub.meta:
            result["_meta"] = front.hub.meta
        instructions = front.instructions(caller.agent)
        if instructions is not None:
            result["instructions"] = instructions
        shown = shaped(result, method, caller)
        text = cached[method] = encode({**shown, "ttlMs": TTL_MS, "cacheScope": "private"})
    return text


async def _set_level(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> bytes:
    level = params.get("level")
    if type(level) is not str or level not in LOG_LEVELS:
        raise Fault(INVALID_PARAMS, "Invalid params: 'level' must be one of the eight log levels")
    if caller.session is None:
        raise Fault(INVALID_REQUEST, "Invalid request: initialize first")
    caller.session = await front.sessions.set_log_level(caller.session, level)
    return b"{}"


async def _subscribe(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> bytes:
    await subscribe(front, caller, params)
    return b"{}"


async def _unsubscribe(
    front: Front, caller: Caller, method: str, params: Json, notify: Notify | None
) -> bytes:
    unsubscribe(front, caller, params)
    return b"{}"


async def _ping(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> bytes:
    return b"{}"


async def _list(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> bytes:
    return page(front.hub.sight(caller.agent), method, caller.modern, params.get("cursor"))


async def _use(front: Front, caller: Caller, method: str, params: Json, notify: Notify | None) -> Text:
    """Use an entry: `tools/call`, `resources/read`, `prompts/get`, `completion/complete`."""
    arguments = params.get("arguments")
    if arguments is not None and type(arguments) is not dict:
        raise Fault(INVALID_PARAMS, "Invalid params: 'arguments' must be an object")
    made = await call_of(front, caller, method, params, notify)
    try:
        result = await front.hub.call(made)
    except (OverLimit, Denied, Unapproved) as error:
        if method != "tools/call":
            raise
        result = refusal(error)
    if not caller.modern and result.get("resultType") == "input_required":
        result = await _conclude(front, caller, made, result)
    return text_of(result, method, caller)


async def _conclude(front: Front, caller: Caller, call: Call, result: Result) -> Result:
    """What becomes of a call whose server asks a client of the older era."""
    first = {key: value for key, value in call.params.items() if key not in _OF_LATER_ROUNDS}

    async def again(more: Json) -> Result:
        made = front.hub.new_call(
            call.agent,
            call.session,
            call.method,
            {**first, **more},
            capabilities=call.capabilities,
            modern=call.modern,
            log_level=call.log_level,
            notify=call.notify,
            labels=call.labels,
            came_by=call.came_by,
        )
        try:
            return await front.hub.call(made)
        except (OverLimit, Denied, Unapproved) as error:
            if call.method != "tools/call":
                raise
            return refusal(error)

    try:
        return await concluded(front.questions, caller, result, again)
    except CannotAsk as error:
        if call.method != "tools/call":
            raise Fault(INTERNAL_ERROR, str(error), {"reason": "question"}) from None
        return {"content": [{"type": "text", "text": str(error)}], "isError": True}


_OF_LATER_ROUNDS: Final = ("inputResponses", "requestState")

_BOTH: Final[dict[str, Method]] = {**dict.fromkeys(LISTS, _list), **dict.fromkeys(METHOD_KINDS, _use)}
MODERN: Final[dict[str, Method]] = {
    **_BOTH,
    **dict.fromkeys(TASK_METHODS, ask_task),
    "server/discover": _discover,
}
LEGACY: Final[dict[str, Method]] = {
    **_BOTH,
    "ping": _ping,
    "logging/setLevel": _set_level,
    "resources/subscribe": _subscribe,
    "resources/unsubscribe": _unsubscribe,
}


PROGRESS: Final = "notifications/progress"
LOG: Final = "notifications/message"


def is_use(front: Front, caller: Caller, method: str) -> bool:
    """Whether a method is answered by a server, which may take its time."""
    return method in METHOD_KINDS or method in TASK_METHODS or bool(front.hub.speakers(caller.agent, method))


def silenced(caller: Caller, method: str, params: Json) -> frozenset[str] | None:
    """What a call's agent did not ask to be told while it runs; `None`: nothing may be told at all."""
    if method not in METHOD_KINDS:
        return None
    meta = params.get("_meta")
    progress = type(meta) is dict and "progressToken" in meta
    # In the older era a server may log of its own accord; in the newer one only if it was asked to.
    if caller.modern and caller.log_level is None:
        return _NO_LOG if progress else None
    return frozenset() if progress else _NO_PROGRESS


_NO_LOG: Final = frozenset({LOG})
_NO_PROGRESS: Final = frozenset({PROGRESS})
