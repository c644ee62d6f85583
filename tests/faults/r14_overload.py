"""R14: five times as many calls as can be served, at a steady pace that waits for nobody.

First more than one server can do, then more than the hub itself can.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio

from tests.faults.agents import Agent, Others, opened
from tests.faults.figures import Figures, Row, Scale, at, milliseconds
from tests.faults.flood import Flood
from tests.faults.places import WORKER, Place, Start

__all__ = ["ROW"]

CONNECTIONS = 2000
WORK_MS = 40
PLACES = 8


async def peak(agents: list[Agent], seconds: float, server: str, tool: str, **arguments: Any) -> float:
    """Calls a second that are answered well, as many at a time as there are agents."""
    count, end = 0, time.perf_counter() + seconds

    async def work(agent: Agent) -> None:
        nonlocal count
        while time.perf_counter() < end:
            said = await agent.call(server, tool, **arguments)
            count += said.good

    async with anyio.create_task_group() as tasks:
        for agent in agents:
            tasks.start_soon(work, agent)
    return count / seconds


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, seconds = Figures(), float(scale(3, 10))
    more = {"narrow": {"limits": {"concurrent": PLACES}}}
    async with (
        start(folder, {"good": WORKER, "narrow": WORKER}, more=more) as place,
        opened(place, *["me"] * 32) as agents,
    ):
        await _overload("narrow", place, agents, found, scale, seconds, "slow", ms=WORK_MS, text="x")
        await _overload("good", place, agents, found, scale, seconds, "echo", text="x")
    return found


async def _overload(
    server: str,
    place: Place,
    agents: list[Agent],
    found: Figures,
    scale: Scale,
    seconds: float,
    tool: str,
    **arguments: Any,
) -> None:
    word = "the hub" if server == "good" else f"a server of {PLACES} places"
    most = await peak(agents, seconds, server, tool, **arguments)
    flood = await Flood.opened(place, agents[0], server, tool, CONNECTIONS, **arguments)
    began = time.perf_counter()
    await flood.run(5 * most, seconds)
    took = time.perf_counter() - began
    flood.close()
    after = Others()
    began = time.perf_counter()
    await after.measure(agents[0], "good", 50)
    recovered = time.perf_counter() - began
    good = [seconds for _, seconds, good, _ in flood.answers if good]
    shed = [
        seconds for status, seconds, good, advice in flood.answers if advice and not good and status < 500
    ]
    other = len(flood.answers) - len(good) - len(shed)
    goodput, sent = len(good) / took, len(flood.answers) / took
    share = goodput / most
    found.say(
        f"{word}: peak {most:.0f} calls/s, sent {sent:.0f}/s, goodput {share:.0%} of the peak, served within "
        f"{milliseconds(at(good, 99))} (p99)",
        share > (0.4 if scale.smoke else 0.8),
    )
    found.say(
        f"{len(shed)} told when to come again, after {milliseconds(at(shed, 50))} (p50), "
        f"{milliseconds(at(shed, 99))} (p99); {other} other errors",
        not other and (scale.smoke or at(shed, 99) < 0.05),
    )
    found.say(
        f"50 calls right after: {milliseconds(recovered)}, {after.errors} errors",
        recovered < 2 and not after.errors,
    )


ROW = Row(
    "R14",
    "five times as many calls as can be served",
    "goodput >= 80 % of the peak; the rest told within 50 ms when to come again; no 5xx; well again in < 2 s",
    run,
)
