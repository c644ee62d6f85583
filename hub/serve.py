"""A hub that listens: agents on TCP, people on the admin socket, desktop clients on the stdio socket."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from anyio.abc import SocketStream

from connectors.jsonrpc import Budget, Malformed, encode, parse
from hub.admin import Admin
from hub.app import App, open_app
from hub.errors import HomeError, HubError
from hub.home import Home
from hub.server import Front, HttpApp, Wire, serve_stream
from hub.server.admin_http import AdminApp
from hub.server.peer import PeerProtocol
from hub.settings import Settings

__all__ = ["serve"]

log = logging.getLogger(__name__)

_HELLO_BYTES_MAX = 4096
_HELLO_SECONDS = 5.0


async def serve(
    home: Home,
    settings: Settings,
    *,
    announce: Callable[[App, str], None] = lambda app, url: None,
    attached: Callable[[App, Front], Any] | None = None,
) -> None:
    """Run a hub until SIGINT or SIGTERM; SIGHUP reads the manifests again.

    Args:
        announce: Called once, when all listeners are open, with the agents' URL.
        attached: A further coroutine function to run; the hub ends when it returns.

    Raises:
        HomeError: the folder is another hub's, the port is taken, or either cannot be used.
        StoreError: the database cannot be used.
    """
    listener = _listen(settings.host, settings.port)
    try:
        async with open_app(home, settings) as app:
            front = Front(
                app.hub,
                app.identities,
                app.sessions,
                ready=app.ready,
                instructions=app.instructions,
                capabilities=app.capabilities,
                message_bytes_max=settings.message_bytes_max,
            )
            ending = anyio.Event()
            agents = Wire(HttpApp(front, settings))
            host, port = listener.getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}/mcp"
            admin = _server(AdminApp(Admin(app, url)), settings, PeerProtocol)
            if "me" in app.manifests.agents:
                await app.keep_token("me")
            async with anyio.create_task_group() as tasks, _unix_listener(home.admin_socket) as people:
                tasks.start_soon(agents.serve, listener)
                tasks.start_soon(admin.serve, [people])
                tasks.start_soon(_serve_bridges, home.stdio_socket, app, front, ending)
                tasks.start_soon(app.watch)
                announce(app, url)
                await _until_told(app, front, attached)
                ending.set()
                front.close()
                agents.stop()
                admin.should_exit = True
                with anyio.move_on_after(settings.grace):
                    await agents.ended.wait()
                    # Cut in its midst, uvicorn leaves its socket open, and uvloop waits for that for ever.
                    await admin.ended.wait()
                tasks.cancel_scope.cancel()
    finally:
        listener.close()


async def _until_told(app: App, front: Front, attached: Callable[[App, Front], Any] | None) -> None:
    """Return at the first SIGINT or SIGTERM, or when `attached` has ended."""
    async with anyio.create_task_group() as tasks:

        async def run_attached() -> None:
            if attached is not None:
                await attached(app, front)
                tasks.cancel_scope.cancel()

        tasks.start_soon(run_attached)
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                if number == signal.SIGHUP:
                    await app.reload()
                else:
                    tasks.cancel_scope.cancel()


class _Server(uvicorn.Server):
    """uvicorn without its own signals: ours end the whole hub, in order."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = anyio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().serve(sockets)
        finally:
            self.ended.set()


def _server(app: Any, settings: Settings, protocol: Any = "httptools") -> _Server:
    return _Server(
        uvicorn.Config(
            app,
            http=protocol,
            loop="none",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(settings.grace) or 1,
        )
    )


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
        raise HomeError(
            f"Port {port} on {host} cannot be used: {error.strerror or error}. "
            "Give another one with --port, or stop what uses it."
        ) from None
    return listener


@asynccontextmanager
async def _unix_listener(path: Path) -> AsyncIterator[socket.socket]:
    """A listening socket file for its owner only. One that a dead hub left is replaced: we hold the lock."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(os.fspath(path))
    finally:
        os.umask(mask)
    listener.listen(128)
    listener.setblocking(False)
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


async def _serve_bridges(path: Path, app: App, front: Front, ending: anyio.Event) -> None:
    """Each connection says `{"agent": NAME}` in one line, is answered in one, then speaks MCP as on stdio.

    The answer is `{"agent": NAME}`, or `{"error": SENTENCE}` and the end, or nothing where this hub
    is ending: whoever asked may be the next hub then. Who may open the socket is the hub's owner: the
    operating system says so.
    """
    path.unlink(missing_ok=True)
    listener = await anyio.create_unix_listener(path, mode=0o600)

    async def bridge(stream: SocketStream) -> None:
        async with stream:
            try:
                rest, agent = await _hello(stream, app)
            except (HubError, Malformed, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
                sentence = str(error) or type(error).__name__
                log.warning("a bridge was refused: %s", sentence)
                with suppress(anyio.BrokenResourceError):
                    await stream.send(encode({"error": sentence}) + b"\n")
                return
            if ending.is_set():
                return
            with suppress(anyio.BrokenResourceError):
                await stream.send(encode({"agent": agent.name}) + b"\n")
            await app.settle()
            await serve_stream(front, agent, stream.receive, stream.send, first=rest)

    try:
        async with listener:
            await listener.serve(bridge)
    finally:
        path.unlink(missing_ok=True)


async def _hello(stream: SocketStream, app: App) -> tuple[bytes, Any]:
    """The agent that the first line names, and what came behind that line."""
    data = b""
    with anyio.fail_after(_HELLO_SECONDS):
        while b"\n" not in data and len(data) <= _HELLO_BYTES_MAX:
            data += await stream.receive()
    line, _, rest = data.partition(b"\n")
    hello = parse(line, Budget(_HELLO_BYTES_MAX, 64))
    name = hello.get("agent") if isinstance(hello, dict) else None
    return rest, app.identities.local(str(name))
