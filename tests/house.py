"""A hub with one small server behind it, listening: what the tests of the agents' side talk to.

Everything is the real thing, but that its server is a function of this process: what stands where
the chain ends (`hub.chain`), as the fleet does in a whole hub.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.client.streamable_http import streamable_http_client

from connectors.base import LET_GO, RemoteError
from hub import chain
from hub.catalog import Catalog, Offer, View
from hub.env import SystemEnv
from hub.errors import UpstreamDown
from hub.hub import Hub
from hub.identity.identity import Identities
from hub.middleware.authorize import Authorize
from hub.model import Call, Json, Result
from hub.policy import Grants, Rule
from hub.server import Front, HttpApp, Wire
from hub.sessions import Sessions
from hub.settings import Settings
from hub.store.db import Store
from hub.watching import Listener, Watching

VERSION = "2026-07-28"
SECONDS_MAX = 60
SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"
CALL: Json = {"name": "box__echo", "arguments": {}}
CLIENT = {"name": "tests", "version": "0"}


def tool(name: str, **more: Any) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


TOOLS: tuple[Json, ...] = (
    tool("echo"),
    tool("secret"),
    tool("hang"),
    tool("progress"),
    tool("flood"),
    tool("torrent"),
    tool("gate"),
    tool("log"),
    tool("down"),
    tool("crash"),
    tool("refuse"),
    tool("shapes", outputSchema={"type": "array"}),
    tool(
        "mirror",
        inputSchema={
            "type": "object",
            "properties": {
                "region": {"type": "string", "x-mcp-header": "Region"},
                "deep": {
                    "type": "object",
                    "properties": {"count": {"type": "integer", "x-mcp-header": "Count"}},
                },
            },
        },
    ),
)
RESOURCES: tuple[Json, ...] = ({"uri": "note://one", "name": "one"}, {"uri": "note://gone", "name": "gone"})
TEMPLATES: tuple[Json, ...] = ({"uriTemplate": "note://{id}", "name": "note"},)
PROMPTS: tuple[Json, ...] = ({"name": "greet"},)


@dataclass
class Server:
    """What stands at the end of the chain."""

    calls: list[Call] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    watched: list[Watching] = field(default_factory=list)
    running: int = 0
    changed: anyio.Event = field(default_factory=anyio.Event)
    gate: anyio.Event = field(default_factory=anyio.Event)

    async def until(self, *, running: int | None = None, cancelled: int | None = None) -> None:
        """Return once that many calls run, or were cancelled."""
        while self.running != (running if running is not None else self.running) or (
            cancelled is not None and len(self.cancelled) < cancelled
        ):
            await self.changed.wait()

    def _change(self, by: int) -> None:
        self.running += by
        changed, self.changed = self.changed, anyio.Event()
        changed.set()

    def watch(self, call: Call, listener: Listener) -> Watching:
        """Somebody wants to hear of a resource: as the fleet takes it, of a server that agrees at once."""
        watching = Watching(call, listener, self.watched.remove)
        self.watched.append(watching)
        if watching.uri == "note://mute":
            watching.fail(RemoteError(-31000, "I say nothing of this"))
        elif watching.uri != "note://slow":
            watching.confirm()
        return watching

    def update(self, uri: str, **params: Any) -> None:
        """The resource has changed."""
        for watching in [*self.watched]:
            if uri.startswith(watching.uri):
                watching.tell(uri, {"uri": uri, **params})

    async def __call__(self, call: Call) -> Result:
        self.calls.append(call)
        self._change(1)
        try:
            return await self._do(call)
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(call.name)
            raise
        finally:
            self._change(-1)

    async def _do(self, call: Call) -> Result:
        assert call.entry is not None
        own = call.entry.own
        if call.entry.kind == "prompt":
            return {"messages": [{"role": "user", "content": {"type": "text", "text": "hello"}}]}
        if call.entry.kind == "resource":
            if own == "note://gone":
                raise RemoteError(-32002, "Resource not found", {"uri": own})
            return {"contents": [{"uri": own, "text": "a note"}]}
        if own == "hang":
            await anyio.sleep_forever()
        if own == "gate":
            await self.gate.wait()
        if own in ("progress", "flood"):
            assert call.notify is not None
            token = call.params["_meta"]["progressToken"]
            for step in range(3 if own == "progress" else 1000):
                call.notify("notifications/progress", {"progressToken": token, "progress": step, "total": 3})
                if own == "progress":
                    await anyio.lowlevel.checkpoint()
        if own == "torrent":
            assert call.notify is not None
            while True:
                call.notify("notifications/progress", {"progressToken": 1, "message": "x" * 100_000})
                await anyio.lowlevel.checkpoint()
        if own == "log" and call.notify is not None:
            call.notify("notifications/message", {"level": "info", "data": "said"})
        if own == "polled" and call.notify is not None:
            call.notify("notifications/message", {"level": "info", "data": "before"})
            if call.params["arguments"].get("let_go"):
                call.notify(LET_GO, {"retry": 20})
            await self.gate.wait()
            call.notify("notifications/message", {"level": "info", "data": "after"})
        if own == "down":
            raise UpstreamDown("Server 'box' is not connected: it ended", retry_seconds=2.5)
        if own == "crash":
            raise ZeroDivisionError("a secret of the hub")
        if own == "refuse":
            raise RemoteError(-31000, "no", {"why": ["x"]})
        if own == "shapes":
            return {"content": [], "structuredContent": [1, None], "ttlMs": 5, "extra": {"kept": 2**70}}
        return {
            "content": [{"type": "text", "text": str(call.params.get("arguments"))}],
            "structuredContent": {"params": call.params, "capabilities": dict(call.capabilities)},
            "resultType": "complete",
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "box"}, "vendor/key": 1},
        }


@dataclass
class House:
    hub: Hub
    server: Server
    identities: Identities
    sessions: Sessions
    front: Front
    url: str
    tokens: dict[str, str]
    ids: dict[str, str]
    ready: bool = True

    def offer(self, *tools: Json, resources: Sequence[Json] = RESOURCES) -> None:
        """From now on the server offers these tools."""
        offer = Offer(
            "box",
            View(),
            {"tool": tools, "resource": tuple(resources), "template": TEMPLATES, "prompt": PROMPTS},
        )
        self.hub.swap(Catalog.build([offer], self.hub.catalog.revision + 1))

    @asynccontextmanager
    async def client(
        self, mode: ConnectMode = "auto", agent: str = "me", **more: Any
    ) -> AsyncIterator[Client]:
        headers = {"authorization": f"Bearer {self.tokens[agent]}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=mode, **more) as client,
        ):
            yield client

    @asynccontextmanager
    async def http(self, agent: str | None = "me") -> AsyncIterator[httpx.AsyncClient]:
        headers = {"accept": "application/json, text/event-stream"}
        if agent is not None:
            headers["authorization"] = f"Bearer {self.tokens[agent]}"
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            yield http

    async def session(self, http: httpx.AsyncClient) -> dict[str, str]:
        """The headers of a new legacy session."""
        answer = await http.post(self.url, json=message("initialize", INITIALIZE))
        assert answer.status_code == 200, answer.text
        return {"mcp-session-id": answer.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}


INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}


def message(method: str, params: Json | None = None, id: int | str = 1) -> Json:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}


def modern(method: str, params: Json | None = None, id: int | str = 1, **meta: Any) -> Json:
    """A modern request's body."""
    envelope = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": CLIENT,
        "io.modelcontextprotocol/clientCapabilities": {},
        **meta,
    }
    return message(method, {**(params or {}), "_meta": envelope}, id)


