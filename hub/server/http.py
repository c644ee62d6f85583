"""The hub over HTTP: `/mcp` in both eras, `/health`, `/ready`, and nothing else. Plain ASGI.

A modern request is judged by its own headers and `_meta`; a legacy one by the session that its
`Mcp-Session-Id` names. A call that nothing is said of while it runs is answered as one JSON
object, within the task of its request. Identity comes before a body is read.

Source: specification 2026-07-28 and 2025-11-25, basic/transports (Streamable HTTP).
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping, Sequence
from typing import Any, Final, Protocol

from connectors.base import LEGACY_VERSIONS, MODERN_VERSIONS
from connectors.jsonrpc import HEADER_MISMATCH, Budget, Malformed, classify, encode, parse
from connectors.mirror import BadMark, Mirrored, mirrored
from hub.errors import Unauthorized
from hub.model import Agent, Json
from hub.policy import decide
from hub.server.era import Caller, declared, read_envelope, said_version, unsupported
from hub.server.errors import Fault, fault_of
from hub.server.front import STREAMS_MAX, VALUES_MAX, Front
from hub.server.headers import (
    REPEATED,
    Allowed,
    Headers,
    accepts,
    check_mirrored,
    check_routing,
    gather,
    prefers_stream,
    text,
)
from hub.server.listening import SUBSCRIBING, agree, honoured
from hub.server.methods import answer, initialize, respond, silenced
from hub.server.replies import (
    MODERN_STATUS,
    Rejection,
    not_allowed,
    refused,
    send_empty,
    send_end,
    send_json,
    too_many_streams,
    unauthorized,
)
from hub.server.resumption import ResumableStream, serve_lost, serve_rest, serve_voice
from hub.server.running import Receive, Work
from hub.server.streams import EventStream, Outbox, Send, serve_call, serve_watch
from hub.sessions import Session

__all__ = ["HttpApp", "HttpSettings"]

Scope = MutableMapping[str, Any]

_SESSION_ID_MAX: Final = 256


class HttpSettings(Protocol):
    @property
    def allowed_hosts(self) -> Sequence[str]: ...
    @property
    def allowed_origins(self) -> Sequence[str]: ...
    @property
    def message_bytes_max(self) -> int: ...


class _Gone(Exception):
    """The client left before it had said all."""


class _Request:
    """One HTTP request to `/mcp` from an agent that is known, and how to answer it."""

    __slots__ = ("headers", "receive", "send", "takes_stream", "work")

    def __init__(self, headers: Headers, receive: Receive, send: Send, work: Work) -> None:
        self.headers = headers
        self.receive = receive
        self.send = send
        self.work = work
        self.takes_stream = True


class HttpApp:
    """The ASGI application for the agents' port. A foreign `Host` or `Origin` is answered 403."""

    def __init__(self, front: Front, settings: HttpSettings) -> None:
        self._front = front
        self._allowed = Allowed(settings.allowed_hosts, settings.allowed_origins)
        self._budget = Budget(settings.message_bytes_max, VALUES_MAX)
        self._mirrored: dict[str, tuple[Mirrored, ...]] = {}
        self._mirrored_of: Any = None
        """The catalog whose tools `_mirrored` knows."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            if scope["path"] == "/mcp":
                await self._mcp(scope, receive, send)
            else:
                await self._elsewhere(scope["path"], scope["method"], send)
        except Rejection as rejection:
            await rejection.send(send)

    async def _elsewhere(self, path: str, method: str, send: Send) -> None:
        if path not in ("/health", "/ready"):
            raise refused(404, "Not found: the MCP endpoint is /mcp")
        if method not in ("GET", "HEAD"):
            raise not_allowed("GET", "HEAD")
        if path == "/health":
            await send_json(send, 200, b'{"status":"ok"}')
        else:
            is_ready, counts = self._front.ready()
            await send_json(send, 200 if is_ready else 503, encode(counts))

    async def _mcp(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = gather(scope["headers"])
        agent, method = self._admit(headers), scope["method"]
        if method not in ("POST", "GET", "DELETE"):
            raise not_allowed("POST", "GET", "DELETE")
        work = self._front.running.add(agent)
        request = _Request(headers, receive, send, work)
        try:
            if method == "POST":
                await self._post(request)
            elif method == "GET":
                await self._get(request)
            else:
                await self._delete(request)
        except _Gone:
            return
        except asyncio.CancelledError:
            if not work.ended():
                raise
            await send_end(send, work)
        finally:
            self._front.running.discard(work)

    def _admit(self, headers: Headers) -> Agent:
        """Who asks. Raises `Rejection`: 403, 400, 401."""
        if not self._allowed.host(headers.get(b"host")):
            raise refused(403, "Forbidden: this Host is not served here")
        origin = headers.get(b"origin")
        if origin is not None and not self._allowed.origin(origin):
            raise refused(403, "Forbidden: this Origin may not ask here")
        repeated = headers.get(REPEATED)
        if repeated is not None:
            for name in (b"host", b"origin", b"authorization", b"mcp-session-id", b"content-type"):
                if name in repeated.split(b","):
                    raise refused(400, f"Invalid request: {name.decode()} came more than once")
        try:
            return self._front.identities.identify(text(headers, b"authorization"))
        except Unauthorized:
            raise unauthorized() from None

    async def _post(self, request: _Request) -> None:
        message, kind = await _message(request, self._budget)
        id = message["id"] if kind == "request" else None
        version = text(request.headers, b"mcp-protocol-version")
        try:
            if version in MODERN_VERSIONS:
                await self._modern(request, message, kind)
            else:
                _check_legacy(version, message)
                await self._legacy(request, message, kind)
        except Rejection as rejection:
            rejection.id = id
            raise
        except Fault as fault:
            raise Rejection(400, fault, id) from None
        except Exception as error:
            if request.work.started:
                raise
            raise Rejection(200, fault_of(error, modern=version in MODERN_VERSIONS), id) from None

    async def _modern(self, request: _Request, message: Json, kind: str) -> None:
        if kind == "response":
            raise refused(400, "Invalid request: clients send no responses")
        if kind == "notification":
            # None means anything in this era over HTTP: to cancel, a client closes its stream.
            await send_empty(request.send, 202)
            return
        method, params, work = message["method"], message.get("params") or {}, request.work
        envelope = read_envelope(params)
        check_routing(request.headers, envelope.version, method, params)
        if method == "tools/call":
            self._check_mirrored(request.headers, work.agent, params)
        # Whatever takes long enough is watched: a client that is gone has cancelled.
        work.receive = request.receive
        caller = Caller(work.agent, True, envelope.client, envelope.capabilities, None, envelope.log_level)
        if method == "subscriptions/listen":
            await self._listen(request, caller, message["id"], params)
            return
        await self._respond(request, caller, message["id"], method, params)

    async def _legacy(self, request: _Request, message: Json, kind: str) -> None:
        method, params, work = message.get("method"), message.get("params") or {}, request.work
        if kind == "request" and method == "initialize":
            try:
                session, result = await initialize(self._front, work.agent, "legacy", params)
            except Fault as fault:
                raise Rejection(200, fault) from None
            self._front.voices.open(session, work.agent)
            named = (b"mcp-session-id", session.id.encode())
            await send_json(request.send, 200, answer(message["id"], result), named)
            return
        session = await self._session(request)
        self._front.voices.heard(session.id)
        if kind == "request":
            # Its connection's end is no cancellation in this era: `notifications/cancelled` is.
            self._front.running.name(work, (session.id, message["id"]))
            capabilities = declared(session.version, session.capabilities)
            caller = Caller(work.agent, False, session.client, capabilities, session, session.log_level)
            if method in SUBSCRIBING:
                caller.watch = self._front.voices.of(session, work.agent).watch
            await self._respond(request, caller, message["id"], message["method"], params)
            return
        if kind == "response":
            self._front.questions.answer(session.id, message)
        if method == "notifications/cancelled":
            cancelled = params.get("requestId")
            # A number that only equals the id is not the id: 1.0 is not 1.
            if type(cancelled) is int or type(cancelled) is str:
                self._front.running.cancel((session.id, cancelled))
        await send_empty(request.send, 202)

    async def _respond(
        self, request: _Request, caller: Caller, id: int | str, method: str, params: Json
    ) -> None:
        front, work = self._front, request.work
        mute = silenced(caller, method, params) if request.takes_stream else None
        stream = EventStream(request.send, work)
        if caller.session is not None and not caller.modern:
            stream = ResumableStream(request.send, work, front.lines, caller.session, id)
        if mute is not None:
            outbox = Outbox(mute)
            if not caller.modern:
                caller.back = outbox.back
            outcome = await serve_call(
                stream,
                outbox,
                lambda notify: respond(front, caller, id, method, params, notify),
            )
            if outcome is None:
                return
        else:
            outcome = await respond(front, caller, id, method, params)
        code, answered = outcome
        if not code and request.takes_stream and prefers_stream(request.headers):
            await stream.start()
            await stream.say([answered], last=True)
            return
        work.waits_for_peer(True)
        work.started = True
        status = MODERN_STATUS.get(code, 200) if code and caller.modern else 200
        await send_json(request.send, status, answered)

    def _check_mirrored(self, headers: Headers, agent: Agent, params: Json) -> None:
        """Whether `Mcp-Param-*` headers say what the arguments say; tells nothing of tools not granted."""
        name, arguments, catalog = params.get("name"), params.get("arguments"), self._front.hub.catalog
        entry = catalog.find("tool", name) if type(name) is str else None
        if entry is None:
            return
        if self._mirrored_of is not catalog:
            self._mirrored_of, self._mirrored = catalog, {}
        wanted = self._mirrored.get(entry.name)
        if wanted is None:
            try:
                wanted = mirrored(entry.definition.get("inputSchema"))
            except BadMark:
                # Clients that keep to the rules do not use it over HTTP; nothing is asked of the others.
                wanted = ()
            self._mirrored[entry.name] = wanted
        if wanted and decide(agent.grants, entry.grant).allowed:
            check_mirrored(headers, wanted, arguments if type(arguments) is dict else {})

    async def _session(self, request: _Request) -> Session:
        """The session that a legacy request names. Another agent's is as unknown as none."""
        name = text(request.headers, b"mcp-session-id")
        if name is None:
            raise refused(400, "Invalid request: Mcp-Session-Id is missing; initialize first")
        session = None
        if len(name) <= _SESSION_ID_MAX:
            session = await self._front.sessions.get(name, request.work.agent)
        if session is None:
            raise refused(404, "Session not found: initialize again")
        return session

    async def _listen(self, request: _Request, caller: Caller, id: int | str, params: Json) -> None:
        if not request.takes_stream:
            raise refused(406, "Accept must allow text/event-stream")
        changes, work, wanted = self._front.changes, request.work, honoured(params)
        if changes.streams(work.agent) >= STREAMS_MAX:
            raise too_many_streams(STREAMS_MAX)
        with changes.connected(work.agent), changes.watch(work.agent, wanted.methods) as watch:
            agreed = await agree(self._front, caller, watch, wanted)
            await serve_watch(EventStream(request.send, work), watch, id, agreed)

    async def _get(self, request: _Request) -> None:
        """A legacy session's own stream, or the rest of any of its streams."""
        _check_has_sessions(request.headers)
        if not accepts(request.headers)[1]:
            raise refused(406, "Accept must allow text/event-stream")
        front, work = self._front, request.work
        session = await self._session(request)
        last_event_id = text(request.headers, b"last-event-id")
        resumed = front.lines.find(last_event_id, session.id) if last_event_id else None
        if last_event_id and resumed is None:
            raise refused(400, "Invalid request: Last-Event-ID is none that this server gave")
        if front.changes.streams(work.agent) >= STREAMS_MAX:
            raise too_many_streams(STREAMS_MAX)
        work.waits_for_peer(False)
        work.receive = request.receive
        stream = EventStream(request.send, work)
        with front.changes.connected(work.agent):
            line = None if resumed is None else resumed.line
            if resumed is not None and line is None and resumed.request is not None:
                await serve_lost(stream, resumed.request)
            elif resumed is not None and line is not None and line.request is not None:
                await serve_rest(stream, line, resumed.number)
            else:
                voice = front.voices.of(session, work.agent)
                number = None if resumed is None or line is None else resumed.number
                line = line or front.lines.open(session.id, None)
                await serve_voice(stream, voice, session, line, number)

    async def _delete(self, request: _Request) -> None:
        _check_has_sessions(request.headers)
        session = await self._session(request)
        await self._front.sessions.close(session)
        self._front.questions.end(session.id)
        self._front.voices.close(session.id)
        await send_empty(request.send, 204)


