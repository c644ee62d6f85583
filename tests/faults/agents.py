"""Agents that call and keep what came of it: answers, times, and no opinion."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import orjson

from benchmarks import load, versions
from benchmarks.wire import Connection, head
from tests.faults.places import Place

__all__ = ["Agent", "Others", "Said", "lag", "opened", "ready_within", "state"]

CALL_SECONDS = 30.0
LEAST_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Said:
    """What came of one call. Status 0: the connection broke; -1: nothing came in time."""

    status: int
    seconds: float
    message: Any = None
    headers: Any = None

    @property
    def text(self) -> str | None:
        """The text of a result that is none of an error."""
        result = self.message.get("result") if isinstance(self.message, dict) else None
        if result is None or result.get("isError"):
            return None
        text: str = result["content"][0]["text"]
        return text

    @property
    def good(self) -> bool:
        return self.text is not None


class Agent:
    """One connection, one call at a time."""

    def __init__(self, place: Place, who: str, connection: Connection, headers: dict[str, str]) -> None:
        self._place = place
        self._connection = connection
        self._headers = headers
        self._id = 0
        self._heads: dict[str, bytes] = {}
        self.who = who

    def prepared(self, server: str, tool: str, arguments: dict[str, Any]) -> bytes:
        """All bytes of a call."""
        name = self._place.name(server, tool)
        return self._prepared("tools/call", {"name": name, "arguments": arguments}, name)

    async def listed(self) -> list[str]:
        """The names of all tools that it is shown."""
        said = await self.send(self._prepared("tools/list", {}, None), CALL_SECONDS)
        tools = said.message["result"]["tools"] if isinstance(said.message, dict) else []
        return [each["name"] for each in tools]

    def _prepared(self, method: str, params: dict[str, Any], name: str | None) -> bytes:
        place, key = self._place, name or method
        if key not in self._heads:
            said = versions.headers_of(place.era, method, name)
            self._heads[key] = head(place.port, "/mcp", {**self._headers, **said})
        self._id += 1
        params = {**params, **versions.meta_of(place.era)}
        body = orjson.dumps({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params})
        return b"%b%d\r\n\r\n%b" % (self._heads[key], len(body), body)

    async def call(self, server: str, tool: str, seconds: float = CALL_SECONDS, **arguments: Any) -> Said:
        return await self.send(self.prepared(server, tool, arguments), seconds)

    async def send(self, request: bytes, seconds: float = CALL_SECONDS) -> Said:
        began = time.perf_counter()
        try:
            with anyio.fail_after(seconds):
                if self._connection.closed:  # It was idle for too long, or the last answer is still to come.
                    self._connection = await Connection.open(self._place.port)
                answer = await self._connection.send(request)
        except TimeoutError:
            self._connection.close()
            return Said(-1, time.perf_counter() - began)
        except OSError:
            return Said(0, time.perf_counter() - began)
        took = time.perf_counter() - began
        try:
            message = load.message_of(answer)
        except ValueError:
            message = answer.body
        return Said(answer.status, took, message, answer.headers)

    def close(self) -> None:
        self._connection.close()


@asynccontextmanager
async def opened(place: Place, *who: str) -> AsyncIterator[list[Agent]]:
    """A connection for each name."""
    agents: list[Agent] = []
    try:
        for name in who:
            connection = await Connection.open(place.port)
            headers = place.headers(name)
            if place.era == "legacy":
                target = load.Target(place.port, place.era, headers)
                headers = dict((await load.open_session(connection, target)).headers)
            agents.append(Agent(place, name, connection, headers))
        yield agents
    finally:
        for agent in agents:
            agent.close()


@dataclass(slots=True)
class Others:
    """Agents of another server, calling all the while."""

    times: list[float] = field(default_factory=list)
    errors: int = 0

    async def measure(self, agent: Agent, server: str, calls: int) -> None:
        for _ in range(calls):
            said = await agent.call(server, "echo", text="x")
            self.times.append(said.seconds)
            self.errors += not said.good

    @asynccontextmanager
    async def calling(self, agent: Agent, server: str, least: int = 100) -> AsyncIterator[None]:
        """All through the block, and until there are some, or `LEAST_SECONDS` longer."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.measure, agent, server, 10**9)
            yield
            with anyio.move_on_after(LEAST_SECONDS):
                while len(self.times) < least:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            self.errors += not self.times  # Nothing was answered at all.
            tasks.cancel_scope.cancel()


async def state(place: Place) -> tuple[int, Any]:
    """What `/ready` says."""
    connection = await Connection.open(place.port)
    try:
        answer = await connection.get(place.port, "/ready")
        return answer.status, orjson.loads(answer.body)
    finally:
        connection.close()


async def lag(place: Place) -> dict[str, float]:
    """How late the hub's event loop was in the last minute, in milliseconds."""
    _, said = await state(place)
    found: dict[str, float] = said["loop_lag_ms"]
    return found


async def ready_within(agent: Agent, server: str, seconds: float) -> float:
    """How long until a call of `echo` there is answered well."""
    began = time.perf_counter()
    with anyio.fail_after(seconds):
        while not (await agent.call(server, "echo", text="x")).good:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    return time.perf_counter() - began
