"""The hub over HTTP: `/mcp` in both eras, `/health`, `/ready`, and nothing else.

A modern request is judged by its own headers and `_meta`; a legacy one by the session that its
`Mcp-Session-Id` names. A call that nothing is said of while it runs is answered as one JSON
object, within the task of its request. Identity comes before a body is read.

Source: specification 2026-07-28 and 2025-11-25, basic/transports (Streamable HTTP).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

from connectors.base import LEGACY_VERSIONS, MODERN_VERSIONS
from connectors.jsonrpc import HEADER_MISMATCH, Budget, Malformed, classify, encode, parse
from connectors.mirror import BadMark, Mirrored, mirrored
from hub.model import Agent, Json
from hub.policy import decide
from hub.server.admission import Admission, AdmissionSettings
from hub.server.era import Caller, declared, read_envelope, said_version, unsupported
from hub.server.errors import Fault, fault_of
from hub.server.front import STREAMS_MAX, VALUES_MAX, Front
from hub.server.headers import (
    Facts,
    check_mirrored,
    check_routing,
    text,
)
from hub.server.listening import SUBSCRIBING, agree, honoured
from hub.server.methods import AFTER, answer, before, failed, initialize, respond, result_of, silenced
from hub.server.replies import (
    MODERN_STATUS,
    Rejection,
    crowded,
    not_allowed,
    refused,
    send_end,
    too_many_streams,
)
from hub.server.resumption import ResumableStream, serve_lost, serve_rest, serve_voice
from hub.server.running import Work
from hub.server.streams import EventStream, Outbox, serve_call, serve_watch
from hub.server.wire_request import BrokenBody, Crowded, Gone, Request, TooLarge
from hub.sessions import Session

__all__ = ["HttpApp", "HttpSettings"]

_SESSION_ID_MAX: Final = 256


class HttpSettings(AdmissionSettings, Protocol):
    @property
    def message_bytes_max(self) -> int: ...


class _Asked:
    """One HTTP request to `/mcp` from an agent that is known, and what is done for it."""

    __slots__ = ("facts", "request", "work")

    def __init__(self, request: Request, facts: Facts, work: Work) -> None:
        self.request = request
        self.facts = facts
        self.work = work


class HttpApp:
    """What answers on the agents' port. A foreign `Host` or `Origin` is answered 403."""

    def __init__(self, front: Front, settings: HttpSettings) -> None:
        self._front = front
        self._admission = Admission(front.identities, settings)
        self._budget = Budget(settings.message_bytes_max, VALUES_MAX)
        self._mirrored: dict[str, tuple[Mirrored, ...]] = {}
        self._mirrored_of: Any = None
        """The catalog whose tools `_mirrored` knows."""

    async def __call__(self, request: Request) -> None:
        try:
            if request.head.path == "/mcp":
                await self._mcp(request)
            else:
                self._elsewhere(request)
        except Rejection as rejection:
            rejection.send(request)

    def _elsewhere(self, request: Request) -> None:
        path, method = request.head.path, request.head.method
        document = self._admission.documents.get(path)
        if path not in ("/health", "/ready") and document is None:
            raise refused(404, "Not found: the MCP endpoint is /mcp")
        if method not in ("GET", "HEAD"):
            raise not_allowed("GET", "HEAD")
        if document is not None:
            request.answer(200, document)
        elif path == "/health":
            request.answer(200, b'{"status":"ok"}')
        else:
            is_ready, counts = self._front.ready()
            request.answer(200 if is_ready else 503, encode(counts))

    async def _mcp(self, request: Request) -> None:
        head = request.head
        facts: Facts | None = head.facts
        if facts is None:
            facts = head.facts = Facts(head.pairs)
        agent = self._admission.admit(facts.headers) or await self._admission.prove(facts.headers)
        method = head.method
        if method not in ("POST", "GET", "DELETE"):
            raise not_allowed("POST", "GET", "DELETE")
        work = self._front.running.add(agent)
        asked = _Asked(request, facts, work)
        try:
            if method == "POST":
                await self._post(asked)
            elif method == "GET":
                await self._get(asked)
            else:
                await self._delete(asked)
        except Gone:
            return
        except asyncio.CancelledError:
            if not work.ended():
                raise
            send_end(request, work)
        finally:
            self._front.running.discard(work)

    async def _post(self, asked: _Asked) -> None:
        message, kind = await _message(asked, self._budget)
        id = message["id"] if kind == "request" else None
        version = asked.facts.version
        try:
            if version in MODERN_VERSIONS:
                await self._modern(asked, message, kind)
            else:
                _check_legacy(version, message)
                await self._legacy(asked, message, kind)
        except Rejection as rejection:
            rejection.id = id
            raise
        except Fault as fault:
            raise Rejection(400, fault, id) from None
        except Exception as error:
            if asked.request.started:
                raise
            raise Rejection(200, fault_of(error, modern=version in MODERN_VERSIONS), id) from None

    async def _modern(self, asked: _Asked, message: Json, kind: str) -> None:
        if kind == "response":
            raise refused(400, "Invalid request: clients send no responses")
        if kind == "notification":
            # None means anything in this era over HTTP: to cancel, a client closes its stream.
            asked.request.answer(202)
            return
        method, params, work = message["method"], message.get("params") or {}, asked.work
        envelope = read_envelope(params)
        self._check_headers(asked.facts, envelope.version, method, params, work.agent)
        # A client that is gone has cancelled.
        asked.request.on_gone(work.gone)
        caller = Caller(work.agent, True, envelope.client, envelope.capabilities, None, envelope.log_level)
        caller.named = asked.facts.named
        if method == "subscriptions/listen":
            await self._listen(asked, caller, message["id"], params)
            return
        await self._respond(asked, caller, message["id"], method, params)

    async def _legacy(self, asked: _Asked, message: Json, kind: str) -> None:
        method, params, work = message.get("method"), message.get("params") or {}, asked.work
        if kind == "request" and method == "initialize":
            try:
                session, result = await initialize(self._front, work.agent, "legacy", params)
            except Fault as fault:
                raise Rejection(200, fault) from None
            self._front.voices.open(session, work.agent)
            named = (b"mcp-session-id", session.id.encode())
            asked.request.answer(200, answer(message["id"], result), named)
            return
        session = await self._session(asked)
        self._front.voices.heard(session.id)
        if kind == "request":
            # Its connection's end is no cancellation in this era: `notifications/cancelled` is.
            self._front.running.name(work, (session.id, message["id"]))
            capabilities = declared(session.version, session.capabilities)
            caller = Caller(work.agent, False, session.client, capabilities, session, session.log_level)
            caller.named = asked.facts.named
            if method in SUBSCRIBING:
                caller.watch = self._front.voices.of(session, work.agent).watch
            await self._respond(asked, caller, message["id"], message["method"], params)
            return
        if kind == "response":
            self._front.questions.answer(session.id, message)
        if method == "notifications/cancelled":
            cancelled = params.get("requestId")
            # A number that only equals the id is not the id: 1.0 is not 1.
            if type(cancelled) is int or type(cancelled) is str:
                self._front.running.cancel((session.id, cancelled))
        asked.request.answer(202)

    async def _respond(self, asked: _Asked, caller: Caller, id: int | str, method: str, params: Json) -> None:
        front, request, facts = self._front, asked.request, asked.facts
        mute = silenced(caller, method, params) if facts.takes_stream else None
        stream: EventStream | None = None
        if mute is not None or facts.prefers_stream:
            if caller.session is not None and not caller.modern:
                stream = ResumableStream(request, asked.work, front.lines, caller.session, id)
            else:
                stream = EventStream(request, asked.work)
        if mute is not None and stream is not None:
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
        elif facts.prefers_stream:
            outcome = await respond(front, caller, id, method, params)
        else:
            try:
                result = await result_of(front, caller, method, params)
            except Exception as error:
                outcome = failed(error, caller, id, method, params)
            else:
                text, rest = result if isinstance(result, tuple) else (result, b"")
                request.answer(200, text, before=before(id), after=rest + AFTER)
                return
        code, answered = outcome
        if not code and stream is not None and facts.prefers_stream:
            await stream.start()
            await stream.say([answered], last=True)
            return
        status = MODERN_STATUS.get(code, 200) if code and caller.modern else 200
        request.answer(status, answered)

    def _check_headers(self, facts: Facts, version: Any, method: str, params: Json, agent: Agent) -> None:
        """Whether the headers of a modern request say what its body says. Raises `Fault`."""
        said, catalog = (version, method, params.get("name")), self._front.hub.catalog
        if facts.agreed_with is catalog and facts.agreed == said:
            return  # the same head and the same call: 2 us less
        check_routing(facts, version, method, params)
        if method == "tools/call" and self._check_mirrored(facts, agent, params):
            facts.agreed_with, facts.agreed = catalog, said

    def _check_mirrored(self, facts: Facts, agent: Agent, params: Json) -> bool:
        """Whether `Mcp-Param-*` headers say what the arguments say; tells nothing of tools not granted.

        Returns:
            Whether it is the same for all arguments: none of this tool's is said again.
        """
        name, arguments, catalog = params.get("name"), params.get("arguments"), self._front.hub.catalog
        entry = catalog.find("tool", name) if type(name) is str else None
        if entry is None:
            return False
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
        if wanted and decide(agent.grants, entry).allowed:
            check_mirrored(facts, wanted, arguments if type(arguments) is dict else {})
        return not wanted

    async def _session(self, asked: _Asked) -> Session:
        """The session that a legacy request names. Another agent's is as unknown as none."""
        name = asked.facts.session
        if name is None:
            raise refused(400, "Invalid request: Mcp-Session-Id is missing; initialize first")
        session = None
        if len(name) <= _SESSION_ID_MAX:
            session = await self._front.sessions.get(name, asked.work.agent)
        if session is None:
            raise refused(404, "Session not found: initialize again")
        return session

    async def _listen(self, asked: _Asked, caller: Caller, id: int | str, params: Json) -> None:
        if not asked.facts.takes_stream:
            raise refused(406, "Accept must allow text/event-stream")
        changes, work, wanted = self._front.changes, asked.work, honoured(params)
        if changes.streams(work.agent) >= STREAMS_MAX:
            raise too_many_streams(STREAMS_MAX)
        with changes.connected(work.agent), changes.watch(work.agent, wanted.methods) as watch:
            agreed = await agree(self._front, caller, watch, wanted)
            await serve_watch(EventStream(asked.request, work), watch, id, agreed)

    async def _get(self, asked: _Asked) -> None:
        """A legacy session's own stream, or the rest of any of its streams."""
        _check_has_sessions(asked.facts)
        if not asked.facts.takes_stream:
            raise refused(406, "Accept must allow text/event-stream")
        front, work = self._front, asked.work
        session = await self._session(asked)
        last_event_id = text(asked.facts.headers, b"last-event-id")
        resumed = front.lines.find(last_event_id, session.id) if last_event_id else None
        if last_event_id and resumed is None:
            raise refused(400, "Invalid request: Last-Event-ID is none that this server gave")
        if front.changes.streams(work.agent) >= STREAMS_MAX:
            raise too_many_streams(STREAMS_MAX)
        work.waits_for_peer(False)
        asked.request.on_gone(work.gone)
        stream = EventStream(asked.request, work)
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

    async def _delete(self, asked: _Asked) -> None:
        _check_has_sessions(asked.facts)
        session = await self._session(asked)
        await self._front.sessions.close(session)
        self._front.questions.end(session.id)
        self._front.voices.close(session.id)
        asked.request.answer(204)


