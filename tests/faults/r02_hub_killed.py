"""R2: the hub is killed (SIGKILL) again and again while it records calls."""

from __future__ import annotations

import random
import signal
import sys
import time
from pathlib import Path

import anyio

from hub.store import reading
from tests.faults.agents import opened
from tests.faults.figures import Figures, Row, Scale, at, milliseconds
from tests.faults.places import WORKER, Place, Start, serving
from tests.homes import done
from tests.test_kill import descendants, gone

__all__ = ["ROW"]

AGENTS = 8


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, rounds, chance = Figures(), scale(3, 200), random.Random(20261121)
    answered: set[str] = set()
    again: list[float] = []
    orphans = 0
    async with start(folder, {"good": [*WORKER, str(folder)]}) as first:
        home, tokens = first.home, first.tokens
    for round in range(rounds):
        began = time.perf_counter()
        async with serving(home, tokens) as place:
            assert place.hub is not None
            status = 0
            async with opened(place, "me") as (one,):
                while status != 200:
                    status = (await one.call("good", "note", text=f"start-{round}")).status
            again.append(time.perf_counter() - began)
            answered.add(f"start-{round}")
            below = descendants(place.pid)
            await _load(place, round, answered, chance.randrange(20, 200))
            place.hub.end(signal.SIGKILL)
        with anyio.move_on_after(3):
            while not gone(below):  # noqa: ASYNC110
                await anyio.sleep(0.02)
        orphans += not gone(below)
    async with serving(home, tokens):
        rows = _rows(home)
    verified = done(home, "audit", "verify").code == 0
    receipts = (folder / "receipts").read_text().split()
    states: dict[str, int] = {}
    for state in rows.values():
        states[state] = states.get(state, 0) + 1
    lost = [key for key in answered if rows.get(key) != "done"]
    unknown = [key for key in receipts if key not in rows]
    twice = len(receipts) - len(set(receipts))
    found.say(f"{rounds} kills, {len(answered)} calls answered, {len(lost)} of them lost", not lost)
    found.say(f"{len(unknown)} effects without an intent, {twice} made twice", not unknown and not twice)
    found.say(f"{states.get('unknown', 0)} open calls listed as unknown", states.get("intended", 0) == 0)
    found.say(f"chain of records {'verified' if verified else 'broken'}", verified)
    found.say(f"{orphans} orphans", not orphans)
    found.say(f"answers again within {milliseconds(at(again, 99))} of its start (p99)",
              at(again, 99) < (10 if scale.smoke else 2))  # fmt: skip
    return found


async def _load(place: Place, round: int, answered: set[str], until: int) -> None:
    """Agents call until so many have been answered."""
    count = 0
    async with opened(place, *["me"] * AGENTS) as agents, anyio.create_task_group() as tasks:

        async def work(number: int) -> None:
            nonlocal count
            for step in range(sys.maxsize):
                key = f"{round}-{number}-{step}"
                if (await agents[number].call("good", "note", text=key)).good:
                    answered.add(key)
                    count += 1
                if count >= until:
                    tasks.cancel_scope.cancel()

        for number in range(AGENTS):
            tasks.start_soon(work, number)


def _rows(home: Path) -> dict[str, str]:
    """State of each call, by the key it was made with."""
    connection = reading.open_read_only(home / ".hub" / "hub.db")
    try:
        found: dict[str, str] = {}
        before = None
        while page := reading.list_calls(connection, reading.CallFilter(before=before, limit=1000)):
            for brief in page:
                row = reading.get_call(connection, brief.id)
                assert row is not None and row.params is not None
                found[row.params.partition('"text":"')[2].partition('"')[0]] = row.state
            before = page[-1].id
        return found
    finally:
        connection.close()


ROW = Row(
    "R2",
    "the hub is killed (SIGKILL) while it works",
    "nothing answered is lost; no effect without its intent; no orphan; open calls are unknown; up in < 2 s",
    run,
)
