"""The link to a server that is a program: one JSON-RPC message a line over its stdin and stdout.

No SDK, and nothing on the way of a message but this file: what the event loop reads is cut into
lines, parsed once, and handed to the future that waits for it. A server that breaks the framing
is ended; one that breaks a single answer fails that request alone.

Source: specification 2026-07-28, basic/transports/stdio; 2025-11-25, basic/transports, "stdio".
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from connectors import jsonrpc
from connectors.base import (
    SUBSCRIPTION_ID_KEY,
    Context,
    Json,
    LinkError,
    Notify,
    OnRequest,
    Peer,
    RemoteError,
)
from connectors.child import Child
from connectors.correlation import Correlation
from connectors.large import LARGE_BYTES, Hold
from connectors.negotiate import negotiate, stamp
from connectors.stderr import harmless, is_chatter

__all__ = ["StdioLink"]

logger = logging.getLogger(__name__)

CONCURRENT_DEFAULT: Final = 64
VALUES_MAX: Final = 5_000_000
BANNER_LINES_MAX: Final = 20
"""Lines on stdout that are no JSON, before the server has answered: some print a greeting there."""
STRAY_LINES_MAX: Final = 10
"""How many answers that belong to no request are told to people; the rest is only counted."""
QUESTIONS_MAX: Final = 32
"""Questions of a legacy server under way at once."""
LAST_WORDS: Final = 5


class StdioLink:
    """One running server. See `connectors.base.Link`."""

    peer: Peer

    def __init__(self, context: Context) -> None:
        self._context = context
        self._child: Child
        self._correlation = Correlation()
        self._slots = asyncio.Semaphore(context.concurrent_max or CONCURRENT_DEFAULT)
        self._budget = jsonrpc.Budget(context.message_bytes_max, VALUES_MAX)
        self._unfinished = bytearray()
        self._hold: Hold | None = None
        """Of the unfinished line, where that is large."""
        self._room = self._room_least = min(LARGE_BYTES, self._budget.bytes_max)
        """How long the line may get before more room is asked for."""
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)
        self._banner_lines = 0
        self._negotiated = False
        self._modern = False
        self._questions: dict[int | str, asyncio.Task[None]] = {}
        self._reason: str | None = None
        self._closed = asyncio.Event()

    def attach(self, child: Child) -> None:
        self._child = child

    # What the hub uses.

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
        if self._modern:
            params = stamp(params, self.peer.version, self._context.client, capabilities, log_level)
        if method == "subscriptions/listen":  # Lasts as long as the link: must not take a place for ever.
            return await self._ask(method, params, on_notify, lasting=True)
        async with self._slots:
            return await self._ask(method, params, on_notify, on_request)

    async def notify(self, method: str, params: Json) -> None:
        await self._ready()
        self._child.write(jsonrpc.notification(method, params) + b"\n")

    async def wait_closed(self) -> str:
        await self._closed.wait()
        assert self._reason is not None
        return self._reason

    @property
    def closed(self) -> bool:
        return self._reason is not None

    @property
    def stray(self) -> int:
        """Answers and progress that belonged to no request, so far."""
        return self._correlation.stray

    @property
    def unread_bytes(self) -> int:
        """What waits here because the server does not read it."""
        return self._child.unread_bytes

    # What `negotiate` uses.

    async def negotiate(self) -> None:
        try:
            self.peer = await negotiate(self, self._context)
        except LinkError as error:
            if self._reason is not None:  # The end says its last words itself.
                raise
            raise LinkError(self._with_last_words(error.reason), sent=error.sent) from None
        self._modern = self.peer.modern
        self._negotiated = True

    async def ask(self, method: str, params: Json, version: str) -> Json:
        return await self._ask(method, params, None)

    async def tell(self, method: str, params: Json, version: str) -> None:
        await self.notify(method, params)

    # Sending.

    async def _ask(
        self,
        method: str,
        params: Json,
        on_notify: Notify | None,
        on_request: OnRequest | None = None,
        *,
        lasting: bool = False,
    ) -> Json:
        await self._ready()
        waiting, params = self._correlation.open(params, on_notify, on_request, lasting=lasting)
        try:
            self._child.write(jsonrpc.request(waiting.id, method, params) + b"\n")
            response = await waiting.future
        except asyncio.CancelledError:
            # Nobody cancels a handshake: a legacy server may take no notification before its end.
            if self._negotiated and self._reason is None:
                about = {"requestId": waiting.id, "reason": "The caller cancelled it or its time was up"}
                self._child.write(jsonrpc.notification("notifications/cancelled", about) + b"\n")
            raise
        finally:
            self._correlation.close(waiting)
        return jsonrpc.outcome(response)

    async def _ready(self) -> None:
        """Wait until the server reads what it was sent before. Raises if it never will."""
        while self._child.paused and self._reason is None:
            await self._child.drained()
        if self._reason is not None:
            raise LinkError(self._reason, sent=False)

    def _reply(self, id: int | str, outcome: Json) -> None:
        # A server that asks and asks but does not read gets no answer, rather than all our memory.
        if not self._child.paused:
            self._child.write(jsonrpc.encode({"jsonrpc": "2.0", "id": id, **outcome}) + b"\n")

    # Receiving.

    def feed(self, data: bytes) -> None:
        """Bytes of stdout, as they come. Looks at each byte once."""
        start = 0
        while self._reason is None and (end := data.find(b"\n", start)) >= 0:
            if self._unfinished:
                self._unfinished += data[start:end]
                line = bytes(self._unfinished)
                self._unfinished.clear()
            else:
                line = data[start:end]
            start = end + 1
            hold = None if self._hold is None else self._let_go()
            if line and not line.isspace():
                self._take(line, hold)
        if self._reason is not None:
            return
        self._unfinished += data[start:]
        if len(self._unfinished) > self._room:
            self._ask_for_room()

    def _ask_for_room(self) -> None:
        """The line is a large one: read on when there is room for it."""
        size = len(self._unfinished)
        if size > self._budget.bytes_max:
            self._fail_too_large()
            return
        hold = self._hold = self._hold or self._context.large.hold(self._context.name)
        if hold.grow(size, self._read_on):
            self._room = min(hold.size, self._budget.bytes_max)
        else:
            self._child.pause_output(True)

    def _read_on(self) -> None:
        assert self._hold is not None
        self._room = min(self._hold.size, self._budget.bytes_max)
        self._child.pause_output(False)

    def _let_go(self) -> Hold | None:
        """The line is over: what it has taken, if it was a large one."""
        hold, self._hold, self._room = self._hold, None, self._room_least
        if hold is not None and hold.leave():
            self._child.pause_output(False)
        return hold

    def _take(self, line: bytes, hold: Hold | None) -> None:
        if len(line) > self._budget.bytes_max:
            self._fail_too_large()
            return
        try:
            message = jsonrpc.parse(line, self._budget)
            kind = jsonrpc.classify(message)
        except jsonrpc.Malformed as error:
            self._take_malformed(line, error)
            return
        if kind == "response":
            if message["id"] is None and not self._negotiated and (only := self._correlation.only()):
                message["id"] = only.id  # It could not read our question, and there is but one.
            jsonrpc.keep_spelling(message, line)
            if hold is not None:
                jsonrpc.hold_on(message, hold)
            stray = self.stray
            self._correlation.settle(message)
            if stray < self.stray <= STRAY_LINES_MAX:
                self.hear(f"stdout: an answer that belongs to no request: id {message['id']!r:.40}")
        elif kind == "notification":
            self._take_notification(message["method"], message.get("params", {}))
        else:
            self._take_question(message["id"], message["method"], message.get("params", {}))

    def _take_malformed(self, line: bytes, error: jsonrpc.Malformed) -> None:
        """One bad answer (a cut emoji, NaN) fails its own request; what is no message at all, the link."""
        try:
            text = line.decode()
        except UnicodeDecodeError:
            self._fail(f"it printed what is not UTF-8: {_quoted(line.decode(errors='replace'))}")
            return
        message = _lenient(text)
        if message is not None:
            if not self._correlation.reject(message.get("id"), f"the server's answer is malformed: {error}"):
                self.hear(f"stdout: {error}: {_quoted(text)}")
        elif not self._negotiated and self._banner_lines < BANNER_LINES_MAX:
            self._banner_lines += 1
            self.hear(f"stdout: {harmless(text[:400])}")
        else:
            self._fail(f"it printed what is no JSON-RPC: {_quoted(text)}")

    def _take_notification(self, method: str, params: Json) -> None:
        if method == "notifications/progress":
            self._correlation.progress(params)
        elif method == "notifications/cancelled":
            self._take_cancelled(params.get("requestId"))
        elif (notify := self._addressee(method, params)) is not None:
            notify(method, params)
        else:
            self._context.on_notify(method, params)

    def _addressee(self, method: str, params: Json) -> Notify | None:
        """The request that a notification belongs to: by its subscription, or because it is the only one."""
        meta = params.get("_meta")
        if meta is not None and SUBSCRIPTION_ID_KEY in meta:
            waiting = self._correlation.find(meta[SUBSCRIPTION_ID_KEY])
        elif method in ("notifications/message", "notifications/elicitation/complete"):
            waiting = self._correlation.only()
        else:
            waiting = None
        return None if waiting is None else waiting.on_notify

    def _take_cancelled(self, id: object) -> None:
        """The server withdraws its question (legacy), or ends a subscription (modern)."""
        if not self._modern and type(id) in (int, str) and id in self._questions:
            self._questions[id].cancel()
        else:
            self._correlation.reject(id, "the server ended the subscription", lasting=True)

    def _take_question(self, id: int | str, method: str, params: Json) -> None:
        if self._modern:  # Such a server must not ask, and nothing may be answered.
            self._correlation.stray += 1
        elif method == "ping":
            self._reply(id, {"result": {}})
        elif (on_request := self._correlation.asked() or self._context.on_request) is None:
            self._reply(id, _error(jsonrpc.METHOD_NOT_FOUND, f"Method not found: {method}"))
        elif id in self._questions or len(self._questions) >= QUESTIONS_MAX:
            self._reply(id, _error(jsonrpc.INTERNAL_ERROR, "Too many questions at once, or one id twice"))
        else:
            task = asyncio.ensure_future(self._answer(on_request, id, method, params))
            self._questions[id] = task
            task.add_done_callback(lambda _: self._questions.pop(id, None))

    async def _answer(self, on_request: OnRequest, id: int | str, method: str, params: Json) -> None:
        try:
            outcome: Json = {"result": await on_request(method, params)}
        except RemoteError as error:
            outcome = _error(error.code, error.message, error.data)
        except Exception:  # The edge between two peers: a fault here is an answer there.
            logger.exception("server %s: its question %s could not be answered", self._context.name, method)
            outcome = _error(jsonrpc.INTERNAL_ERROR, "Internal error")
        while self._child.paused and self._reason is None:
            await self._child.drained()
        self._reply(id, outcome)

    def hear(self, line: str) -> None:
        """One line for people."""
        if not is_chatter(line):
            self._last_words.append(line)
        self._context.on_stderr(line)

    # Ending.

    def _fail(self, sentence: str) -> None:
        self._child.kill()
        self.end(sentence)

    def _fail_too_large(self) -> None:
        limit = f"{self._budget.bytes_max} bytes (`limits: {{message: ...}}` in its manifest)"
        self._child.kill()
        self.end(f"it sent a line of more than {limit}", too_large=True)

    def end(self, sentence: str, *, too_large: bool = False) -> None:
        """It is over. The first reason stands."""
        if self._reason is not None:
            return
        self._reason = reason = self._with_last_words(sentence)
        self._unfinished.clear()
        self._let_go()
        for question in self._questions.values():
            question.cancel()
        self._correlation.fail(lambda: LinkError(reason, too_large=too_large))
        self._closed.set()

    def _with_last_words(self, sentence: str) -> str:
        words = " | ".join(line for line in self._last_words if line.strip())
        return f"{sentence}. Its last words: {words}" if words else sentence

    async def aclose(self) -> None:
        """Fail what is under way; nothing of the link is left running."""
        self._last_words.clear()
        self.end("it was closed")
        if self._questions:
            await asyncio.wait(list(self._questions.values()), timeout=1)


def _error(code: int, message: str, data: Any = None) -> Json:
    error: Json = {"code": code, "message": message}
    return {"error": error if data is None else {**error, "data": data}}


def _lenient(text: str) -> Json | None:
    """A JSON-RPC message that only the strict parser refuses: read to find out whose it is, never used."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value.get("jsonrpc") == "2.0" else None


def _quoted(text: str) -> str:
    return f"'{harmless(text[:200])}'"
