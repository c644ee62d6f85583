"""A hub that listens: agents on TCP, people on the admin socket, desktop clients on the stdio socket."""

from __future__ import annotations

import errno
import gc
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import anyio

from connectors.jsonrpc import Budget, Malformed, encode, parse
from connectors.stderr import harmless
from hub import lock
from hub.app import App, open_app
from hub.ending import Ending
from hub.errors import HomeError, HubError
from hub.health import Health
from hub.home import Home, usable
from hub.server import Front, HttpApp, Wire, serve_stream
from hub.server.pipe import Pipe, serve_pipes
from hub.server.wire_request import Request
from hub.sessions import checked_name
from hub.settings import Settings
from hub.threads import in_thread

__all__ = ["LogLines", "serve"]

log = logging.getLogger(__name__)

_REACHED_AT: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""An address that means all of them, and one of those, as nobody connects to the former."""
_HELLO_BYTES_MAX = 4096
_HELLO_SECONDS = 5.0
_LAST_SECONDS = 1.0
"""How long it may take to tell whoever still waits that the hub ends."""
_LOGGED_LENGTH_MAX = 16 * 1024
_PEOPLE_MAX = 128
"""Connections to the admin socket at once."""


async def serve(
    home: Home,
    settings: Settings,
    *,
    announce: Callable[[App, str], None] = lambda app, url: None,
    attached: Callable[[App, Front], Any] | None = None,
) -> None:
    """Run a hub until SIGINT or SIGTERM; SIGHUP reads the manifests again.

    Then it takes no more calls (503, and when to ask again) and ends once those under way are answered, or
    after the grace; at a second signal at once.

    Args:
        announce: Called once, when all listeners are open, with the agents' URL.
        attached: A further coroutine function to run; the hub ends when it returns.

    Raises:
        HomeError: the folder is another hub's, the port is taken, or either cannot be used.
        StoreError: the database cannot be used.
    """
    try:
        listener = _listen(settings.host, settings.port)
    except HomeError:
        if lock.is_held(home):
            # Most likely it is that hub's port: who holds the home is then what helps.
            with lock.held(home):
                pass
        raise
    try:
        async with open_app(home, settings) as app:
            health = Health(app.env, app.ready)
            front = Front(
                app.hub,
                app.identities,
                app.sessions,
                ready=health,
                instructions=app.instructions,
                capabilities=app.capabilities,
                message_bytes_max=settings.message_bytes_max,
            )
            bridges = _Bridges(app, front)
            agents = Wire(HttpApp(front, settings), is_behind=app.store.crowded)
            host, port = listener.getsockname()[:2]
            host = _REACHED_AT.get(host, host)
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}/mcp"
            admin = Wire(_Plane(app, url, health), connections_max=_PEOPLE_MAX)
            ending = Ending(app.reload)
            if "me" in app.manifests.agents:
                with usable(home.token_file("me")):
                    await app.keep_token("me")
            async with (
                anyio.create_task_group() as tasks,
                _unix_listener(home.admin_socket) as people,
                _unix_listener(home.stdio_socket) as windows,
            ):
                tasks.start_soon(agents.serve, listener)
                tasks.start_soon(admin.serve, people)
                tasks.start_soon(serve_pipes, windows, bridges.serve)
                tasks.start_soon(app.watch)
                announce(app, url)
                _keep_garbage_apart()
                tasks.start_soon(ending.run)
                tasks.start_soon(health.run)
                await _until_told(app, front, attached, ending)
                bridges.stop()
                health.ending = True
                agents.turns.end()
                front.close()
                app.events.close()
                with ending.grace(settings.grace):
                    # Whoever comes now is told to come again, for as long as there is somebody to wait for.
                    await app.calm()
                    agents.stop()
                    admin.stop()
                    await agents.ended.wait()
                    await admin.ended.wait()
                    await app.calm()
                agents.stop()
                admin.stop()
                app.end_calls()
                with anyio.move_on_after(_LAST_SECONDS):
                    await agents.ended.wait()
                    await bridges.close()
                tasks.cancel_scope.cancel()
    finally:
        listener.close()


class LogLines(logging.Formatter):
    """A record is one line, however many it has: what servers and agents say makes none of its own (T32)."""

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record)[:_LOGGED_LENGTH_MAX].splitlines()
        return "\n    ".join(map(harmless, lines))


def _keep_garbage_apart() -> None:
    """What there is once all is started stays: no more looking through it for garbage, which takes 30 ms."""
    gc.freeze()
    gc.enable()


async def _until_told(
    app: App, front: Front, attached: Callable[[App, Front], Any] | None, ending: Ending
) -> None:
    """Return when the hub is told to end, or when `attached` has ended."""
    async with anyio.create_task_group() as tasks:

        async def run_attached() -> None:
            if attached is not None:
                await attached(app, front)
                tasks.cancel_scope.cancel()

        tasks.start_soon(run_attached)
        await ending.told.wait()
        tasks.cancel_scope.cancel()


class _Plane:
    """The admin plane, loaded when somebody first asks: 45 ms and 4 MiB that no agent has to wait for."""

    def __init__(self, app: App, url: str, health: Health) -> None:
        self._app = app
        self._url = url
        self._health = health
        self._answer: Callable[[Request], Awaitable[None]] | None = None
        self._loading = anyio.Lock()

    async def __call__(self, request: Request) -> None:
        async with self._loading:
            if self._answer is None:
                self._answer = await in_thread(self._load)
        await self._answer(request)

    def _load(self) -> Callable[[Request], Awaitable[None]]:
        from hub.admin.admin import Admin
        from hub.server.admin_http import AdminApp

        return AdminApp(Admin(self._app, self._url, self._health))


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, made first, so that a taken port changes nothing."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
            listener.setblocking(False)
            stack.pop_all()
    except OSError as error:
        remedy = "Give another one with --port, or stop what uses it."
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            remedy = "Give an address of this machine with --host."
        raise HomeError(
            f"Port {port} on {host} cannot be used: {error.strerror or error}. {remedy}"
        ) from None
    return listener


@asynccontextmanager
async def _unix_listener(path: Path) -> AsyncIterator[socket.socket]:
    """A listening socket file for its owner only. One that a dead hub left is replaced: we hold the lock."""
    with ExitStack() as stack:
        with usable(path):
            path.unlink(missing_ok=True)
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            mask = os.umask(0o177)
            try:
                listener.bind(os.fspath(path))
            finally:
                os.umask(mask)
            stack.callback(path.unlink, missing_ok=True)
            listener.listen(128)
            listener.setblocking(False)
        yield listener


class _Bridges:
    """Each connection says `{"agent": NAME}` in one line, is answered in one, then speaks MCP as on stdio.

    It may say `session` as well: the name of the one that its calls belong to. The answer is
    `{"agent": NAME}`, or `{"error": SENTENCE}` and the end, or nothing where this hub is ending: whoever
    asked may be the next hub then. Who may open the socket is the hub's owner: the operating system says so.
    """

    def __init__(self, app: App, front: Front) -> None:
        self._app = app
        self._front = front
        self._open: set[Pipe] = set()
        self._stopping = False
        self._closed = anyio.Event()

    def stop(self) -> None:
        """Take no more."""
        self._stopping = True

    async def close(self) -> None:
        """Read no more of any, and return when all have got their answers. No bound: it is the caller's."""
        for pipe in self._open:
            pipe.end()
        if self._open:
            await self._closed.wait()

    async def serve(self, pipe: Pipe) -> None:
        try:
            rest, agent, session = await _hello(pipe, self._app)
        except (HubError, Malformed, TimeoutError, anyio.EndOfStream) as error:
            sentence = str(error) or type(error).__name__
            log.warning("a bridge was refused: %s", sentence)
            await _say(pipe, {"error": sentence})
            return
        if self._stopping:
            return
        self._open.add(pipe)
        try:
            await _say(pipe, {"agent": agent.name})
            await self._app.settle()
            await serve_stream(self._front, agent, pipe.receive, pipe.send, first=rest, session=session)
        except HubError as error:
            # A connection's trouble is that connection's: the hub goes on.
            log.warning("a bridge ended: %s", error)
        finally:
            self._open.discard(pipe)
            if self._stopping and not self._open:
                self._closed.set()


async def _say(pipe: Pipe, line: dict[str, str]) -> None:
    with suppress(anyio.BrokenResourceError), anyio.move_on_after(_HELLO_SECONDS):
        waits = pipe.send(encode(line) + b"\n")
        if waits is not None:
            await waits


async def _hello(pipe: Pipe, app: App) -> tuple[bytes, Any, str | None]:
    """What came behind the first line, the agent that it names, and the session."""
    data = b""
    with anyio.fail_after(_HELLO_SECONDS):
        while b"\n" not in data and len(data) <= _HELLO_BYTES_MAX:
            data += await pipe.receive()
    line, _, rest = data.partition(b"\n")
    hello = parse(line, Budget(_HELLO_BYTES_MAX, 64))
    name = hello.get("agent") if isinstance(hello, dict) else None
    session = hello.get("session") if isinstance(hello, dict) else None
    if session is not None:
        session = checked_name(session)
    return rest, app.identities.local(str(name)), session
