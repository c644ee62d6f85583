"""R13: SIGTERM while 200 calls are under way; and a second one while a call hangs."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import anyio

from tests.faults.agents import Said, opened, state
from tests.faults.figures import Figures, Row, Scale, milliseconds
from tests.faults.places import WORKER, Start

__all__ = ["ROW"]

CALLS = 200
WORKS_MS = 2500


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found = Figures()
    await _drains(start, folder / "one", found, scale)
    await _told_twice(start, folder / "two", found, scale)
    return found


async def _drains(start: Start, folder: Path, found: Figures, scale: Scale) -> None:
    answers: list[Said] = []
    late: list[Said] = []
    more = {"good": {"limits": {"concurrent": CALLS + 8}}}
    async with (
        start(folder, {"good": WORKER}, settings={"grace": "10s"}, more=more) as place,
        opened(place, *["me"] * (CALLS + 1)) as (new, *agents),
    ):
        assert place.hub is not None
        below = place.children()
        async with anyio.create_task_group() as tasks:

            async def work(number: int) -> None:
                answers.append(await agents[number].call("good", "slow", ms=WORKS_MS, text=str(number)))

            for number in range(CALLS):
                tasks.start_soon(work, number)
            # All have left here by then; those that the hub has not read yet, it may refuse.
            await anyio.sleep(0.2)
            assert (await new.call("good", "echo", text="x")).good
            place.hub.process.send_signal(signal.SIGTERM)
            began = time.perf_counter()
            while True:
                said = await new.call("good", "echo", text="x")
                if not said.good:
                    late.append(said)
                    break
            status, about = await state(place)
        code = await anyio.to_thread.run_sync(place.hub.process.wait, 10)
        took = time.perf_counter() - began
    good, refused_ones = sum(said.good for said in answers), sum(said.status == 503 for said in answers)
    begun = CALLS - refused_ones
    found.say(f"{good} of {begun} calls under way answered", good >= begun * 0.99 and begun > CALLS / 2)
    refused = late[0]
    wait = (refused.headers or {}).get("retry-after")
    found.say(
        f"a new call: {refused.status} with Retry-After {wait} in {milliseconds(refused.seconds)}",
        refused.status == 503 and wait is not None and refused.seconds < scale.bound(0.5),
    )
    found.say(f"/ready: {status} {about['status']}", (status, about["status"]) == (503, "ending"))
    found.say(f"ended with status {code} after {took:.1f} s", code == 0 and took < scale.bound(10))
    left = [pid for pid in below if Path(f"/proc/{pid}").exists()]
    found.say(f"{len(left)} processes left", not left)


async def _told_twice(start: Start, folder: Path, found: Figures, scale: Scale) -> None:
    async with (
        start(folder, {"good": WORKER}, settings={"grace": "30s"}) as place,
        opened(place, "me", "me") as (agent, new),
    ):
        assert place.hub is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(agent.call, "good", "hang")
            assert (await new.call("good", "echo", text="x")).good
            place.hub.process.send_signal(signal.SIGTERM)
            while (await state(place))[1]["status"] != "ending":  # noqa: ASYNC110
                await anyio.sleep(0.01)
            began = time.perf_counter()
            place.hub.process.send_signal(signal.SIGTERM)
            code = await anyio.to_thread.run_sync(place.hub.process.wait, 20)
            took = time.perf_counter() - began
    found.say(
        f"a second SIGTERM: ended with {code} in {milliseconds(took)}", code == 0 and took < scale.bound(1)
    )


ROW = Row(
    "R13",
    "SIGTERM with 200 calls under way",
    "99 % answered; new calls 503 with Retry-After at once; status 0, no process left; a second one: < 1 s",
    run,
)
