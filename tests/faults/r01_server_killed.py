"""R1: a server is killed in the middle of a call, again and again; others are called all the while."""

from __future__ import annotations

from pathlib import Path

from tests.faults.agents import Others, opened, ready_within
from tests.faults.figures import Figures, Row, Scale, at, milliseconds
from tests.faults.places import WORKER, Start

__all__ = ["ROW"]


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, rounds = Figures(), scale(10, 200)
    errors, back, wrong = [], [], 0
    async with (
        start(folder, {"frail": WORKER, "good": WORKER}) as place,
        opened(place, "me", "me") as (agent, other),
    ):
        others = Others()
        async with others.calling(other, "good"):
            for _ in range(rounds):
                said = await agent.call("frail", "die", seconds=10)
                errors.append(said.seconds)
                wrong += said.status <= 0 or said.good
                try:
                    back.append(await ready_within(agent, "frail", 20))
                except TimeoutError:
                    found.say(f"the server was not back within 20 s after kill {len(back) + 1}", False)
                    break
    found.say(f"{len(errors)} kills: error within {milliseconds(max(errors))} at most", max(errors) < 1)
    found.say(f"{wrong} calls without an answer", wrong == 0)
    if back:
        found.say(f"back within {milliseconds(at(back, 99))} (p99)", at(back, 99) < 2)
    found.say(f"others: {others.errors} errors in {len(others.times)} calls", others.errors == 0)
    return found


ROW = Row(
    "R1",
    "a server is killed (SIGKILL) in a call",
    "an error within 1 s; the server back within 2 s; no error of any other server",
    run,
    others=True,
)
