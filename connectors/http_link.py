"""One MCP server over Streamable HTTP, in both eras: each message is a POST of its own.

Modern links have no state but a stream of change notifications. Legacy ones have a session:
when the server forgets it, the link is over and its owner opens a new one.

Source: specification 2026-07-28 and 2025-11-25, basic/transports (streamable-http).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from connectors import jsonrpc, sse
from connectors.base import (
    LET_GO,
    MODERN_VERSIONS,
    Context,
    Json,
    LinkError,
    Notify,
    OnRequest,
    Peer,
    RemoteError,
)
from connectors.correlation import Correlation, Waiting
from connectors.http_answer import (
    answer_of,
    check_id,
    is_session_lost,
    legacy_refusal_of,
    message_of,
    refusal_of,
    session_of,
    without_subscription,
)
from connectors.http_listen import listen
from connectors.http_pool import Pool
from connectors.http_requests import Requests, modern_lines
from connectors.http_response import Response, Stream, status_text
from connectors.jsonrpc import METHOD_NOT_FOUND, Budget
from connectors.large import LARGE_BYTES
from connectors.negotiate import negotiate, stamp

__all__ = ["HttpLink"]

VALUES_MAX: Final = 5_000_000
QUESTIONS_MAX: Final = 64
BACKGROUND_MAX: Final = 256
BACKGROUND_SECONDS: Final = 5.0
END_SECONDS: Final = 2.0
RESUME_TRIES: Final = 3
RESUME_SECONDS: Final = 0.5
RESUME_SECONDS_MAX: Final = 300.0

_OF_THE_SERVER: Final = frozenset(
    {
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    }
)
"""What is never about one request, whatever stream it comes on."""


class HttpLink:
    """A `Link`. `start` it before use; `end` it after.

    Args:
        calls: Connections for requests.
        side: Connections for everything else.
        tasks: Where what goes on in the background runs; cancelled by its owner.
    """

    peer: Peer

    def __init__(
        self, requests: Requests, calls: Pool, side: Pool, context: Context, tasks: TaskGroup
    ) -> None:
        self.requests = requests
        self._calls = calls
        self.side = side
        self.context = context
        self._tasks = tasks
        self.budget = Budget(context.message_bytes_max, VALUES_MAX)
        self.correlation = Correlation()
        self._modern = True
        self._version = MODERN_VERSIONS[-1]
        self._session: str | None = None
        self._questions: dict[int | str, anyio.CancelScope] = {}
        self._background = 0
        self._over: str | None = None
        self._closed = anyio.Event()

    async def start(self) -> None:
        """Negotiate, and begin to listen."""
        self.peer = await negotiate(self, self.context)
        self._version, self._modern = self.peer.version, self.peer.modern
        self.requests.speak(self._version, self._session)
        if not self._modern:
            self._tasks.start_soon(listen, self)

    async def end(self) -> None:
        """Say goodbye to the session, if there is one: best effort, at most `END_SECONDS`."""
        had_session = self._session is not None and self._over is None
        self._close("the link was closed")
        if had_session:
            with anyio.move_on_after(END_SECONDS, shield=True):
                try:
                    response = await self.side.exchange(self.requests.delete())
                    response.leave()
                except LinkError:
                    pass  # it will notice by itself

    @property
    def closed(self) -> bool:
        return self._over is not None

    async def wait_closed(self) -> str:
        await self._closed.wait()
        return self._over or ""

    async def request(
        self,
        method: str,
        params: Json,
        *,
        capabilities: Json | None = None,
        log_level: str | None = None,
        on_notify: Notify | None = None,
        on_request: OnRequest | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        if self._over is not None:
            raise LinkError(self._over, sent=False)
        waiting, params = self.correlation.open(params, on_notify, on_request, answered_apart=True)
        is_sent, lines = False, ""
        try:
            if self._modern:
                params = stamp(params, self._version, self.context.client, capabilities, log_level)
                lines = self.requests.modern_lines(method, params, headers)
            body = jsonrpc.request(waiting.id, method, params)
            # A stream that lasts as long as the link must not take a call's place.
            pool = self.side if method == "subscriptions/listen" else self._calls
            connection = pool.take_idle() or await pool.acquire()
            is_sent = True
            response = await pool.send(connection, self.requests.post(body, lines))
            if response.status == 200 and response.stream is None:
                return answer_of(response, waiting.id, self.budget)
            return await self._follow(response, waiting)
        except asyncio.CancelledError:
            if is_sent and not self._modern:
                cancelled = {"requestId": waiting.id, "reason": "nobody waits for the answer any more"}
                self._tell_in_background("notifications/cancelled", cancelled)
            raise
        finally:
            self.correlation.close(waiting)

    async def notify(self, method: str, params: Json) -> None:
        if self._over is not None:
            raise LinkError(self._over, sent=False)
        try:
            self.check_session(await self._send(method, params))
        except LinkError as error:
            if not error.sent:
                raise

    # `negotiate.Wire`

    async def ask(self, method: str, params: Json, version: str) -> Json:
        is_modern = version in MODERN_VERSIONS
        self._modern, self._version = is_modern, version
        # An initialize request says its version in its body only: servers check the header
        # against what was agreed on, which is nothing yet.
        self.requests.speak(version if is_modern else None, None)
        waiting, params = self.correlation.open(params, None, answered_apart=True)
        try:
            body = jsonrpc.request(waiting.id, method, params)
            lines = modern_lines(method, params, None) if is_modern else ""
            response = await self._calls.exchange(self.requests.post(body, lines), repeatable=True)
            refused = legacy_refusal_of(response, self.budget) if is_modern else None
            if refused is not None:
                response.leave()
                raise refused
            if response.status == 200 and response.stream is None:
                result = answer_of(response, waiting.id, self.budget)
            else:
                result = await self._follow(response, waiting)
        finally:
            self.correlation.close(waiting)
        if not is_modern:
            self._session = session_of(response)
        return result

    async def tell(self, method: str, params: Json, version: str) -> None:
        self._version = version
        self.requests.speak(version, self._session)
        response = await self._send(method, params)
        if response.status >= 300:
            raise refusal_of(response, self.budget, self.requests.credentials)

    # What comes in.

    async def _follow(self, response: Response, waiting: Waiting) -> Json:
        """The result of a request from anything but plain JSON."""
        stream = response.stream
        if stream is None or response.status != 200:
            response.leave()
            self.check_session(response)
            if 200 <= response.status < 300:
                return answer_of(response, waiting.id, self.budget)
            raise refusal_of(response, self.budget, self.requests.credentials)
        reader = sse.Reader(self.context.message_bytes_max + 4096)
        tries, last_id = 0, b""
        while True:
            try:
                message = await self.read_stream(stream, reader, waiting)
                if message is not None:
                    return jsonrpc.outcome(message)
                broken = "its event stream ended before the answer"
                if waiting.on_notify is not None and reader.last_id and not self._modern:
                    waiting.on_notify(LET_GO, {"retry": reader.retry_milliseconds})
            except StreamBroken as error:
                broken = error.reason
            while True:
                tries = tries + 1 if reader.last_id == last_id else 1
                last_id = reader.last_id
                if self._modern or not last_id or tries > RESUME_TRIES:
                    raise LinkError(broken)
                try:
                    stream = await self._resume(reader)
                    break
                except StreamBroken as error:
                    broken = f"{broken}, and going on with it failed: {error.reason}"

    async def _resume(self, reader: sse.Reader) -> Stream:
        """The rest of a legacy stream, after the last event that was seen.

        Raises:
            StreamBroken: it did not work this time.
            LinkError: it is refused. Whatever happens here, the request itself was sent before.
        """
        asked = reader.retry_milliseconds
        await anyio.sleep(RESUME_SECONDS if asked is None else min(asked / 1000, RESUME_SECONDS_MAX))
        reader.restart()
        try:
            response = await self._calls.exchange(self.requests.get(reader.last_id), repeatable=True)
        except LinkError as error:
            raise StreamBroken(error.reason) from None
        if response.status == 200 and response.stream is not None:
            return response.stream
        response.leave()
        if self._is_forgotten(response):
            raise LinkError(self._over or "")
        raise LinkError(
            f"its event stream ended before the answer; {status_text(response.status)} to the rest"
        )

    async def read_stream(self, stream: Stream, reader: sse.Reader, waiting: Waiting | None) -> Json | None:
        """Pass on what comes until the response to `waiting`; `None` if the stream ends before it.

        Raises:
            StreamBroken: the connection broke; the stream may be resumed.
            LinkError: what came cannot be used.
        """
        try:
            while True:
                try:
                    chunk = await stream.read()
                except LinkError as error:
                    raise StreamBroken(error.reason) from None
                if not chunk:
                    return None
                for event in reader.feed(chunk):
                    # Empty data only carries an id to resume from; other names are no messages.
                    if not event.data or event.name != "message":
                        continue
                    kind, message = message_of(event.data, self.budget)
                    if kind == "notification":
                        self._on_notification(message, waiting)
                    elif kind == "request":
                        self._on_question(message, waiting)
                    elif waiting is not None:
                        check_id(message, waiting.id)
                        stream.close(drain=True)
                        return message if stream.hold is None else jsonrpc.hold_on(message, stream.hold)
                if stream.hold is not None or reader.unfinished > LARGE_BYTES:
                    stream.follow(partial(self.context.large.hold, self.context.name), reader.unfinished)
        except sse.TooLarge:
            limit = self.context.message_bytes_max
            reason = f"it sent an event larger than {limit} bytes (`limits: {{message: ...}}`)"
            raise LinkError(reason, too_large=True) from None
        finally:
            stream.close()

    def _on_notification(self, message: Json, waiting: Waiting | None) -> None:
        method, params = message["method"], message.get("params", {})
        if method == "notifications/progress":
            self.correlation.progress(params)
        elif method == "notifications/cancelled":
            id = params.get("requestId")
            scope = self._questions.get(id) if isinstance(id, int | str) else None
            if scope is not None:
                scope.cancel()
        elif waiting is None or method in _OF_THE_SERVER:
            self.context.on_notify(method, without_subscription(params))
        elif waiting.on_notify is not None:
            waiting.on_notify(method, params)

    def _on_question(self, message: Json, waiting: Waiting | None) -> None:
        """A legacy server's request: answered by a POST of its own, while its stream is read on."""
        if self._modern:
            raise LinkError(
                f"it sent a request ({message['method']:.60}), which {self._version} does not allow"
            )
        if len(self._questions) >= QUESTIONS_MAX:
            raise LinkError(f"it asked more than {QUESTIONS_MAX} questions at a time")
        if message["id"] in self._questions:
            raise LinkError("it asked two questions with one id")
        scope = self._questions[message["id"]] = anyio.CancelScope()
        asked = self.correlation.asked() if waiting is None else waiting.on_request
        asked = asked or self.context.on_request
        self._tasks.start_soon(self._answer, message, asked, scope)

    async def _answer(self, message: Json, asked: OnRequest | None, scope: anyio.CancelScope) -> None:
        method = message["method"]
        answer: Json = {"jsonrpc": "2.0", "id": message["id"]}
        try:
            with scope:
                if method == "ping":
                    answer["result"] = {}
                elif asked is None:
                    answer["error"] = {"code": METHOD_NOT_FOUND, "message": f"Method not found: {method}"}
                else:
                    try:
                        answer["result"] = await asked(method, message.get("params", {}))
                    except RemoteError as error:
                        answer["error"] = error.as_json()
        finally:
            del self._questions[message["id"]]
        if not scope.cancelled_caught:
            with anyio.move_on_after(BACKGROUND_SECONDS):
                try:
                    response = await self.side.exchange(self.requests.post(jsonrpc.encode(answer)))
                    response.leave()
                except LinkError:
                    pass  # whoever waits for the request that it belongs to will learn why

    # What goes out besides requests.

    async def _send(self, method: str, params: Json) -> Response:
        lines = modern_lines(method, params, None) if self._modern else ""
        response = await self.side.exchange(self.requests.post(jsonrpc.notification(method, params), lines))
        response.leave()
        return response

    def _tell_in_background(self, method: str, params: Json) -> None:
        if self._background < BACKGROUND_MAX and self._over is None:
            self._background += 1
            self._tasks.start_soon(self._tell_quietly, method, params)

    async def _tell_quietly(self, method: str, params: Json) -> None:
        try:
            with anyio.move_on_after(BACKGROUND_SECONDS):
                await self._send(method, params)
        except LinkError:
            pass  # nobody waits for it
        finally:
            self._background -= 1

    def check_session(self, response: Response) -> None:
        """End the link if this answer says that the server has forgotten its session.

        Raises:
            LinkError: it has; what was asked was not done.
        """
        if self._is_forgotten(response):
            raise LinkError(self._over or "", sent=False)

    def _is_forgotten(self, response: Response) -> bool:
        if self._session is None or not is_session_lost(response, self.budget):
            return False
        self._close(f"the server no longer knows the session ({status_text(response.status)})")
        return True

    def _close(self, reason: str) -> None:
        if self._over is None:
            self._over = reason
            self._closed.set()


class StreamBroken(LinkError):
    """The connection of an event stream broke."""
