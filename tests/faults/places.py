"""What is tried: a hub as a person runs it, or a FastMCP proxy, each before the same servers."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import anyio

from benchmarks import versions
from benchmarks.fastmcp import ENVIRONMENT, SCRIPT
from benchmarks.processes import free_port, process, ready
from hub.env import SystemEnv
from hub.home import Home
from hub.identity.identity import Identities
from hub.policy import Grants
from hub.store.db import Store
from tests.homes import Running, write
from tests.processes import forget_most_memory, memory_bytes
from tests.sources import ROOT

__all__ = ["FASTMCP", "HUB", "WORKER", "Place", "Start", "misbehaving"]

SERVERS = ROOT / "tests" / "servers"
WORKER = [sys.executable, str(SERVERS / "worker.py")]


def misbehaving(mode: str) -> list[str]:
    return [sys.executable, str(SERVERS / "misbehaving_stdio.py"), mode]


@dataclass
class Place:
    """Something that runs between agents and servers."""

    port: int
    pid: int
    era: versions.Era
    name: Callable[[str, str], str]
    """`(server, tool)` -> what agents call it."""
    tokens: Mapping[str, str] = field(default_factory=dict)
    """By agent."""
    home: Path = Path()
    hub: Running | None = None

    def headers(self, agent: str) -> dict[str, str]:
        token = self.tokens.get(agent)
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def memory(self, key: Literal["VmRSS", "VmHWM"] = "VmRSS") -> int:
        """Its own memory in bytes: now (`VmRSS`), or the most since `forget` (`VmHWM`)."""
        return memory_bytes(self.pid, key)

    def forget(self) -> None:
        forget_most_memory(self.pid)

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def children(self) -> list[int]:
        """The processes right below it."""
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
        return found


class Start(Protocol):
    """Starts something before these servers, for these agents, until the block is left."""

    word: str

    def __call__(
        self,
        folder: Path,
        servers: Mapping[str, Sequence[str] | str],
        *,
        agents: Sequence[str] = ("me",),
        settings: Mapping[str, Any] | None = None,
        more: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> AbstractAsyncContextManager[Place]:
        """
        Args:
            servers: By name: a command, or a URL.
            settings: What `hub.yaml` says.
            more: Further keys of a server's manifest.
        """
        ...


class _Hub:
    word = "hub"

    @asynccontextmanager
    async def __call__(
        self,
        folder: Path,
        servers: Mapping[str, Sequence[str] | str],
        *,
        agents: Sequence[str] = ("me",),
        settings: Mapping[str, Any] | None = None,
        more: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> AsyncIterator[Place]:
        home = folder / "home"
        for name, server in servers.items():
            connect = {"url": server} if isinstance(server, str) else {"command": list(server)}
            write(home, name, server=name, connect=connect, **(more or {}).get(name, {}))
        for name in agents:
            write(home, name, agent=name, may=["*"])
        (home / "hub.yaml").write_text(json.dumps(dict(settings or {})))
        tokens = await _issue(home, agents)
        async with serving(home, tokens) as place:
            assert place.hub is not None
            for name in servers:
                await anyio.to_thread.run_sync(place.hub.until, f"{name}: (ready|failed)")
            yield place


async def _issue(home: Path, agents: Sequence[str]) -> dict[str, str]:
    env = SystemEnv()
    it = Home.at(home)
    it.database.parent.mkdir(parents=True, exist_ok=True)
    async with Store.open(it.database, env) as store:
        identities = Identities(store, env)
        await identities.load()
        identities.replace({name: Grants(f"{name}.yaml") for name in agents})
        return {name: (await identities.issue(name))[1] for name in agents}


@asynccontextmanager
async def serving(
    home: Path, tokens: Mapping[str, str], *arguments: str, **more: str
) -> AsyncIterator[Place]:
    """A hub over a folder that is there; told to end, if that has not been done before.

    Args:
        more: Variables of its environment.
    """
    hub = Running(home, "--port", "0", *arguments, **more)
    try:
        url = await anyio.to_thread.run_sync(lambda: hub.url)
        port = int(url.rpartition(":")[2].partition("/")[0])
        yield Place(port, hub.pid, "modern", "{}__{}".format, tokens, home, hub)
        assert "Traceback" not in hub.said, hub.said
    finally:
        if hub.process.stderr is not None and not hub.process.stderr.closed:
            hub.end(signal.SIGTERM)


class _FastMcp:
    def __init__(self, word: str, way: str) -> None:
        self.word = word
        self._way = way

    @asynccontextmanager
    async def __call__(
        self,
        folder: Path,
        servers: Mapping[str, Sequence[str] | str],
        *,
        agents: Sequence[str] = ("me",),
        settings: Mapping[str, Any] | None = None,
        more: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> AsyncIterator[Place]:
        python = await anyio.to_thread.run_sync(ENVIRONMENT.python)
        port, log = free_port(), folder / "fastmcp.log"
        with process(
            [str(python), "-P", str(SCRIPT), str(port), self._way, json.dumps(servers)], log, cwd=folder
        ) as it:
            await ready(it, port, log)
            yield Place(port, it.pid, "legacy", "{}_{}".format)


HUB: Start = _Hub()
FASTMCP: Mapping[str, Start] = {
    "connected": _FastMcp("FastMCP proxy", "connected"),
    "anew": _FastMcp("FastMCP, anew", "anew"),
}