def headers_of(body: Json) -> dict[str, str]:
    """The headers that a modern request's body asks for."""
    headers = {"mcp-protocol-version": VERSION, "mcp-method": body["method"]}
    name = body["params"].get("name", body["params"].get("uri"))
    return headers if name is None else {**headers, "mcp-name": name}


async def post(hub: House, http: httpx.AsyncClient, body: Any, **headers: str) -> httpx.Response:
    """A modern request, with the headers that it asks for; an empty one is left out."""
    given = {**headers_of(body), **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await http.post(hub.url, json=body, headers={n: v for n, v in given.items() if v})


async def raw(hub: House, head: bytes, body: bytes = b"", declared: int | None = None) -> tuple[int, Any]:
    """The status and JSON that a bare socket gets for `head` and `body`, of which more may be declared."""
    port = int(hub.url.split(":")[2].removesuffix("/mcp"))
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        length = b"content-length: %d" % (declared or len(body))
        await stream.send(b"\r\n".join([head, length, b"connection: close", b"", body]))
        answer = b"".join([chunk async for chunk in stream])
    start, _, content = answer.partition(b"\r\n\r\n")
    return int(start.split()[1]), json.loads(content)


def error_of(answer: httpx.Response) -> tuple[int, int | None]:
    """The status, and the code of the JSON-RPC error."""
    return answer.status_code, answer.json().get("error", {}).get("code")


async def events(answer: httpx.Response) -> AsyncIterator[Any]:
    """What a stream carries, comments left out."""
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-accel-buffering"] == "no"
    async for line in answer.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def in_time(request: pytest.FixtureRequest) -> None:
    """Bound the test itself, so that the fixtures it uses still end in order when it hangs.

    A cancel scope in a fixture would end the task that all fixtures are to be left in.
    """
    test = request.node.obj

    @wraps(test)
    async def bounded(*arguments: Any, **fixtures: Any) -> None:
        with anyio.fail_after(SECONDS_MAX):
            await test(*arguments, **fixtures)

    request.node.obj = bounded


GRANTS = {
    "me": Grants("me.yaml", may=(Rule("may[0]", ("*",), 3),), never=(Rule("never[0]", ("box__secret",), 4),)),
    "other": Grants("other.yaml", may=(Rule("may[0]", ("box__secret", "box__echo"), 3),)),
    "nobody": Grants("nobody.yaml"),
}


@asynccontextmanager
async def house(
    path: Path, settings: Settings | None = None, tools: Sequence[Json] = TOOLS
) -> AsyncIterator[House]:
    """A hub that listens on a loopback port until left."""
    env = SystemEnv()
    async with Store.open(path / "hub.db", env) as store:
        identities = Identities(store, env)
        await identities.load()
        identities.replace(GRANTS)
        issued = {name: await identities.issue(name) for name in GRANTS}
        server, sessions = Server(), Sessions(store, env)
        hub = Hub(env, chain.build([Authorize(env)], server), server.watch)
        listener = socket.create_server(("127.0.0.1", 0))
        it = House(
            hub,
            server,
            identities,
            sessions,
            Front(
                hub,
                identities,
                sessions,
                ready=lambda: (it.ready, {"servers": {"ready": 1}}),
                instructions=lambda agent: f"for {agent.name}",
            ),
            f"http://127.0.0.1:{listener.getsockname()[1]}/mcp",
            {name: token for name, (_, token) in issued.items()},
            {name: id for name, (id, _) in issued.items()},
        )
        it.offer(*tools)
        app = HttpApp(it.front, settings or Settings())
        async with listening(app, listener):
            yield it
            it.front.close()


@asynccontextmanager
async def listening(app: HttpApp, listener: socket.socket) -> AsyncIterator[None]:
    """What an application answers there, as the hub serves it, until left."""
    wire = Wire(app)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wire.serve, listener)
        try:
            yield
        finally:
            wire.stop()
            with anyio.move_on_after(1, shield=True):
                await wire.ended.wait()
            tasks.cancel_scope.cancel()
