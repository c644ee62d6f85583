"""A hub's folder with this repository's servers, and the real `hub serve` over it: what end-to-end tests use.

Packages are installed once, into `.cache/packages`, and linked into each folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.client import ConnectMode
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Tool

from connectors.base import Context
from connectors.children import Children
from connectors.install import Pinned, ensure_installed, find_program
from connectors.package import Package
from hub.manifests import manifest
from hub.variables import expander
from tests.commands import COMMAND, SECONDS, Done, environment, hub
from tests.sources import ROOT

DATA = ROOT / ".cache" / "packages"
INSTALL_SECONDS = 300
LEGACY = "2025-11-25"
MODERN = "2026-07-28"


def need_node() -> None:
    """Skip where there is no node; but where CI runs, that is a failure."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        reason = "needs node 18 or newer, with npm; not found on PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def install(*names: str) -> dict[str, list[str]]:
    """How to start each of the shipped servers by itself, installed where it is not yet."""
    return anyio.run(_install, names)


async def _install(names: tuple[str, ...]) -> dict[str, list[str]]:
    servers = manifest.load(ROOT / "manifests").servers
    started: dict[str, list[str]] = {}
    for name in names:
        connect = servers[name].connect
        assert isinstance(connect, Package)
        pinned = connect.package.pinned
        started[name] = find_program(pinned, await _installed(pinned), connect.package.run)
    return started


async def installed(**package: Any) -> Path:
    """The folder of a pinned package, as a manifest writes it, installed there once."""
    return await _installed(Package.model_validate({"package": package}).package.pinned)


async def _installed(pinned: Pinned) -> Path:
    DATA.mkdir(parents=True, exist_ok=True)
    async with Children() as children:
        context = Context(
            "tests", home=ROOT, data=DATA, children=children, expand=expander({}, home=ROOT, data=DATA),
            client={"name": "tests", "version": "0"},
        )  # fmt: skip
        with anyio.fail_after(INSTALL_SECONDS):
            return await ensure_installed(pinned, context)


def link_packages(home: Path) -> None:
    """Give a hub's folder the packages that there are."""
    data = home / ".hub" / "data"
    data.mkdir(parents=True)
    (DATA / "packages").mkdir(parents=True, exist_ok=True)
    (data / "packages").symlink_to(DATA / "packages")


def make_home(home: Path, *servers: str) -> Path:
    """A folder with these shipped servers, the shipped agent `me`, and the packages there are."""
    (home / "manifests").mkdir(parents=True)
    for name in (*servers, "me"):
        shutil.copy(ROOT / "manifests" / f"{name}.yaml", home / "manifests")
    shutil.copytree(ROOT / "examples", home / "examples")
    link_packages(home)
    return home


def write(home: Path, name: str, **manifest: Any) -> None:
    """A manifest file; JSON is YAML."""
    (home / "manifests").mkdir(parents=True, exist_ok=True)
    (home / "manifests" / f"{name}.yaml").write_text(json.dumps(manifest))


class Running:
    """A started `hub serve`, and what it has said so far."""

    def __init__(self, home: Path, *arguments: str, **more: str) -> None:
        """`more`: variables of its environment."""
        self.home = home
        self.process = subprocess.Popen(
            [*COMMAND, "serve", "--home", str(home), *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=environment(**more),
        )  # fmt: skip
        self._said: list[str] = []
        self._moved = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def said(self) -> str:
        return "".join(self._said)

    @property
    def pid(self) -> int:
        return self.process.pid

    def until(self, pattern: str, seconds: float = SECONDS) -> str:
        """The first group of `pattern`, once the hub has said it."""
        end = time.monotonic() + seconds
        with self._moved:
            while True:
                found = re.search(pattern, self.said)
                if found is not None:
                    return found[1] if found.re.groups else found[0]
                left = end - time.monotonic()
                if self._ended or left <= 0:
                    raise AssertionError(f"{pattern!r} was never said; but: {self.said}")
                self._moved.wait(left)

    @property
    def url(self) -> str:
        return self.until(r"Agents connect to (\S+)")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop and wait; its exit status."""
        self.process.send_signal(number)
        try:
            return self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the hub did not end in {SECONDS} s; it said: {self.said}") from None
        finally:
            self._reader.join(SECONDS)
            assert self.process.stderr is not None
            self.process.stderr.close()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._moved:
                self._said.append(line)
                self._moved.notify_all()
        with self._moved:
            self._ended = True
            self._moved.notify_all()


@contextmanager
def running(home: Path, *arguments: str) -> Iterator[Running]:
    """A hub that serves `home` on a free port until left; then its end must be an orderly one."""
    it = Running(home, "--port", "0", *arguments)
    try:
        assert it.url
        yield it
    except BaseException:
        it.process.kill()
        it.end()
        raise
    if it.process.poll() is None:
        assert it.end() == 0, it.said
    assert "Traceback" not in it.said, it.said


def done(home: Path, *arguments: str) -> Done:
    """`hub ARGUMENTS` beside it, which must work."""
    said = hub(home, *arguments)
    assert said.code == 0, said.err
    return said


def token(home: Path, agent: str = "me") -> str:
    """A further token for an agent."""
    issued: str = done(home, "agents", "token", agent, "--json").json["token"]
    return issued


def stdio(home: Path, agent: str = "me") -> StdioServerParameters:
    """What a desktop client's configuration says."""
    return StdioServerParameters(
        command=sys.executable,
        args=[*COMMAND[1:], "serve", "--stdio", "--agent", agent, "--home", str(home)],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
    )


@asynccontextmanager
async def over_http(url: str, credential: str, mode: ConnectMode, **more: Any) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {credential}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=SECONDS) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **more) as client,
    ):
        yield client


def command(argv: list[str], cwd: Path | None = None) -> StdioServerParameters:
    """A server started by itself, with no hub between."""
    return StdioServerParameters(command=argv[0], args=argv[1:], cwd=cwd)


def shape(tool: Tool) -> dict[str, Any]:
    """All that a tool's definition says, but its name."""
    return tool.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"name"})


async def outcome(client: Client, name: str, arguments: dict[str, Any]) -> Any:
    """What became of a call, as something to compare: the envelope of the era apart."""
    try:
        result = await client.call_tool(name, arguments)
    except MCPError as error:
        return {"code": error.code, "message": str(error)}
    return result.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"meta", "result_type"})


async def eventually(holds: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Return once it holds: for what nobody tells of, as files and the processes of others."""
    with anyio.fail_after(seconds):
        while not holds():  # noqa: ASYNC110
            await anyio.sleep(0.02)
