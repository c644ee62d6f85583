"""The admin plane over HTTP, on a Unix socket in the hub's own folder: `POST /v1/OPERATION`.

The body is a JSON object with the operation's arguments. The answer is `{"result": …}` or
`{"error": {"code", "message", "hint"}}`; to `Accept: application/x-ndjson` it comes as lines, with
`{"progress": "…"}` before it and an empty line every few seconds while work goes on. Who may
connect is the file system's decision (mode 0600); no agent's token means anything here, and
nothing of this is ever mounted on the agents' port. Served by our own `Wire`, as agents are.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import anyio
from pydantic import ValidationError

from connectors import jsonrpc
from hub.admin.admin import Admin, Progress, operations
from hub.errors import StoreError
from hub.failure import Failure, failure_of
from hub.server.events import PATH as EVENTS
from hub.server.events import tell
from hub.server.peer import peer_of
from hub.server.wire_request import BrokenBody, Gone, Request, TooLarge

__all__ = ["AdminApp"]

log = logging.getLogger(__name__)

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
    """What answers on the admin socket. It starts nothing of its own and keeps no state."""

    def __init__(self, admin: Admin) -> None:
        self._operations = operations(admin)
        self._events = admin.events

    async def __call__(self, request: Request) -> None:
        if request.head.path == EVENTS and request.head.method == "GET":
            await self._tell(request)
            return
        progress = _Lines(request) if _wants_lines(request) else None
        try:
            work = await _prepare(self._operations, request, progress.tell if progress else _ignore)
        except Failure as failure:
            await _answer(request, failure.as_json())
        except Gone:
            return
        else:
            await _while_connected(request, _run(work, request, progress))

    async def _tell(self, request: Request) -> None:
        try:
            await _while_connected(request, tell(self._events, request))
        except Failure as failure:
            await _answer(request, failure.as_json())
        except StoreError as error:
            log.warning("admin: events end: %s", error)
            request.abort()


def _ignore(sentence: str) -> None:
    """Nobody asked for progress."""


async def _prepare(
    known: Mapping[str, Callable[..., Awaitable[Any]]], request: Request, progress: Progress
) -> Awaitable[Any]:
    """The operation that is asked for, with checked arguments, not begun yet.

    Raises:
        Failure: there is none, or they do not fit.
        Gone: whoever asks has left.
    """
    path = request.head.path
    name = path.removeprefix("/v1/")
    operation = known.get(name) if path.startswith("/v1/") else None
    try:
        body = await request.body(_BUDGET.bytes_max)
    except TooLarge:
        raise Failure("usage", f"The request is larger than {_BUDGET.bytes_max} bytes.") from None
    except BrokenBody as error:
        raise Failure("usage", str(error)) from None
    if operation is None or request.head.method != "POST":
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
        arguments["peer"] = peer_of(request.connected_socket)
    try:
        return operation(**arguments)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Failure("usage", f"{name}: {where}: {first['msg']}") from None


async def _run(work: Awaitable[Any], request: Request, progress: _Lines | None) -> None:
    if progress is None:
        answer = await _outcome(work)
    else:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(progress.run)
            answer = await _outcome(work)
            tasks.cancel_scope.cancel()
    await _answer(request, answer, progress)


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


async def _while_connected(request: Request, work: Awaitable[None]) -> None:
    """Await `work`, but no longer than somebody waits for it."""
    with anyio.CancelScope() as scope:
        request.on_gone(scope.cancel)
        await work


class _Lines:
    """The answer as lines: what is said while the work goes on, and that it still goes on."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._told: list[str] = []
        self._event = anyio.Event()

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

    async def write(self, data: bytes, *, last: bool = False) -> None:
        if not self._request.started:
            self._request.start(b"content-type: application/x-ndjson\r\n")
        self._request.write(data, last=last)
        await self._request.room()


async def _answer(request: Request, answer: dict[str, Any], lines: _Lines | None = None) -> None:
    body = jsonrpc.encode(answer) + b"\n"
    if lines is not None:
        await lines.write(lines.untold() + body, last=True)
        return
    error = answer.get("error")
    request.answer(_STATUS.get(error["code"], 422) if error else 200, body)


def _wants_lines(request: Request) -> bool:
    return any(name == b"accept" and b"application/x-ndjson" in value for name, value in request.head.pairs)
