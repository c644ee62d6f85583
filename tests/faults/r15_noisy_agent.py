"""R15: one agent floods the hub and a slow server; another one calls now and then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio

from tests.faults.agents import Agent, Others, opened
from tests.faults.figures import Figures, Row, Scale, at, milliseconds
from tests.faults.places import WORKER, Start

__all__ = ["ROW"]

NOISY = 300
SLOW_MS = 100


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, calls = Figures(), scale(60, 400)
    async with (
        start(folder, {"good": WORKER}, agents=("me", "noisy")) as place,
        opened(place, "me", *["noisy"] * NOISY) as (quiet, *noisy),
    ):
        kinds: list[tuple[str, str, dict[str, Any]]] = [
            ("quick calls", "echo", {"text": "x"}),
            (f"calls of {SLOW_MS} ms", "slow", {"text": "x", "ms": SLOW_MS}),
        ]
        for word, tool, arguments in kinds:
            before, during, flooded = Others(), Others(), 0

            async def one(into: Others, tool: str = tool, arguments: dict[str, Any] = arguments) -> None:
                said = await quiet.call("good", tool, **arguments)
                into.times.append(said.seconds)
                into.errors += not said.good

            async def flood(agent: Agent, tool: str = tool, arguments: dict[str, Any] = arguments) -> None:
                nonlocal flooded
                while True:
                    said = await agent.call("good", tool, **arguments)
                    flooded += said.good
                    if said.status == 429:
                        await anyio.sleep(0.1)

            for _ in range(calls):
                await one(before)
            async with anyio.create_task_group() as tasks:
                for agent in noisy:
                    tasks.start_soon(flood, agent)
                while flooded < NOISY:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                for _ in range(calls):
                    await one(during)
                tasks.cancel_scope.cancel()
            ratio = at(during.times, 99) / at(before.times, 99)
            found.say(
                f"{word}: the other's p50 {milliseconds(at(before.times, 50))} -> "
                f"{milliseconds(at(during.times, 50))}, p99 {milliseconds(at(before.times, 99))} -> "
                f"{milliseconds(at(during.times, 99))} (x{ratio:.1f}), {during.errors} errors",
                not during.errors and _holds(before, during, 50 if scale.smoke else 99),
            )
    return found


def _holds(before: Others, during: Others, percent: int) -> bool:
    return at(during.times, percent) < max(0.1, 2 * at(before.times, percent))


ROW = Row(
    "R15",
    f"one agent floods ({NOISY} calls at once)",
    "another's p99 < 2x, or < 100 ms where that is more; no error of it",
    run,
)
