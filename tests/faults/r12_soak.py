"""R12: thousands of calls, with servers that die and talk nonsense in between; nothing piles up."""

from __future__ import annotations

from pathlib import Path

import anyio

from tests.faults.agents import Agent, opened
from tests.faults.figures import MEGABYTE, Figures, Row, Scale
from tests.faults.places import WORKER, Start, misbehaving

__all__ = ["ROW"]

AGENTS = 8
FAULT_EVERY = 500


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, calls = Figures(), scale(6_000, 200_000)
    servers = {"good": WORKER, "frail": WORKER, "garbage": misbehaving("garbage")}
    async with (
        start(folder, servers) as place,
        opened(place, *["me"] * (AGENTS + 1)) as (ill, *agents),
    ):
        errors = 0

        async def work(agent: Agent, calls: int) -> None:
            nonlocal errors
            for number in range(calls):
                said = await agent.call("good", "echo", text="x" * (number % 100))
                errors += not said.good

        async def part(calls: int) -> None:
            async with anyio.create_task_group() as tasks:
                for agent in agents:
                    tasks.start_soon(work, agent, calls // AGENTS)

        async def settle() -> tuple[int, int]:
            for server in ("frail", "garbage"):
                await ill.call(server, "pid" if server == "frail" else "act", 10)
            await anyio.sleep(1)
            return place.files(), place.memory()

        # Warm: caches are filled, the database has its pages.
        await part(calls // 3)
        files, memory = await settle()
        done = 0
        while done < calls:
            await ill.call("frail", "die", 10)
            await ill.call("garbage", "act", 10)
            await part(min(calls, FAULT_EVERY * AGENTS))
            done += min(calls, FAULT_EVERY * AGENTS)
        files_after, memory_after = await settle()
        database = place.home / ".hub" / "hub.db-wal"
        log = database.stat().st_size if database.exists() else 0
    slope = (memory_after - memory) / MEGABYTE / (done / 10_000)
    found.say(f"{done} calls, {errors} errors", not errors)
    found.say(f"open files {files} -> {files_after}", abs(files_after - files) <= 5)
    found.say(
        f"memory {memory / MEGABYTE:.0f} -> {memory_after / MEGABYTE:.0f} MB ({slope:+.1f} per 10,000 calls)",
        slope < (30 if scale.smoke else 1),
    )
    if place.hub is not None:
        found.say(f"write-ahead log {log / MEGABYTE:.1f} MB", log < 64 * MEGABYTE)
    return found


ROW = Row(
    "R12",
    "a soak with servers that die and talk nonsense",
    "no error of others; open files flat (+-5); memory +< 1 MB per 10,000 calls; log < 64 MB",
    run,
    others=True,
)
