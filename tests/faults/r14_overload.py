"""R14: five times as many calls as can be served, at a steady pace that waits for nobody.

First more than one server can do; then more than the hub itself can: of calls with long answers, where five
times as many can really be sent, and of the shortest there are, where its clients and the server take as much
of the machine as the hub.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter as clock
from typing import Any

import anyio

from benchmarks.processes import cpu_seconds
from tests.faults.agents import Agent, opened
from tests.faults.figures import Figures, Row, Scale, milliseconds
from tests.faults.flood import Flooded, flooding
from tests.faults.places import WORKER, Place, Start

__all__ = ["ROW"]

TIMES = 5
CONNECTIONS = 500
CONNECTIONS_MAX = 4000
AT_PEAK = 64
"""Calls under way at once where the peak is looked for."""
WORK_MS = 40
PLACES = 8
ROWS = 1000
WARM_SECONDS = 0.5
AGAIN = 50
"""How many calls have to be answered well, one after the other, before it is well again."""


@dataclass(frozen=True)
class Shape:
    """One kind of calls."""

    word: str
    server: str
    tool: str
    arguments: dict[str, Any]
    of_hub: bool = True
    """Whether it is the hub that cannot do more."""
    is_open: bool = True
    """Whether five times as many can be sent: on a new connection, where all wait."""


SHAPES = (
    Shape(f"a server of {PLACES} places", "narrow", "slow", {"ms": WORK_MS, "text": "x"}, of_hub=False),
    Shape("the hub, answers of 60 kB", "good", "rows", {"count": ROWS}),
    Shape("the hub, the shortest calls", "good", "echo", {"text": "x"}, is_open=False),
)


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found = Figures()
    more = {"narrow": {"limits": {"concurrent": PLACES}}}
    async with (
        start(folder, {"good": WORKER, "narrow": WORKER}, more=more) as place,
        opened(place, "me") as (agent,),
    ):
        for shape in SHAPES:
            await _overload(shape, place, agent, found, scale)
    return found


async def _overload(shape: Shape, place: Place, agent: Agent, found: Figures, scale: Scale) -> None:
    request = agent.prepared(shape.server, shape.tool, shape.arguments)
    # The hub takes as many connections as half of the files that it may open.
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = min(CONNECTIONS_MAX, files // 2 - AT_PEAK) if shape.is_open else CONNECTIONS
    seconds = scale(15, 50) / 10

    async def peak(seconds: float) -> Flooded:
        async with flooding(place.port, request, connections=AT_PEAK, seconds=seconds) as begun:
            return await begun.done()

    def spent() -> float:
        return cpu_seconds(place.pid, alone=True) or 1.0

    await peak(WARM_SECONDS)
    before = spent()
    best = await peak(seconds)
    cost = (spent() - before) / max(1, best.good)
    rate = best.good / best.seconds
    before = spent()
    async with flooding(
        place.port,
        request,
        connections=min(CONNECTIONS, most),
        connections_max=most,
        seconds=seconds,
        rate=TIMES * rate,
    ) as begun:
        await anyio.sleep(seconds)
        recovered, waits = await _well_again(place, scale)
        it = await begun.done()
    cost_then = (spent() - before) / max(1, it.good)
    sent, share = it.sent / seconds / rate, it.good / it.seconds / rate
    # Whatever else runs here takes its part of the time; of the hub's own CPU nobody does.
    same = cost / cost_then if shape.of_hub else share
    said = f" ({same:.0%} for the same CPU of the hub)" if shape.of_hub else ""
    found.say(
        f"{shape.word}: peak {rate:.0f} calls/s, {sent:.1f} times as many sent, goodput {share:.0%} of the "
        f"peak{said}, served within {milliseconds(it.good_p99)} (p99)",
        max(share, same) > scale(40, 80 if shape.is_open else 65) / 100 and (sent > 4.8 or not shape.is_open),
    )
    found.say(
        f"{it.shed} told when to come again, after {milliseconds(it.shed_p50)} (p50), "
        f"{milliseconds(it.shed_p99)} (p99); {sum(it.other.values())} other errors",
        not it.other and (scale.smoke or it.shed_p99 < 0.05),
    )
    found.say(
        f"{AGAIN} calls answered {milliseconds(recovered)} after it, {waits} told to come again before",
        recovered < scale.bound(2),
    )


async def _well_again(place: Place, scale: Scale) -> tuple[float, int]:
    """How long until so many calls are answered well, one after the other; how many were not before."""
    began, well, waits = clock(), 0, 0
    async with opened(place, "me") as (agent,):
        with anyio.fail_after(scale.bound(10)):
            while well < AGAIN:
                said = await agent.call("good", "echo", text="x")
                well += 1
                if not said.good:
                    well, waits = 0, waits + 1
                    await anyio.sleep(0.01)
    return clock() - began, waits


ROW = Row(
    "R14",
    "five times as many calls as can be served",
    "goodput >= 80 % of the peak (65 % of the shortest calls); the rest told within 50 ms when to come again"
    "; no 5xx; well again in < 2 s",
    run,
)
