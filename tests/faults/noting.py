"""Agents whose every call leaves a receipt at the server; and what must be true of all of them afterwards."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from tests.faults.agents import Agent, opened
from tests.faults.figures import Figures
from tests.faults.places import Place
from tests.homes import done
from tests.store_room import recorded_calls

__all__ = ["Noting", "judged"]

AGENTS = 4
REST_SECONDS = 0.002


class Noting:
    """Call `good`'s `note` with a text that is never used twice, again and again.

    `answered`: the texts of calls that were answered well.
    """

    def __init__(self) -> None:
        self.answered: set[str] = set()
        self.refused = 0
        """Answered, but not well."""
        self.broken = 0
        """The connection was cut, or could not be made."""
        self.silent = 0
        """No answer came in time."""
        self.slowest = 0.0
        self.told: dict[str, int] = {}
        """What the refused were told, and how often."""
        self._count = 0

    async def one(self, agent: Agent) -> bool:
        self._count += 1
        text = f"t{self._count}"
        said = await agent.call("good", "note", text=text)
        self.slowest = max(self.slowest, said.seconds)
        if said.good:
            self.answered.add(text)
        elif said.status > 0:
            self.refused += 1
            told = str(said.message)
            self.told[told] = self.told.get(told, 0) + 1
        elif said.status == 0:
            self.broken += 1
            raise ConnectionError
        else:
            self.silent += 1
            raise TimeoutError
        return said.good

    @asynccontextmanager
    async def going_on(self, place: Place) -> AsyncIterator[None]:
        """All through the block, on connections that are made anew when they break."""
        async with anyio.create_task_group() as tasks:
            for _ in range(AGENTS):
                tasks.start_soon(self._work, place)
            yield
            tasks.cancel_scope.cancel()

    async def _work(self, place: Place) -> None:
        while True:
            try:
                async with opened(place, "me") as (agent,):
                    while True:
                        await self.one(agent)
                        await anyio.sleep(REST_SECONDS)
            except OSError:
                await anyio.sleep(0.02)

    async def well_again(self, place: Place, seconds: float) -> float:
        """How long until a new connection is served well."""
        began = time.perf_counter()
        with anyio.fail_after(seconds):
            while True:
                try:
                    async with opened(place, "me") as (agent,):
                        if await self.one(agent):
                            return time.perf_counter() - began
                except OSError:
                    pass
                await anyio.sleep(0.01)


def judged(found: Figures, home: Path, receipts: Path, answered: set[str]) -> None:
    """Say what the server's receipts, the answers and the records say of each other. The hub has ended."""
    states, seen = _states(home), receipts.read_text().split()
    lost = [text for text in answered if states.get(text) != "done"]
    without = [text for text in seen if text not in states]
    twice = len(seen) - len(set(seen))
    verified = done(home, "audit", "verify").code == 0
    found.say(f"{len(answered)} calls answered, {len(lost)} of them not recorded so", not lost)
    found.say(f"{len(without)} effects without an intent, {twice} made twice", not without and not twice)
    found.say(f"records {'verified' if verified else 'broken'}", verified)


def _states(home: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in recorded_calls(home):
        if row.params is not None and '"text":"' in row.params:
            found[row.params.partition('"text":"')[2].partition('"')[0]] = row.state
    return found
