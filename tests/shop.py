"""A server over HTTP whose tools do what a test says, one thing after the other; and a hub in front."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from hub.app import App, open_app
from hub.home import Home
from hub.model import Json, Result
from hub.settings import Settings
from hub.store.calls import CallFilter, CallRow, list_calls
from tests.app_room import until_known
from tests.clocks import Clock
from tests.servers import fault_http
from tests.servers.fault_http import SSE_END, SSE_HEAD, Faulty, Request, error, event, http, result

SECONDS_MAX = 60

Deed = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def text(said: str) -> Json:
    return {"resultType": "complete", "content": [{"type": "text", "text": said}]}


def says(value: Any) -> Deed:
    """A result: a text, or all of it."""

    async def do(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, result(request, text(value) if isinstance(value, str) else value)))

    return do


def errs(code: int) -> Deed:
    async def do(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, error(code, "no", request.message["id"])))

    return do


def status(code: int, *headers: str) -> Deed:
    async def do(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(http(code, b"", *headers))

    return do


async def breaks(request: Request, writer: asyncio.StreamWriter) -> None:
    """It reads the call and is gone."""
    writer.transport.abort()


async def hangs(request: Request, writer: asyncio.StreamWriter) -> None:
    await writer.wait_closed()


def tells(steps: int, every_seconds: float, said: str | None) -> Deed:
    """Progress, and then the result; `None`: nothing any more."""

    async def do(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(SSE_HEAD)
        token = request.message["params"]["_meta"]["progressToken"]
        for step in range(steps):
            await asyncio.sleep(every_seconds)
            params = {"progressToken": token, "progress": step}
            writer.write(event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
        if said is None:
            await hangs(request, writer)
        answer = {"jsonrpc": "2.0", "id": request.message["id"], "result": text(said or "")}
        writer.write(event(answer) + SSE_END)

    return do


@dataclass
class Shop:
    tools: tuple[Json, ...]
    deeds: dict[str, list[Deed]] = field(default_factory=dict)
    """By tool: what it does next, the last of them again and again; left out: says `ok`."""
    knows: set[str] = field(default_factory=set)
    """Its tasks."""
    url: str = ""
    at: Faulty = field(default_factory=Faulty)

    def does(self, tool: str, *deeds: Deed) -> None:
        self.deeds[tool] = [*deeds]

    @property
    def calls(self) -> list[Json]:
        """The params of the calls that came."""
        return [each.message["params"] for each in self.at.of("tools/call")]

    def count(self, tool: str) -> int:
        return sum(each["name"] == tool for each in self.calls)

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        method = request.message.get("method")
        if method == "tools/list":
            writer.write(http(200, result(request, {"resultType": "complete", "tools": [*self.tools]})))
        elif method == "tools/call":
            await self._do(request.message["params"]["name"], request, writer)
        elif method == "server/discover":
            await self._do(method, request, writer)
        elif method == "tasks/get":
            id = request.message["params"]["taskId"]
            known = {"resultType": "complete", "taskId": id, "status": "working"}
            body = result(request, known) if id in self.knows else error(-32602, "no", request.message["id"])
            writer.write(http(200, body))
        elif "id" in request.message:
            writer.write(http(200, result(request, {"resultType": "complete"})))
        else:
            writer.write(http(202))

    async def _do(self, what: str, request: Request, writer: asyncio.StreamWriter) -> None:
        deeds = self.deeds.get(what) or [says("ok")]
        await (deeds.pop(0) if len(deeds) > 1 else deeds[0])(request, writer)


def tool(name: str, **annotations: bool) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}, "annotations": annotations}


LOOK, ACT = tool("look", readOnlyHint=True), tool("act")


@asynccontextmanager
async def shop(*tools: Json) -> AsyncIterator[Shop]:
    it = Shop(tools or (LOOK, ACT))

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.message.get("method") == "server/discover" and "server/discover" not in it.deeds:
            said = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
            writer.write(http(200, result(request, said)))
        else:
            await it.answer(request, writer)

    async with fault_http.serve(answer) as it.at:
        it.url = it.at.url
        yield it


def write(home: Path, name: str, at: Shop, **more: Any) -> None:
    connect = {"url": at.url, "allow_private": True}
    save(home, name, {"server": name, "connect": connect, **more})


def save(home: Path, name: str, manifest: Json) -> None:
    folder = home / "manifests"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text(json.dumps(manifest))


@dataclass
class House:
    app: App
    clock: Clock

    async def use(
        self, name: str, arguments: Json | None = None, meta: Json | None = None, **more: Any
    ) -> Result:
        agent = self.app.identities.local(more.pop("agent", "me"))
        session = await self.app.sessions.current(agent, {})
        params: Json = {"name": name, "arguments": arguments or {}}
        if meta is not None:
            params["_meta"] = meta
        params |= more.pop("more", {})
        call = self.app.hub.new_call(agent, session.id, "tools/call", params, **more)
        return await self.app.hub.call(call)

    async def rows(self) -> list[CallRow]:
        """The calls as they are recorded, the oldest first."""
        found = await self.app.store.read(lambda connection: list_calls(connection, CallFilter()))
        return [*reversed(found)]


@asynccontextmanager
async def house(home: Path, may: Json | list[Any] | None = None) -> AsyncIterator[House]:
    """A hub with the manifests that are there, once all of its servers are learnt."""
    save(home, "me", {"agent": "me", "may": may or ["*"], "never": ["hub__*"]})
    clock = Clock()
    with anyio.fail_after(SECONDS_MAX):
        async with AsyncExitStack() as stack:
            app = await stack.enter_async_context(open_app(Home.at(home), Settings(), clock))
            assert [str(problem) for problem in app.manifests.problems] == []
            await until_known(app)
            yield House(app, clock)


def said(answer: Result) -> str:
    found: str = answer["content"][0]["text"]
    return found
