"""A server that is an object in this process: an `MCPServer` or lowlevel `Server` of the mcp SDK.

The only file of the running hub that imports the SDK, and only when a manifest asks for it (the
import takes 1.4 s, so it happens in a thread). What it uses of the SDK, and why here:

- `Server.run` (era routing, handlers, lifespan): it *is* the server that a manifest names.
- `MCPServer._lowlevel_server`: the SDK has no public way from one to the other; its own
  in-memory transport does the same.
- `create_context_streams`, `jsonrpc_message_adapter`: what its own stdio transport is made of.

What crosses is JSON text, as with a process: the link is `StdioLink` over two queues
instead of two pipes. So such a server gets and gives exactly what it would elsewhere, and shares
no object with the hub. It shares the process, though: what it does to it, it does to the hub.
A module is loaded once; a file anew at each start, under a name of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.util
import inspect
import logging
import re
import sys
import traceback
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, field_validator

from connectors import jsonrpc
from connectors.base import ConfigError, Context, Link
from connectors.child import Child
from connectors.stderr import harmless
from connectors.stdio_link import StdioLink

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.shared.message import SessionMessage

__all__ = ["Python"]

log = logging.getLogger(__name__)

_END_SECONDS: Final = 2.0
"""How long a server may take to end when its link is closed, its lifespan's end included."""
_UNREAD_BYTES_MAX: Final = 1024 * 1024

_is_target = re.compile(r"[^:]+(?::[^:]+)*:[A-Za-z_][A-Za-z0-9_.]*").fullmatch


class Python(BaseModel):
    """`connect: {python: "package.module:attribute"}`, or `"./file.py:attribute"` from the hub's home.

    The attribute is a server, or a function without arguments that returns one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
    lasting: ClassVar[bool] = True

    python: str
    """`package.module:attribute` or `./file.py:attribute`."""

    @field_validator("python")
    @classmethod
    def _check_target(cls, target: str) -> str:
        if not _is_target(target):
            raise ValueError("names no object. Write package.module:attribute, or ./file.py:attribute.")
        return target

    def describe(self) -> str:
        return harmless(f"python {self.python}")

    def missing(self) -> str | None:
        return None

    async def prepare(self, context: Context) -> None:
        """Nothing is needed: what it names is imported when it is opened."""

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Link]:
        target = context.expand(self.python)
        # Abandoned where nobody waits any longer: an import that hangs must not hold the hub.
        server = await anyio.to_thread.run_sync(_load, target, context.home, abandon_on_cancel=True)
        link = StdioLink(context)
        queues = _Queues(context.name, link)
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            # To the link, a child is something that takes lines and can be killed.
            link.attach(cast(Child, queues))
            tasks.start_soon(queues.run, server)
            try:
                await link.negotiate()
                yield link
            except Exception as error:  # Raised again below, where no group wraps it.
                failure = error
            finally:
                with anyio.CancelScope(shield=True):
                    await link.aclose()
                    await queues.aclose()
        if failure is not None:
            raise failure


class _Queues:
    """The server's two ends: what the link writes goes in, what the server sends comes out."""

    def __init__(self, name: str, link: StdioLink) -> None:
        self.unread_bytes = 0
        self._name = name
        self._link = link
        self._lines: deque[bytes] = deque()
        self._written = asyncio.Event()
        self._read = asyncio.Event()
        self._ending = False
        self._ended = asyncio.Event()
        self._scope = anyio.CancelScope()

    # What the link uses of a child.

    @property
    def paused(self) -> bool:
        return self.unread_bytes > _UNREAD_BYTES_MAX

    def write(self, data: bytes) -> None:
        if not self._ended.is_set():
            self.unread_bytes += len(data)
            self._lines.append(data)
            self._written.set()

    async def drained(self) -> None:
        while self.paused and not self._ended.is_set():
            self._read.clear()
            await self._read.wait()

    def kill(self) -> None:
        self._scope.cancel()

    async def aclose(self) -> None:
        """End of input, a moment to leave by itself, then cancellation."""
        self._ending = True
        self._written.set()
        with anyio.move_on_after(_END_SECONDS):
            await self._ended.wait()
        self.kill()

    # The server's task.

    async def run(self, server: Server[Any]) -> None:
        """Run the server until it ends, fails, or is ended; its failure ends only its link."""
        sentence = "it ended"
        try:
            with self._scope:
                await self._serve(server)
        except Exception as error:
            log.warning("server %s failed", self._name, exc_info=error)
            sentence = f"it failed: {_told(_innermost(error))}"
        finally:
            self._ended.set()
            self._read.set()
            self._link.end(sentence)

    async def _serve(self, server: Server[Any]) -> None:
        from mcp.shared._context_streams import create_context_streams
        from mcp.shared.message import SessionMessage

        to_server, server_reads = create_context_streams[SessionMessage | Exception](0)
        server_writes, from_server = create_context_streams[SessionMessage](0)
        async with to_server, server_reads, server_writes, from_server, anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass_in, to_server)
            tasks.start_soon(self._pass_out, from_server)
            await server.run(server_reads, server_writes, server.create_initialization_options())
            tasks.cancel_scope.cancel()

    async def _pass_in(self, to_server: Any) -> None:
        from mcp.shared.message import SessionMessage
        from mcp_types import jsonrpc_message_adapter

        async with to_server:
            while True:
                while self._lines:
                    line = self._lines.popleft()
                    await to_server.send(
                        SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
                    )
                    self.unread_bytes -= len(line)
                    self._read.set()
                if self._ending:
                    return
                self._written.clear()
                await self._written.wait()

    async def _pass_out(self, from_server: Any) -> None:
        async with from_server:
            async for message in from_server:
                self._link.feed(_line(message))


