"""The admin plane over HTTP, on a Unix socket in the hub's own folder: `POST /v1/OPERATION`.

The body is a JSON object with the operation's arguments. The answer is `{"result": …}` or
`{"error": {"code", "message", "hint"}}`; to `Accept: application/x-ndjson` it comes as lines, with
`{"progress": "…"}` before it and an empty line every few seconds while work goes on. Who may
connect is the file system's decision (mode 0600); no agent's token means anything here, and
nothing of this is ever mounted on the agents' port. Plain ASGI: there is nothing to route.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import anyio
from pydantic import ValidationError

from connectors import jsonrpc
from hub.admin import Admin, Progress, operations
from hub.failure import Failure, failure_of

__all__ = ["AdminApp"]

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_BUDGET: Final = jsonrpc.Budget(bytes_max=64 * 1024 * 1024, values_max=2_000_000)
_BEAT_SECONDS: Final = 5.0
_PROGRESS_QUEUE: Final = 64
_STATUS: Final[Mapping[str, int]] = {
    "usage": 400,
    "invalid_params": 400,
    "unknown_operation": 404,
    "unexpected": 500,
}


class AdminApp:
    """The ASGI application. It starts nothing of its own and keeps no state."""

    def __init__(self, admin: Admin) -> None:
        self._operations = operations(admin)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        progress = _Lines(send) if _wants_lines(scope) else None
        try:
            work = await _prepare(self._operations, scope, receive, progress.tell if progress else _ignore)
        except Failure as failure:
            await _answer(send, failure.as_json())
            return
        if work is not None:
            await _while_connected(receive, _run(work, send, progress))


def _ignore(sentence: str) -> None:
    """Nobody asked for progress."""


async def _prepare(
    known: Mapping[str, Callable[..., Awaitable[Any]]], scope: Message, receive: Receive, progress: Progress
) -> Awaitable[Any] | None:
    """The operation that is asked for, with checked arguments, not begun yet.

    Raises:
        Failure: there is none, or they do not fit.
    """
    name = scope["path"].removeprefix("/v1/")
    operation = known.get(name) if scope["path"].startswith("/v1/") else None
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > _BUDGET.bytes_max:
            raise Failure("usage", f"The request is larger than {_BUDGET.bytes_max} bytes.")
        if not message.get("more_body"):
            break
    if operation is None or scope["method"] != "POST":
        raise Failure(
            "unknown_operation",
            f"This hub has no operation {name[:60]!r}.",
            "The hub that runs may be of another version: start it again.",
        )
    try:
        arguments = jsonrpc.parse(body or b"{}", _BUDGET)
    except jsonrpc.Malformed as error:
        raise Failure("usage", error.message) from None
    if type(arguments) is not dict or "progress" in arguments or "peer" in arguments:
        raise Failure("usage", "The body is a JSON object of the operation's arguments.")
    if name in Admin.TELLING:
        arguments["progress"] = progress
    if name in Admin.SIGNED:
        # Who it is, the operating system says; what the request says of that counts for nothing.
        arguments["peer"] = scope["client"][0]
    try:
        return operation(**arguments)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Failure("usage", f"{name}: {where}: {first['msg']}") from None


async def _run(work: Awaitable[Any], send: Send, progress: _Lines | None) -> None:
    try:
        if progress is None:
            answer = await _outcome(work)
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(progress.run)
                answer = await _outcome(work)
                tasks.cancel_scope.cancel()
        await _answer(send, answer, progress)
    except OSError:
        log.debug("admin: whoever asked has gone")


async def _outcome(work: Awaitable[Any]) -> dict[str, Any]:
    try:
        return {"result": await work}
    except Exception as error:
        failure = failure_of(error)
        if failure is None:
            log.exception("admin: an operation failed in an unforeseen way")
            failure = Failure(
                "unexpected",
                f"The hub failed in an unforeseen way: {type(error).__name__}.",
                "What `hub serve` wrote tells where.",
            )
        return failure.as_json()


async def _while_connected(receive: Receive, work: Awaitable[None]) -> None:
    """Await `work`, but no longer than somebody waits for it."""
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                continue
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        await work
        tasks.cancel_scope.cancel()


class _Lines:
    """The answer as lines: what is said while the work goes on, and that it still goes on."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._told: list[str] = []
        self._event = anyio.Event()
        self.started = False

    def tell(self, sentence: str) -> None:
        # Only the latest matter: nobody reads more than the last line.
        self._told = [*self._told[1 - _PROGRESS_QUEUE :], sentence]
        self._event.set()

    async def run(self) -> None:
        while True:
            with anyio.move_on_after(_BEAT_SECONDS):
                await self._event.wait()
            self._event = anyio.Event()
            lines = self.untold()
            # A line that has begun must end, also when the work ends now.
            with anyio.CancelScope(shield=True), anyio.move_on_after(_BEAT_SECONDS):
                await self.write(lines or b"\n")

    def untold(self) -> bytes:
        told, self._told = self._told, []
        return b"".join(jsonrpc.encode({"progress": sentence}) + b"\n" for sentence in told)

    async def write(self, data: bytes, more: bool = True) -> None:
        if not self.started:
            self.started = True
            await self._send(_head(200, b"application/x-ndjson"))
        await self._send({"type": "http.response.body", "body": data, "more_body": more})


async def _answer(send: Send, answer: dict[str, Any], lines: _Lines | None = None) -> None:
    body = jsonrpc.encode(answer) + b"\n"
    if lines is not None:
        await lines.write(lines.untold() + body, more=False)
        return
    error = answer.get("error")
    await send(_head(_STATUS.get(error["code"], 422) if error else 200, b"application/json"))
    await send({"type": "http.response.body", "body": body})


def _head(status: int, kind: bytes) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]}


def _wants_lines(scope: Message) -> bool:
    return any(name == b"accept" and b"application/x-ndjson" in value for name, value in scope["headers"])
