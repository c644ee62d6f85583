"""R11: many agents at once, all with the same request ids."""

from __future__ import annotations

import time
from pathlib import Path

import anyio

from tests.faults.agents import Agent, Said, opened
from tests.faults.figures import MEGABYTE, Figures, Row, Scale, at, milliseconds
from tests.faults.places import WORKER, Start

__all__ = ["ROW"]

CALLS = 10


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, count = Figures(), scale(200, 1000)
    names = [f"a{number}" for number in range(count)]
    wrong, errors, took = 0, 0, [0.0] * count
    said: list[Said] = []
    async with start(folder, {"good": WORKER}, agents=names) as place:
        began = time.perf_counter()
        async with opened(place, *names) as agents:
            connected = time.perf_counter() - began
            first: list[float] = []

            async def meet(agent: Agent) -> None:
                nonlocal errors
                answer = await agent.call("good", "echo", text="x")
                first.append(answer.seconds)
                errors += not answer.good

            async with anyio.create_task_group() as tasks:
                for agent in agents:
                    tasks.start_soon(meet, agent)
            began = time.perf_counter()

            async def work(number: int) -> None:
                nonlocal wrong, errors
                for step in range(CALLS):
                    nonce = f"{number}-{step}-nonce"
                    answer = await agents[number].call("good", "echo", text=nonce)
                    said.append(answer)
                    errors += not answer.good
                    if answer.text is not None and answer.text != nonce:
                        # What is no answer at all may come as one too.
                        another = answer.text.endswith("-nonce")
                        wrong, errors = wrong + another, errors + (not another)
                took[number] = time.perf_counter() - began

            async with anyio.create_task_group() as tasks:
                for number in range(count):
                    tasks.start_soon(work, number)
            memory = place.memory()
    rates = [CALLS / seconds for seconds in took]
    fairness = sum(rates) ** 2 / (count * sum(rate * rate for rate in rates))
    times = [each.seconds for each in said]
    found.say(f"{count} agents, {len(said)} calls, {errors} errors", not errors)
    found.say(f"{wrong} answers that were another's", not wrong)
    found.say(
        f"connected within {connected / count * 1e3:.1f} ms each, first call (all at once) "
        f"{milliseconds(at(first, 99))} (p99)"
    )
    found.say(f"calls p50 {milliseconds(at(times, 50))}, p99 {milliseconds(at(times, 99))}")
    found.say(f"fairness (Jain) {fairness:.2f}", fairness > 0.9)
    found.say(f"memory {memory / MEGABYTE:.0f} MB", memory < 400 * MEGABYTE)
    return found


ROW = Row(
    "R11",
    "1,000 agents at once with the same request ids",
    "no error; no byte of another's; fairness > 0.9; memory < 400 MB",
    run,
    others=True,
)