def _line(message: SessionMessage) -> bytes:
    """A message as the SDK's stdio transport would write it."""
    try:
        return message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    except ValueError as error:
        # A handler's own dict may hold anything. Only its request fails.
        answer = {
            "code": jsonrpc.INTERNAL_ERROR,
            "message": f"The answer cannot be written as JSON: {error}"[:300],
        }
        id = getattr(message.message, "id", None)
        return jsonrpc.encode({"jsonrpc": "2.0", "id": id, "error": answer}) + b"\n"


def _load(target: str, home: Path) -> Server[Any]:
    """Import what `target` names. Runs in a thread. Raises `ConfigError`."""
    place, _, attribute = target.rpartition(":")
    try:
        found: Any = _import_file(home / place) if _is_file(place) else importlib.import_module(place)
        for name in attribute.split("."):
            found = getattr(found, name)
        return _server(found, target)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        # Other people's code may raise anything while it is imported.
        raise ConfigError(
            f"'{harmless(target)}' cannot be loaded: {_told(error)}. Correct it there."
        ) from error


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place


def _import_file(file: Path) -> Any:
    if not file.is_file():
        raise ConfigError(f"the file '{file}' is not there. Correct the path; it starts at the hub's folder.")
    # A name of its own, so that two files called alike do not meet; known to `sys.modules`,
    # because annotations of its functions are looked up there.
    name = f"_hub_python_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _server(found: Any, target: str) -> Server[Any]:
    from mcp.server.lowlevel import Server
    from mcp.server.mcpserver import MCPServer

    if (
        not isinstance(found, MCPServer | Server)
        and callable(found)
        and not inspect.iscoroutinefunction(found)
    ):
        found = found()
    if isinstance(found, MCPServer):
        return found._lowlevel_server
    if isinstance(found, Server):
        return found
    raise ConfigError(
        f"'{harmless(target)}' is no server of the mcp package but a {type(found).__name__}. "
        "Name an MCPServer, a lowlevel Server, or a function without arguments that returns one."
    )


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _told(error: BaseException) -> str:
    """Type, message and place of an exception, on one line."""
    if isinstance(error, SyntaxError):
        where: tuple[str, int | None] | None = (error.filename or "?", error.lineno)
        what = error.msg
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename[:1] != "<"]
        theirs = [frame for frame in frames if frame.filename != __file__]
        where = (theirs[-1].filename, theirs[-1].lineno) if theirs else None
        what = str(error)
    place = f" ({where[0]}:{where[1]})" if where is not None else ""
    return harmless(f"{type(error).__name__}: {what[:300]}{place}".replace("\n", " "))
