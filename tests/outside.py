"""Agents outside of a real `hub serve`: raw requests over HTTP and stdio, in every version."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.commands import COMMAND, SECONDS, environment
from tests.homes import Running, eventually, running, token, write
from tests.house import CLIENT, headers_of, message, modern
from tests.sources import ROOT

__all__ = ["MODERN", "VERSIONS", "WIRES", "Agent", "Outside", "eventually", "outside", "tools_of"]

VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
MODERN: Final = VERSIONS[-1]
WIRES: Final = ("http", "stdio")
STREAMS: Final = {"accept": "application/json, text/event-stream"}
WITNESS: Final = str(ROOT / "tests" / "servers" / "witness.py")
Json = dict[str, Any]


class Agent(ABC):
    """One that is connected, in one version, over one wire."""

    def __init__(self, version: str) -> None:
        self.version = version

    def ask(self, method: str, params: Json | None = None) -> Json:
        """The message that answers a request."""
        body = modern(method, params or {}) if self.version == MODERN else message(method, params or {})
        answer: Json = json.loads(self.raw(body))
        return answer

    def raw_call(self, name: str) -> bytes:
        """The whole message that answers a call of a tool without arguments."""
        params = {"name": name, "arguments": {}}
        return self.raw(
            modern("tools/call", params) if self.version == MODERN else message("tools/call", params)
        )

    @abstractmethod
    def raw(self, body: Json) -> bytes:
        """The whole message that answers one."""

    def open(self) -> None:
        if self.version != MODERN:
            params = {"protocolVersion": self.version, "capabilities": {}, "clientInfo": CLIENT}
            assert "result" in json.loads(self.raw(message("initialize", params)))


def tools_of(agent: Agent) -> list[str]:
    """What an agent is shown of the server's tools. (The hub has a few of its own.)"""
    listed = agent.ask("tools/list")["result"]["tools"]
    return [each["name"] for each in listed if each["name"].startswith("w__")]


class HttpAgent(Agent):
    def __init__(self, url: str, credential: str, version: str) -> None:
        super().__init__(version)
        headers = {**STREAMS, "authorization": f"Bearer {credential}"}
        self.http = httpx.Client(headers=headers, timeout=SECONDS, trust_env=False)
        self.url = url

    def raw(self, body: Json) -> bytes:
        headers = headers_of(body) if self.version == MODERN else {}
        name = headers.get("mcp-name", "x")
        if not name.isprintable() or not name.isascii() or name != name.strip() or not name:
            headers["mcp-name"] = f"=?base64?{base64.b64encode(name.encode()).decode()}?="
        answer = self.http.post(self.url, json=body, headers=headers)
        if body["method"] == "initialize":
            self.http.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
            self.http.headers["mcp-protocol-version"] = self.version
        if answer.headers["content-type"] == "text/event-stream":
            return [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")][-1].encode()
        return answer.content


class StdioAgent(Agent):
    def __init__(self, process: subprocess.Popen[bytes], version: str) -> None:
        super().__init__(version)
        self.process = process

    def raw(self, body: Json) -> bytes:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(body).encode() + b"\n")
        self.process.stdin.flush()
        while True:
            line = self.process.stdout.readline()
            assert line, "the hub closed its end"
            if json.loads(line).get("id") == body["id"]:
                return line.strip()


class Outside:
    """A running hub, as those see it who are not it."""

    def __init__(self, home: Path, hub: Running, folder: Path) -> None:
        self.home, self.hub, self.folder = home, hub, folder
        self.http = httpx.Client(trust_env=False, timeout=SECONDS)
        """Nobody's, with no credential: made once, as that takes 20 ms."""
        self._tokens: dict[str, str] = {}

    def token(self, agent: str) -> str:
        if agent not in self._tokens:
            self._tokens[agent] = token(self.home, agent)
        return self._tokens[agent]

    @contextmanager
    def agent(self, name: str, wire: str = "http", version: str = MODERN) -> Iterator[Agent]:
        if wire == "http":
            over_http = HttpAgent(self.hub.url, self.token(name), version)
            with over_http.http:
                over_http.open()
                yield over_http
            return
        argv = [*COMMAND, "serve", "--stdio", "--agent", name, "--home", str(self.home)]
        with subprocess.Popen(
            argv,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(),
        ) as process:  # fmt: skip
            # Whoever waits for a line that never comes is woken by this end.
            bound = threading.Timer(SECONDS, process.kill)
            bound.start()
            try:
                over_pipe = StdioAgent(process, version)
                over_pipe.open()
                yield over_pipe
            finally:
                bound.cancel()
                process.kill()

    def received(self, *methods: str) -> list[Json]:
        """What reached the server, of these methods."""
        lines = (self.folder / "received").read_text().splitlines()
        return [each for each in map(json.loads, lines) if each["method"] in methods]

    def forget(self) -> None:
        """Nothing has reached the server yet."""
        (self.folder / "received").write_text("")


@contextmanager
def outside(
    base: Path,
    agents: Mapping[str, Json],
    *,
    connect: Json | None = None,
    settings: str = "",
    home: Path | None = None,
) -> Iterator[Outside]:
    """A hub with the server `w`, which writes down all that it is sent.

    Args:
        agents: Their manifests, but for the name.
        connect: Further keys of the server's `connect`.
    """
    folder, home = base / "witness", home or base / "home"
    folder.mkdir(exist_ok=True)
    command = {"command": [sys.executable, WITNESS, str(folder)], **(connect or {})}
    write(home, "w", server="w", connect=command, start="eager")
    for name, manifest in agents.items():
        write(home, name, agent=name, **manifest)
    if settings:
        (home / "hub.yaml").write_text(settings)
    with running(home) as hub:
        hub.until("w: ready")
        it = Outside(home, hub, folder)
        with it.http:
            yield it
