"""R15: one agent floods the hub and its servers; another one calls now and then.

What it floods with: calls of a millisecond, which keep the hub busy; such that take their time beside each
other; and calls of a server that does one thing at a time, so that a queue of them stands before it.
"""

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
WORK_MS = 4
FIRST = 40
"""So many of the other's calls are told apart: until it is known what a server can do, they may stand behind
all that came before."""
FLOOD_SECONDS = 120.0
"""Longer than it takes: the flood is ended once enough is known."""


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found = Figures()
    async with (
        start(folder, {"good": WORKER}, agents=("me", "noisy")) as place,
        opened(place, "me", "noisy") as (quiet, noisy),
    ):
        kinds: list[tuple[str, int, str, dict[str, Any]]] = [
            ("quick calls", scale(100, 800), "echo", {"text": "x"}),
            (f"calls of {SLOW_MS} ms", scale(10, 150), "slow", {"text": "x", "ms": SLOW_MS}),
            (f"{WORK_MS} ms, one at a time", scale(100, 800), "work", {"text": "x", "ms": WORK_MS}),
        ]
        for word, calls, tool, arguments in kinds:
            before, first, during = Others(), Others(), Others()
            await _calls(quiet, before, calls, tool, arguments)
            request = noisy.prepared("good", tool, arguments)
            async with flooding(place.port, request, connections=NOISY, seconds=FLOOD_SECONDS):
                await _calls(quiet, first, min(FIRST, calls), tool, arguments)
                await _calls(quiet, during, calls, tool, arguments)
            errors = first.errors + during.errors
            found.say(
                f"{word}: the other's p50 {_change(before, during, 50)}, p99 {_change(before, during, 99)}; "
                f"the first {len(first.times)} {milliseconds(max(first.times))} at most; {errors} errors",
                not errors and _holds(before, during, scale),
            )
    return found


async def _calls(agent: Agent, into: Others, calls: int, tool: str, arguments: dict[str, Any]) -> None:
    for _ in range(calls):
        said = await agent.call("good", tool, **arguments)
        into.times.append(said.seconds)
        into.errors += not said.good


def _change(before: Others, during: Others, percent: int) -> str:
    was, now = at(before.times, percent), at(during.times, percent)
    return f"{milliseconds(was)} -> {milliseconds(now)} (x{now / was:.1f})"


def _holds(before: Others, during: Others, scale: Scale) -> bool:
    percent = scale(50, 99)
    return at(during.times, percent) < max(scale(100, 20) / 1000, 2 * at(before.times, percent))


ROW = Row(
    "R15",
    f"one agent floods ({NOISY} calls at once)",
    "another's p99 < 2x, or < 20 ms where that is more; no error of it",
    run,
)
