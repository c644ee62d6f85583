"""A whole hub in this process, with real servers behind it, and raw agents that speak with it over HTTP."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
import httpx
import httpx2
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.client.streamable_http import streamable_http_client

from hub.app import App, open_app
from hub.env import Env
from hub.home import Home
from hub.identity.identity import Identities
from hub.model import Call, Json, Result
from hub.server import Front, HttpApp
from hub.settings import Settings
from hub.watching import Listener, Watching
from tests.app_room import front_of, until_known
from tests.house import CLIENT, events, headers_of, listening, message, modern

SECONDS_MAX = 60
EVERYTHING: Final[Mapping[str, Sequence[str]]] = {"me": ("*",), "other": ("*",)}
ASKER = str(Path(__file__).parent / "servers" / "asker.py")


@dataclass
class Room:
    app: App
    front: Front
    url: str
    tokens: dict[str, str]
    identities: Identities

    @asynccontextmanager
    async def client(self, mode: ConnectMode, agent: str = "me", **more: Any) -> AsyncIterator[Client]:
        """The SDK's client."""
        headers = {"authorization": f"Bearer {self.tokens[agent]}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=SECONDS_MAX) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=mode, **more) as client,
        ):
            yield client

    @asynccontextmanager
    async def http(self, agent: str = "me", accept: str = "") -> AsyncIterator[httpx.AsyncClient]:
        headers = {
            "accept": accept or "application/json, text/event-stream",
            "authorization": f"Bearer {self.tokens[agent]}",
        }
        async with httpx.AsyncClient(headers=headers, timeout=SECONDS_MAX, trust_env=False) as http:
            yield http

    async def ask(self, http: httpx.AsyncClient, method: str, params: Json, capabilities: Json) -> Json:
        """The answer to a modern request."""
        meta: Json = {"io.modelcontextprotocol/clientCapabilities": capabilities}
        body = modern(method, params, **meta)
        answer = await http.post(self.url, json=body, headers=headers_of(body))
        found: Json = answer.json() if "json" in answer.headers["content-type"] else await last(answer)
        return found

    @asynccontextmanager
    async def session(
        self, capabilities: Json, version: str = "2025-11-25", agent: str = "me", accept: str = ""
    ) -> AsyncIterator[LegacyAgent]:
        """A raw legacy agent with a session of its own."""
        async with self.http(agent, accept) as http:
            it = LegacyAgent(self.url, http)
            await it.initialize(version, capabilities)
            yield it


class LegacyAgent:
    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._url = url
        self._http = http
        self.declared: Json = {}
        """The hub's capabilities, as its handshake has them."""

    async def initialize(self, version: str, capabilities: Json) -> None:
        params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": CLIENT}
        answer = await self._http.post(self._url, json=message("initialize", params))
        self.declared = answer.json()["result"]["capabilities"]
        self._http.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
        self._http.headers["mcp-protocol-version"] = version

    async def post(self, body: Json) -> httpx.Response:
        return await self._http.post(self._url, json=body)

    async def post_call(self, tool: str) -> httpx.Response:
        return await self.post(message("tools/call", {"name": tool}))

    @property
    def id(self) -> str:
        return self._http.headers["mcp-session-id"]

    def resume(self, session: str) -> None:
        """Go on in another session, of before."""
        self._http.headers["mcp-session-id"] = session

    async def request(self, method: str, params: Json | None = None) -> Json:
        """The answer to a request during which nothing is asked."""
        answer = await self.post(message(method, params))
        found: Json = answer.json() if "json" in answer.headers["content-type"] else await last(answer)
        return found

    @asynccontextmanager
    async def asking(
        self, method: str, params: Json, id: int | str = 1
    ) -> AsyncIterator[AsyncIterator[Json]]:
        """What comes on the stream of one request."""
        body = message(method, params, id)
        async with self._http.stream("POST", self._url, json=body) as answer:
            assert answer.status_code == 200
            yield events(answer)

    async def answer(self, question: Json, **outcome: Any) -> int:
        """Answer a question with `result=` or `error=`; the status of that."""
        return (await self.post({"jsonrpc": "2.0", "id": question["id"], **outcome})).status_code

    async def cancel(self, id: int | str) -> None:
        await self.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}})

    async def end(self) -> None:
        assert (await self._http.delete(self._url)).status_code == 204


async def last(answer: httpx.Response) -> Json:
    """The last message of a stream."""
    found = [event async for event in events(answer)]
    final: Json = found[-1]
    return final


def text_of(answer: Json) -> str:
    """The first text of a tool's result."""
    said: str = answer["result"]["content"][0]["text"]
    return said


def asker(log: Path, *flags: str) -> Json:
    """How to connect to a server that asks what it is told to."""
    return {"command": [sys.executable, ASKER, str(log), *flags]}


def received(log: Path, method: str) -> list[Json]:
    """What an asker was sent of one method."""
    messages = [json.loads(line) for line in log.read_text().splitlines()]
    return [each for each in messages if each.get("method") == method]


async def nothing(call: Call) -> Result:
    """Of a hub in which nothing is used."""
    raise AssertionError("nothing is called here")


def unwatched(call: Call, listener: Listener) -> Watching:
    """Likewise."""
    raise AssertionError("nothing is watched here")


@asynccontextmanager
async def room(
    home: Path,
    servers: Mapping[str, Json],
    *,
    question_seconds: float = 600.0,
    agents: Mapping[str, Sequence[str | Json]] = EVERYTHING,
    seconds: float = SECONDS_MAX,
    settings: Settings | None = None,
    env: Env | None = None,
) -> AsyncIterator[Room]:
    """A hub that listens on a loopback port, once all its servers have been learnt.

    Args:
        servers: By name, all of a manifest but `server:`.
        agents: What agents may use, by name.
        seconds: How long it may stand.
    """
    folder = home / "manifests"
    folder.mkdir(exist_ok=True, parents=True)
    for name, may in agents.items():
        # Everything of the servers: tests that mean the hub's own tools as well say so.
        never = ["hub__*"] if agents is EVERYTHING else []
        (folder / f"{name}.yaml").write_text(json.dumps({"agent": name, "may": [*may], "never": never}))
    for name, manifest in servers.items():
        (folder / f"{name}.yaml").write_text(json.dumps({"server": name, **manifest}))
    listener = socket.create_server(("127.0.0.1", 0))
    settings = settings or Settings()
    async with open_app(Home.at(home), settings, env) as app:
        front = front_of(app, question_seconds=question_seconds)
        tokens = {name: (await app.identities.issue(name))[1] for name in agents}
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        async with listening(HttpApp(front, settings), listener):
            with anyio.fail_after(seconds):
                await until_known(app)
                yield Room(app, front, url, tokens, app.identities)
            front.close()
