"""R14: five times as many calls as can be served, at a steady pace that waits for nobody.

First more than one server can do, then more than the hub itself can.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.processes import cpu_seconds
from tests.faults.agents import Agent, Others, opened
from tests.faults.figures import Figures, Row, Scale, milliseconds
from tests.faults.flood import AS_FAST_AS_ANSWERED, Flooded, flooding
from tests.faults.places import WORKER, Place, Start

__all__ = ["ROW"]

CONNECTIONS = 500
AT_PEAK = 64
"""Calls under way at once where the peak is looked for."""
WORK_MS = 40
PLACES = 8
WARM_SECONDS = 1.0


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, seconds = Figures(), float(scale(3, 10))
    more = {"narrow": {"limits": {"concurrent": PLACES}}}
    async with (
        start(folder, {"good": WORKER, "narrow": WORKER}, more=more) as place,
        opened(place, "me") as (agent,),
    ):
        await _overload("narrow", place, agent, found, scale, seconds, "slow", ms=WORK_MS, text="x")
        await _overload("good", place, agent, found, scale, seconds, "echo", text="x")
    return found


async def _overload(
    server: str,
    place: Place,
    agent: Agent,
    found: Figures,
    scale: Scale,
    seconds: float,
    tool: str,
    **arguments: Any,
) -> None:
    word = "the hub" if server == "good" else f"a server of {PLACES} places"

    request = agent.prepared(server, tool, arguments)

    def spent() -> float:
        return cpu_seconds(place.pid, alone=True) or 1.0

    async def flood(connections: int, rate: float, seconds: float) -> tuple[Flooded, float]:
        """What came of it, and what a good answer cost the hub: CPU seconds, all of its own."""
        before = spent()
        async with flooding(
            place.port, request, connections=connections, rate=rate, seconds=seconds
        ) as begun:
            it = await begun.done()
        return it, (spent() - before) / max(1, it.good)

    await flood(AT_PEAK, AS_FAST_AS_ANSWERED, WARM_SECONDS)
    peak, cost = await flood(AT_PEAK, AS_FAST_AS_ANSWERED, seconds)
    most = peak.good / peak.seconds
    it, cost_then = await flood(CONNECTIONS, 5 * most, seconds)
    after = Others()
    began = time.perf_counter()
    async with opened(place, "me") as (fresh,):
        await after.measure(fresh, "good", 50)
    recovered = time.perf_counter() - began
    share = it.good / it.seconds / most
    same = f" ({cost / cost_then:.0%} for the same CPU of the hub)" if server == "good" else ""
    found.say(
        f"{word}: peak {most:.0f} calls/s, sent {it.sent / it.seconds:.0f}/s of {5 * most:.0f}/s, goodput "
        f"{share:.0%} of the peak{same}, served within {milliseconds(it.good_p99)} (p99)",
        share > (0.2 if scale.smoke else 0.8),
    )
    found.say(
        f"{it.shed} told when to come again, after {milliseconds(it.shed_p50)} (p50), "
        f"{milliseconds(it.shed_p99)} (p99); {sum(it.other.values())} other errors",
        not it.other and (scale.smoke or it.shed_p99 < 0.05),
    )
    found.say(
        f"50 calls right after: {milliseconds(recovered)}, {after.errors} errors",
        recovered < scale.bound(2) and not after.errors,
    )


ROW = Row(
    "R14",
    "five times as many calls as can be served",
    "goodput >= 80 % of the peak; the rest told within 50 ms when to come again; no 5xx; well again in < 2 s",
    run,
)
