"""Servers as state machines in the world's loop, and the kind of connector that reaches them.

A server keeps receipts: what was executed, when, and for which nonce. By them "at most once" is judged.
The links promise what `connectors.base.Link` promises, and break that way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, ClassVar, Final

from pydantic import BaseModel, ConfigDict

from connectors.base import ConfigError, Context, Json, Link, LinkError, Notify, OnRequest, Peer, RemoteError

if TYPE_CHECKING:
    from tests.sim.clock import Loop
    from tests.sim.world import World

__all__ = ["NONCE", "WORLD", "Receipt", "Server", "Simulated"]

WORLD: ContextVar[World] = ContextVar("world")
"""Of the run that a hub belongs to."""

NONCE: Final = "nonce"
TOOLS: Final = ("look", "write", "put", "secret")
"""`look` only reads, `put` is idempotent, the others change something each time."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One execution of a tool."""

    at: float
    server: str
    tool: str
    nonce: str
    safe: bool
    """Whether its intent would have been found on the disk if the hub had been killed then."""


@dataclass(frozen=True, slots=True)
class Moods:
    """How often what happens, of one seed."""

    refuses: float = 0.0
    unsent: float = 0.0
    dies_before: float = 0.0
    dies_after: float = 0.0
    hangs: float = 0.0
    garbage: float = 0.0
    fails: float = 0.0
    slow: float = 0.0
    changes: float = 0.0


class Simulated(BaseModel):
    """`connect: {simulated: NAME}`, as a process is: one death ends all that is under way."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lasting: ClassVar[bool] = True

    simulated: str

    def describe(self) -> str:
        return f"simulated {self.simulated}"

    def missing(self) -> str | None:
        return None

    async def prepare(self, context: Context) -> None:
        """Nothing."""

    def open(self, context: Context) -> AbstractAsyncContextManager[Link]:
        return _open(self.simulated, context)


class Fleeting(BaseModel):
    """`connect: {fleeting: NAME}`, as HTTP is: each request fails alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lasting: ClassVar[bool] = False

    fleeting: str

    def describe(self) -> str:
        return f"fleeting {self.fleeting}"

    def missing(self) -> str | None:
        return None

    async def prepare(self, context: Context) -> None:
        """Nothing."""

    def open(self, context: Context) -> AbstractAsyncContextManager[Link]:
        return _open(self.fleeting, context)


@asynccontextmanager
async def _open(name: str, context: Context) -> AsyncIterator[Link]:
    world = WORLD.get()
    server, random = world.servers[name], world.random
    moods = server.moods
    await asyncio.sleep(random.choice((0.001, 0.02, 0.5)))
    way = world.operations.next("connect")
    if random.random() < moods.refuses or way is not None:
        how = random.randrange(4) if way is None else ("unanswered", "unusable", "refused").index(way)
        world.note(f"{server.name} is not connected ({how})")
        if how == 0:
            await asyncio.sleep(100_000)
        if how == 1 and not world.calm:
            raise ConfigError("it cannot be used as it is written")
        raise LinkError("it refuses to be connected", sent=False)
    link = SimulatedLink(server, context)
    server.links.append(link)
    try:
        yield link
    finally:
        link.end("it was closed")


