"""Calls that begin when it is their time, whatever became of those before: an open loop.

Without a task, a timer or a parser for each call, so that what is measured is the other side: an answer is
small, comes in one piece, and only its status is looked at, and whether it has what a good one has in it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import anyio

from tests.faults.agents import Agent
from tests.faults.places import Place

__all__ = ["Answer", "Flood"]

STEP_SECONDS = 0.01
LAST_SECONDS = 10.0
"""How long the last answers may take."""

Answer = tuple[int, float, bool, bool]
"""Status, seconds, whether it was good, whether it says when to come again."""


class _Line(asyncio.Protocol):
    """One connection, one call at a time."""

    def __init__(self, flood: Flood) -> None:
        self._flood = flood
        self._began = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def begin(self, request: bytes) -> None:
        self._began = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        advice = b"retry-after" in data or b"retry_after" in data
        took = time.perf_counter() - self._began
        self._flood.answers.append((int(data[9:12]), took, b'"content"' in data, advice))
        self._flood.free.append(self)


class Flood:
    """Of one agent.

    Args:
        request: All bytes of a call.
    """

    def __init__(self, request: bytes) -> None:
        self.answers: list[Answer] = []
        self.unsent = 0
        """Those for which no connection was free."""
        self.free: list[_Line] = []
        self._request = request
        self._all: list[_Line] = []

    @classmethod
    async def opened(
        cls, place: Place, agent: Agent, server: str, tool: str, connections: int, **arguments: Any
    ) -> Flood:
        flood = cls(agent.prepared(server, tool, dict(arguments)))
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, line = await loop.create_connection(lambda: _Line(flood), "127.0.0.1", place.port)
            flood._all.append(line)
        flood.free += flood._all
        return flood

    async def run(self, rate: float, seconds: float) -> None:
        """Send so many a second for so long, and wait for the last answers."""
        began, begun = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            due = int(passed * rate)
            for _ in range(due - begun):
                if self.free:
                    self.free.pop(0).begin(self._request)
                else:
                    self.unsent += 1
            begun = due
            await anyio.sleep(STEP_SECONDS)
        with anyio.move_on_after(LAST_SECONDS):
            while len(self.free) < len(self._all):  # noqa: ASYNC110
                await anyio.sleep(STEP_SECONDS)

    def close(self) -> None:
        for line in self._all:
            line.transport.close()
