"""One hub with servers of both eras behind it, and agents of both eras before it: what the matrix tests use.

Servers: `new-*` and `old-*` are our own on the newest SDK, made to speak one era, over HTTP and over a pipe;
`sdk1-*` runs on the SDK's first generation. All offer the same under the same names. Agents: the SDK's
client in both eras, over HTTP and over `hub serve --stdio`. Each has one session for all tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.client.client import ConnectMode
from mcp_types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitRequestURLParams,
    ElicitResult,
    ListRootsResult,
    LoggingMessageNotificationParams,
    TextContent,
)

from tests.conformance import running_everything
from tests.homes import Running, installed, over_http, running, stdio, token, write
from tests.sources import ROOT

SECONDS = 60

NEW = ("new-http", "new-pipe")
OLD = ("old-http", "old-pipe", "sdk1-http", "sdk1-pipe")
SERVERS = (*NEW, *OLD)
AGENTS = ("modern-http", "modern-stdio", "legacy-http", "legacy-stdio")

SDK1 = {"pypi": "mcp", "version": "1.30.0"}
SDK1_SERVER = ROOT / "tests" / "servers" / "sdk1.py"


@dataclass
class Agent:
    """A connected client, and what it was told and asked so far."""

    name: str
    told: list[Any] = field(default_factory=list)
    """Notifications that belong to no call, newest last."""
    logged: list[LoggingMessageNotificationParams] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    _client: Client | None = None
    _moved: anyio.Event = field(default_factory=anyio.Event)

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    @property
    def modern(self) -> bool:
        return self.name.startswith("modern")

    def hear(self, into: list[Any], what: Any) -> None:
        into.append(what)
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return once it holds, which only something that was heard can bring about."""
        with anyio.fail_after(SECONDS):
            while not holds():
                await self._moved.wait()

    async def fill_in(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        self.hear(self.asked, params)
        if isinstance(params, ElicitRequestURLParams):
            return ElicitResult(action="accept")
        return ElicitResult(action="accept", content={"username": "tea", "email": "tea@example.com"})

    async def sample(
        self, context: ClientRequestContext, params: CreateMessageRequestParams
    ) -> CreateMessageResult:
        self.hear(self.asked, params)
        return CreateMessageResult(role="assistant", model="m", content=TextContent(text="Paris"))

    async def roots(self, context: ClientRequestContext) -> ListRootsResult:
        self.hear(self.asked, "roots")
        return ListRootsResult.model_validate({"roots": [{"uri": "file:///tea"}, {"uri": "file:///pot"}]})

    async def log(self, params: LoggingMessageNotificationParams) -> None:
        self.hear(self.logged, params)

    async def message(self, message: Any) -> None:
        self.hear(self.told, message)


@dataclass
class Matrix:
    """All of it, running."""

    hub: Running
    home: Path
    token: str
    agents: dict[str, Agent] = field(default_factory=dict)
    mute: dict[str, Client] = field(default_factory=dict)
    """By era: a client that can be asked nothing."""

    @asynccontextmanager
    async def client(self, name: str, **more: Any) -> AsyncIterator[Client]:
        """A client that comes in as `name` says: its era and its wire."""
        era, _, wire = name.partition("-")
        mode: ConnectMode = "auto" if era == "modern" else "legacy"
        if wire == "http":
            async with over_http(self.hub.url, self.token, mode, **more) as client:
                yield client
        else:
            async with Client(stdio(self.home), mode=mode, **more) as client:
                yield client

    @asynccontextmanager
    async def agent(self, name: str) -> AsyncIterator[Agent]:
        agent = Agent(name)
        async with self.client(
            name,
            elicitation_callback=agent.fill_in,
            sampling_callback=agent.sample,
            list_roots_callback=agent.roots,
            logging_callback=agent.log,
            log_level="debug" if agent.modern else None,
            message_handler=agent.message,
        ) as agent._client:
            yield agent


@asynccontextmanager
async def printing_url(*command: str) -> AsyncIterator[str]:
    """A process that says its URL in its first line, as long as the block runs."""
    async with await anyio.open_process(command, cwd=ROOT, stderr=None) as process:
        try:
            assert process.stdout is not None
            with anyio.fail_after(SECONDS):
                line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 1024)
            yield line.decode().strip()
        finally:
            process.terminate()


@asynccontextmanager
async def matrix(
    home: Path,
    servers: Sequence[str] = SERVERS,
    agents: Sequence[str] = AGENTS,
    **others: dict[str, Any],
) -> AsyncIterator[Matrix]:
    """The whole of it, with every server learnt and every agent connected.

    Args:
        others: further servers: what `connect:` says, by name.
    """
    everything = [sys.executable, "-m", "tests.servers.everything", "--stdio"]
    sdk1 = [str((await installed(**SDK1)) / "bin" / "python"), str(SDK1_SERVER)]
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(running_everything())
        sdk1_url = await stack.enter_async_context(printing_url(*sdk1, "--http"))
        connect: dict[str, dict[str, Any]] = {
            "new-http": {"url": url},
            "old-http": {"url": url},
            "new-pipe": {"command": everything},
            "old-pipe": {"command": everything},
            "sdk1-http": {"url": sdk1_url},
            "sdk1-pipe": {"command": sdk1},
        }
        write(home, "me", agent="me", may=["*"], never=["hub__*"])
        for name, how in {**{name: connect[name] for name in servers}, **others}.items():
            era = "modern" if name in NEW else "legacy" if name in OLD else "auto"
            write(
                home, name, server=name, connect=how, era=era, cwd=str(ROOT), start="eager", results="whole"
            )
        hub = stack.enter_context(running(home))
        for name in (*servers, *others):
            hub.until(f"{name}: ready")
        it = Matrix(hub, home, token(home))
        for name in agents:
            it.agents[name] = await stack.enter_async_context(it.agent(name))
        for era in ("modern", "legacy") if agents else ():
            it.mute[era] = await stack.enter_async_context(it.client(f"{era}-http"))
        yield it


def said(result: Any) -> str:
    """The text of a result's first content."""
    text: str = result.content[0].text
    return text


def uri(server: str, own: str) -> str:
    """A resource of a server as agents know it: the first server by name keeps the URI, as all offer it."""
    return own if server == min(SERVERS) else f"hub+{server}:{own}"


def run(*command: str, seconds: float = SECONDS, **environment: str) -> str:
    """What a program of another ecosystem printed, which must end well."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
