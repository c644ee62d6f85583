"""R2: the hub is killed (SIGKILL) again and again: while agents of both eras work, and while it starts."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import anyio

from hub.store import reading
from tests.faults.figures import Figures, Row, Scale, at, milliseconds
from tests.faults.lasting import Lasting
from tests.faults.places import WORKER, Start, serving
from tests.homes import Running, done
from tests.processes import descendants, gone

__all__ = ["ROW"]

AGENTS = 8
STARTING = 4
"""Of so many kills, one while it starts."""
ROUND_SECONDS = 60.0


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, rounds, chance = Figures(), scale(4, 200), random.Random(20261121)
    agents = [Lasting(number, ("modern", "legacy")[number % 2], chance) for number in range(AGENTS)]
    again: list[float] = []
    orphans = starting = 0
    worker = {"good": {"results": 1000}}
    async with start(folder, {"good": [*WORKER, str(folder)]}, more=worker) as first:
        home, tokens = first.home, first.tokens
    for round in range(rounds):
        if round % STARTING == STARTING - 1:
            starting += 1
            orphans += await _killed_early(home, chance.uniform(0, 0.6))
            continue
        began = time.perf_counter()
        async with serving(home, tokens) as place:
            assert place.hub is not None
            with anyio.fail_after(ROUND_SECONDS):
                await agents[0].connect(place)
                again.append(time.perf_counter() - began)
                for agent in agents[1:]:
                    await agent.connect(place)
                below = descendants(place.pid)
                await _load(agents, place.hub, chance.randrange(1, 200), chance.uniform(0, 0.01))
        orphans += await _left(below)
    async with serving(home, tokens) as place:
        for agent in agents:
            await agent.connect(place)
            agent.leave()
        rows = _rows(home)
    verified = done(home, "audit", "verify").code == 0
    receipts = (folder / "receipts").read_text().split()

    answered = set().union(*(agent.answered for agent in agents))
    unknown = set().union(*(agent.unknown for agent in agents))
    repeated = set().union(*(agent.repeated for agent in agents))
    under_way = {agent.open for agent in agents if agent.open is not None}
    lost = [key for key in answered if "done" not in rows.get(key, ()) or key not in receipts]
    silent = [key for key in set(receipts) if key not in rows or key not in answered | unknown | under_way]
    twice = len(receipts) - len(set(receipts))
    wrong = [said for agent in agents for said in agent.wrong]
    eras = {era: sum(agent.resumed for agent in agents if agent.era == era) for era in ("modern", "legacy")}
    full = rounds - starting  # of these, each ends with all agents connected to the next
    found.say(f"{rounds} kills, {starting} of them while it started; agents of both eras: "
              f"{len(answered)} effects answered, {len(lost)} of them lost", not lost)  # fmt: skip
    found.say(f"{twice} effects made twice, {len(silent)} that nobody was told of; of the calls that were "
              f"repeated with their keys {len(repeated)} answered from the record, {len(unknown)} refused as "
              "unknown", not twice and not silent)  # fmt: skip
    found.say(f"sessions resumed: {eras['modern']} times by name, {eras['legacy']} by the older era's id; "
              f"{len(wrong)} of what they held not as it was{''.join(f'; {said}' for said in wrong[:3])}",
              not wrong and min(eras.values()) == full * AGENTS // 2)  # fmt: skip
    found.say(f"{sum(agent.put_off for agent in agents)} calls put off, as their server was not there yet")
    states = [state for each in rows.values() for state in each]
    found.say(f"{states.count('unknown')} open calls listed as unknown", states.count("intended") == 0)
    found.say(f"chain of records {'verified' if verified else 'broken'}", verified)
    found.say(f"{orphans} orphans", not orphans)
    found.say(f"answers again within {milliseconds(at(again, 99))} of its start (p99)",
              at(again, 99) < (10 if scale.smoke else 2))  # fmt: skip
    return found


async def _load(agents: list[Lasting], hub: Running, answers: int, seconds: float) -> None:
    """Let them work until there were so many answers, and a moment longer; then kill it in the middle."""
    left, enough = answers, anyio.Event()

    def answered() -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            enough.set()

    async with anyio.create_task_group() as tasks:
        for agent in agents:
            tasks.start_soon(agent.work, answered)
        await enough.wait()
        await anyio.sleep(seconds)
        hub.process.send_signal(signal.SIGKILL)
    for agent in agents:
        agent.leave()
    hub.end(signal.SIGKILL)


async def _killed_early(home: Path, seconds: float) -> int:
    """Kill a hub so long after it was started; how many processes it left behind."""
    hub = Running(home, "--port", "0")
    await anyio.sleep(seconds)
    below = descendants(hub.pid)
    hub.end(signal.SIGKILL)
    return await _left(below)


async def _left(below: dict[int, str]) -> int:
    """1 where some of these still run after a while."""
    with anyio.move_on_after(3):
        while not gone(below):  # noqa: ASYNC110
            await anyio.sleep(0.02)
    return int(not gone(below))


def _rows(home: Path) -> dict[str, set[str]]:
    """The states of the calls by the key that they were made with."""
    connection = reading.open_read_only(home / ".hub" / "hub.db")
    try:
        found: dict[str, set[str]] = {}
        before = None
        while page := reading.list_calls(connection, reading.CallFilter(before=before, limit=1000)):
            for brief in page:
                if brief.tool != "good__note":
                    continue
                row = reading.get_call(connection, brief.id)
                assert row is not None and row.params is not None
                found.setdefault(row.params.partition('"text":"')[2].partition('"')[0], set()).add(row.state)
            before = page[-1].id
        return found
    finally:
        connection.close()


ROW = Row(
    "R2",
    "the hub is killed (SIGKILL) while it works",
    "nothing answered is lost; no effect twice, or without its intent; each session resumed as it was, in "
    "both eras; no orphan; open calls are unknown; up in < 2 s",
    run,
)