class SimulatedLink:
    """See `connectors.base.Link`. Lives in the hub's loop; what it says reaches the server later or never."""

    def __init__(self, server: Server, context: Context) -> None:
        version = server.version
        self.peer = Peer(version, {"name": server.name, "version": "1"}, {"tools": {"listChanged": True}})
        self.loop: Loop = asyncio.get_running_loop()  # type: ignore[assignment]
        self._server = server
        self._context = context
        self._ended: asyncio.Future[str] = self.loop.create_future()
        self.open: dict[asyncio.Future[Json], str] = {}
        self.streams: list[tuple[asyncio.Future[Json], Notify]] = []

    @property
    def closed(self) -> bool:
        return self._ended.done()

    def end(self, why: str, *, sent: bool = True) -> None:
        if not self._ended.done():
            self._ended.set_result(why)
        for future in [*self.open]:
            self.fail(future, LinkError(why, sent=sent))
        if self in self._server.links:
            self._server.links.remove(self)

    def fail(self, future: asyncio.Future[Json], error: Exception) -> None:
        if not future.done():
            future.set_exception(error)

    async def wait_closed(self) -> str:
        return await asyncio.shield(self._ended)

    async def notify(self, method: str, params: Json) -> None:
        if self.closed:
            raise LinkError("it was closed", sent=False)

    async def request(
        self,
        method: str,
        params: Json,
        *,
        capabilities: Json | None = None,
        log_level: str | None = None,
        on_notify: Notify | None = None,
        on_request: OnRequest | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        server, world = self._server, self._server.world
        if self.closed:
            raise LinkError("it was closed", sent=False)
        way = world.operations.next("ask")
        if way == "broken":
            if server.lasting:
                self.end("it broke")
            raise LinkError("it broke")
        if world.random.random() < server.moods.unsent or way is not None:
            world.note(f"{server.name} {method}: not sent")
            if server.lasting:
                self.end("its input was closed", sent=True)
            raise LinkError("its input was closed", sent=False)
        future: asyncio.Future[Json] = self.loop.create_future()
        asked = Asked(self, future, method, params, on_notify)
        self.open[future] = method
        if method == "subscriptions/listen" and on_notify is not None:
            self.streams.append((future, on_notify))
            on_notify("notifications/subscriptions/acknowledged", {"notifications": params["notifications"]})
        else:
            world.later(world.latency(), server.hear, asked)
        try:
            return await future
        finally:
            del self.open[future]
            self.streams = [each for each in self.streams if each[0] is not future]
            # Cancelled: the server may hear of it in time, or not.
            if future.cancelled():
                world.later(world.latency(), asked.forget)

    def list_changed(self) -> None:
        """The server says so, as servers of its era do."""
        for _, tell in self.streams:
            tell("notifications/tools/list_changed", {})
        if not self.peer.modern:
            self._context.on_notify("notifications/tools/list_changed", {})


@dataclass
class Server:
    world: World
    name: str
    lasting: bool
    version: str
    moods: Moods = Moods()
    links: list[SimulatedLink] = field(default_factory=list)
    extra: bool = False
    """Whether it has one tool more at present."""

    @property
    def random(self) -> Random:
        return self.world.random

    def die(self, why: str) -> None:
        """As a process ends: with all that it had under way."""
        self.world.note(f"{self.name} {why}")
        for link in [*self.links]:
            self.world.to_hub(link.loop, 0.0, link.end, why)

    def hear(self, asked: Asked) -> None:
        """A request has arrived."""
        if asked.link.closed and self.lasting:
            return
        if asked.method == "tools/list":
            tools = [tool(name) for name in (*TOOLS, *(("extra",) if self.extra else ()))]
            self._answer(asked, {"tools": tools, "ttlMs": 0})
        elif asked.method == "tools/call":
            self._begin(asked)
        else:
            self._answer(asked, {})

    def _begin(self, asked: Asked) -> None:
        random, moods, params = self.random, self.moods, asked.params
        if random.random() < moods.dies_before:
            self._break(asked, "died before it did anything")
            return
        token = params.get("_meta", {}).get("progressToken")
        if token is not None and random.random() < 0.7:
            said = {"progressToken": token, "progress": 1, "message": params["arguments"].get(NONCE)}
            self.world.to_hub(asked.link.loop, 0.0, asked.progress, said)
        slow = random.random() < moods.slow
        seconds = random.choice((1.0, 4.0, 9.0)) if slow else random.choice((0.0, 0.001, 0.05))
        self.world.later(seconds, self._execute, asked)

    def _execute(self, asked: Asked) -> None:
        if asked.forgotten or (asked.link.closed and self.lasting):
            return
        random, moods, params = self.random, self.moods, asked.params
        name, nonce = params["name"], params["arguments"].get(NONCE, "")
        if random.random() < moods.fails:
            # Nothing was done, and it says so.
            self._fail(asked, RemoteError(-32000, f"not now: {nonce}"))
            return
        self.world.receive(self.name, name, nonce)
        if random.random() < moods.changes:
            self.extra = not self.extra
            for each in self.links:
                self.world.to_hub(each.loop, self.world.latency(), each.list_changed)
        if random.random() < moods.dies_after:
            self._break(asked, "died before it could answer")
        elif random.random() < moods.garbage:
            self._break(asked, "said what is no JSON-RPC")
        elif random.random() < moods.hangs:
            self.world.note(f"{self.name} says nothing")
        else:
            result: Json = {"content": [{"type": "text", "text": f"{name} did {nonce}"}]}
            if random.random() < moods.fails:
                result["isError"] = True
            self._answer(asked, result)

    def _break(self, asked: Asked, why: str) -> None:
        if self.lasting:
            self.die(why)
        else:
            self._fail(asked, LinkError(why))

    def _answer(self, asked: Asked, result: Json) -> None:
        way = self.world.operations.next("answer")
        if way == "broken":
            self._break(asked, "died before it could answer")
        if way is not None:
            return
        self.world.to_hub(asked.link.loop, self.world.latency(), asked.answer, result)

    def _fail(self, asked: Asked, error: Exception) -> None:
        self.world.to_hub(asked.link.loop, self.world.latency(), asked.link.fail, asked.future, error)


@dataclass(slots=True)
class Asked:
    """A request on its way."""

    link: SimulatedLink
    future: asyncio.Future[Json]
    method: str
    params: Json
    on_notify: Notify | None
    forgotten: bool = False

    def forget(self) -> None:
        self.forgotten = True

    def progress(self, said: Json) -> None:
        if self.on_notify is not None and not self.future.done():
            self.on_notify("notifications/progress", said)

    def answer(self, result: Json) -> None:
        if not self.future.done():
            self.future.set_result(result)


def tool(name: str) -> Json:
    schema = {"type": "object", "properties": {NONCE: {"type": "string"}}}
    return {"name": name, "description": f"{name} something", "inputSchema": schema}


def kinds() -> Mapping[str, str]:
    """As the entry points of a package that adds kinds would name them."""
    return {"simulated": f"{__name__}:Simulated", "fleeting": f"{__name__}:Fleeting"}