async def _message(asked: _Asked, budget: Budget) -> tuple[Json, str]:
    """What was posted, and its kind. Raises `Rejection`: 415, 406, 413, 400."""
    if not asked.facts.is_json:
        raise refused(415, "Content-Type must be application/json")
    if not asked.facts.takes_json:
        raise refused(406, "Accept must allow application/json and text/event-stream")
    try:
        body = await asked.request.body(budget.bytes_max)
    except TooLarge:
        message = f"Request too large: at most {budget.bytes_max} bytes (the hub's setting `message`)"
        raise refused(413, message) from None
    except Crowded as error:
        raise crowded(str(error)) from None
    except BrokenBody as error:
        raise refused(400, str(error)) from None
    asked.work.waits_for_peer(False)
    try:
        message = parse(body, budget)
        return message, classify(message)
    except Malformed as error:
        raise Rejection(400, Fault(error.code, error.message), error.id) from None


def _check_legacy(version: str | None, message: Json) -> None:
    """Whether a request without a modern version header may count as legacy. Raises `Fault`."""
    said = said_version(message)
    if said is not None and said != version:
        what = "is missing" if version is None else "is not what the body has in _meta"
        raise Fault(HEADER_MISMATCH, f"Header mismatch: MCP-Protocol-Version {what}")
    if version is not None and version not in LEGACY_VERSIONS:
        raise unsupported(version)


def _check_has_sessions(facts: Facts) -> None:
    """Whether the request is of an era that has GET and DELETE."""
    version = facts.version
    if version not in LEGACY_VERSIONS and (version is not None or facts.session is None):
        raise not_allowed("POST")