async def _message(request: _Request, budget: Budget) -> tuple[Json, str]:
    """What was posted, and its kind. Raises `Rejection`: 415, 406, 413, 400."""
    headers = request.headers
    content_type = headers.get(b"content-type", b"")
    if (
        content_type != b"application/json"
        and content_type.partition(b";")[0].strip(b" \t").lower() != b"application/json"
    ):
        raise refused(415, "Content-Type must be application/json")
    takes_json, request.takes_stream = accepts(headers)
    if not takes_json:
        raise refused(406, "Accept must allow application/json and text/event-stream")
    body = await _body(headers, request.receive, budget.bytes_max)
    request.work.waits_for_peer(False)
    try:
        message = parse(body, budget)
        return message, classify(message)
    except Malformed as error:
        raise Rejection(400, Fault(error.code, error.message), error.id) from None


async def _body(headers: Headers, receive: Receive, bytes_max: int) -> bytes:
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and (len(declared) > 18 or int(declared) > bytes_max):
        raise _too_large(bytes_max)
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Gone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > bytes_max:
            raise _too_large(bytes_max)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(bytes_max: int) -> Rejection:
    message = f"Request too large: at most {bytes_max} bytes (the hub's setting `message`)"
    return refused(413, message)


def _check_legacy(version: str | None, message: Json) -> None:
    """Whether a request without a modern version header may count as legacy. Raises `Fault`."""
    said = said_version(message)
    if said is not None and said != version:
        what = "is missing" if version is None else "is not what the body has in _meta"
        raise Fault(HEADER_MISMATCH, f"Header mismatch: MCP-Protocol-Version {what}")
    if version is not None and version not in LEGACY_VERSIONS:
        raise unsupported(version)


def _check_has_sessions(headers: Headers) -> None:
    """Whether the request is of an era that has GET and DELETE."""
    version = text(headers, b"mcp-protocol-version")
    if version not in LEGACY_VERSIONS and (version is not None or b"mcp-session-id" not in headers):
        raise not_allowed("POST")
