"""R15: one agent floods the hub and a slow server; another one calls now and then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults.agents import Agent, Others, opened
from tests.faults.figures import Figures, Row, Scale, at, milliseconds
from tests.faults.flood import flooding
from tests.faults.places import WORKER, Start

__all__ = ["ROW"]

NOISY = 300
SLOW_MS = 100
FLOOD_SECONDS = 120.0
"""Longer than it takes: the flood is ended once enough is known."""


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, calls = Figures(), scale(60, 400)
    async with (
        start(folder, {"good": WORKER}, agents=("me", "noisy")) as place,
        opened(place, "me", "noisy") as (quiet, noisy),
    ):
        kinds: list[tuple[str, str, dict[str, Any]]] = [
            ("quick calls", "echo", {"text": "x"}),
            (f"calls of {SLOW_MS} ms", "slow", {"text": "x", "ms": SLOW_MS}),
        ]
        for word, tool, arguments in kinds:
            before, during = Others(), Others()
            await _calls(quiet, before, calls, tool, arguments)
            request = noisy.prepared("good", tool, arguments)
            async with flooding(place.port, request, connections=NOISY, seconds=FLOOD_SECONDS):
                await _calls(quiet, during, calls, tool, arguments)
            ratio = at(during.times, 99) / at(before.times, 99)
            found.say(
                f"{word}: the other's p50 {milliseconds(at(before.times, 50))} -> "
                f"{milliseconds(at(during.times, 50))}, p99 {milliseconds(at(before.times, 99))} -> "
                f"{milliseconds(at(during.times, 99))} (x{ratio:.1f}), {during.errors} errors",
                not during.errors and _holds(before, during, scale),
            )
    return found


async def _calls(agent: Agent, into: Others, calls: int, tool: str, arguments: dict[str, Any]) -> None:
    for _ in range(calls):
        said = await agent.call("good", tool, **arguments)
        into.times.append(said.seconds)
        into.errors += not said.good


def _holds(before: Others, during: Others, scale: Scale) -> bool:
    percent = scale(50, 99)
    return at(during.times, percent) < max(scale(250, 50) / 1000, 2 * at(before.times, percent))


ROW = Row(
    "R15",
    f"one agent floods ({NOISY} calls at once)",
    "another's p99 < 2x, or < 50 ms where that is more; no error of it",
    run,
)
