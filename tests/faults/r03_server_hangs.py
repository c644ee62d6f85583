"""R3: servers that hang, that say one byte at a time, and that read nothing any more (their pipe is full)."""

from __future__ import annotations

from pathlib import Path

import anyio

from tests.faults.agents import Others, Said, lag, opened
from tests.faults.figures import Figures, Row, Scale, at, milliseconds
from tests.faults.places import WORKER, Start, misbehaving

__all__ = ["ROW"]

DEADLINE = 2.0
AT_ONCE = 20
BYTES = 400_000
"""What a call carries to a server that does not read: more than its pipe holds."""


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found = Figures()
    limit = {"limits": {"call": f"{DEADLINE:g}s"}}
    servers = {"good": WORKER, "hung": WORKER, "deaf": misbehaving("deafens"), "drip": misbehaving("drip")}
    more = {name: limit for name in servers if name != "good"}
    async with (
        start(folder, servers, more=more) as place,
        opened(place, *["me"] * (AT_ONCE + 1)) as (other, *agents),
    ):
        before, others = Others(), Others()
        await before.measure(other, "good", scale(300, 2000))
        said: dict[str, list[Said]] = {}

        async def call(number: int, server: str, tool: str, **arguments: str) -> None:
            answer = await agents[number].call(server, tool, DEADLINE + 10, **arguments)
            said.setdefault(server, []).append(answer)

        async with others.calling(other, "good", scale(300, 2000)):
            for server, tool, size in (("hung", "hang", 0), ("drip", "act", 0), ("deaf", "act", BYTES)):
                async with anyio.create_task_group() as tasks:
                    for number in range(AT_ONCE):
                        arguments = {"text": "x" * size} if size else {}
                        tasks.start_soon(lambda *a, kw=arguments: call(*a, **kw), number, server, tool)
        if place.hub is not None:
            late = await lag(place)
            found.say(f"event loop late by {late['p99']:.0f} ms (p99)", late["p99"] < scale.bound(50))
    for server, word in (("hung", "hangs"), ("drip", "says a byte at a time"), ("deaf", "does not read")):
        times = [each.seconds for each in said[server]]
        answered = sum(each.status > 0 for each in said[server])
        found.say(
            f"{word}: {answered} of {AT_ONCE} answered, after {min(times):.2f} to {max(times):.2f} s",
            answered == AT_ONCE
            and min(times) >= DEADLINE - 0.1
            and max(times) <= DEADLINE + scale.bound(0.5),
        )
    ratio = at(others.times, 99) / at(before.times, 99)
    found.say(f"others: {others.errors} errors, p99 {milliseconds(at(others.times, 99))} (x{ratio:.1f})",
              others.errors == 0 and (ratio < 3 or at(others.times, 99) < scale.bound(0.1)))  # fmt: skip
    return found


ROW = Row(
    "R3",
    "servers that hang, drip, or read nothing",
    f"the deadline ({DEADLINE:g} s) kept within 0.5 s; event loop late by < 50 ms (p99); others served",
    run,
    others=True,
)
