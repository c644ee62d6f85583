"""R10: the wall clock jumps by a day and by an hour, to and fro, while the hub works.

Needs libfaketime (`apt-get install faketime`), which tells the hub another time than there is. The monotonic
clock is left alone, as it is where a person sets the other one.
"""

from __future__ import annotations

import time
from pathlib import Path

import anyio

from hub.store import reading
from tests.faults.agents import opened, ready_within
from tests.faults.figures import Figures, Row, Scale, milliseconds
from tests.faults.noting import AGENTS, Noting, judged
from tests.faults.places import WORKER, Place, Start, serving
from tests.homes import done

__all__ = ["ROW"]

HOUR, DAY = 3600, 86_400
JUMPS = (-HOUR, 0, -DAY, HOUR, -HOUR, DAY, 0)
"""How far the clock is off, one after the other, in seconds."""
LIBRARIES = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"),
)
LIMIT_SECONDS = 2.0
TOKEN_SECONDS = 1800
SEEN_SECONDS = 1.2
"""By then the file that says how far the clock is off has been read again. (Each time that the clock is asked
for, it would cost more than all else does.)"""


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, noting = Figures(), Noting()
    library = next((each for each in LIBRARIES if each.exists()), None)
    if library is None:
        found.say("not tried here: needs libfaketime")
        return found
    more = {"frail": {"limits": {"call": f"{LIMIT_SECONDS:g}s"}, "breaker": "off"}}
    async with start(folder, {"good": [*WORKER, str(folder)], "frail": WORKER}, more=more) as first:
        home, tokens = first.home, first.tokens
    said = done(home, "agents", "token", "me", "--expires", "30m", "--json")
    tokens = {**tokens, "brief": said.json["token"]}
    offset = folder / "offset"
    offset.write_text("+0")
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    limits, wrong, lives = list[float](), list[str](), True
    async with serving(home, tokens, **faked) as place:
        async with opened(place, "me") as (agent,):
            for server in ("good", "frail"):
                await ready_within(agent, server, 20)
        async with noting.going_on(place):
            for seconds in (0, *JUMPS):
                offset.write_text(f"{seconds:+d}")
                until = time.monotonic() + scale(2, 10)
                await anyio.sleep(SEEN_SECONDS)
                limits += await _hung(place)
                lives = lives and seconds < TOKEN_SECONDS
                if await _served(place, "brief") != lives:
                    wrong.append(f"{seconds:+d}")
                await anyio.sleep(max(0.0, until - time.monotonic()))
    jumps = len(JUMPS)
    found.say(
        f"{jumps} jumps, {noting.refused} calls refused, {noting.broken + noting.silent} without an answer, "
        f"the slowest {milliseconds(noting.slowest)}" + (f": {noting.told}" if noting.told else ""),
        not noting.refused and not noting.broken and not noting.silent and noting.slowest < 5,
    )
    found.say(
        f"a limit of {LIMIT_SECONDS:g} s ended calls after {min(limits):.2f} to {max(limits):.2f} s",
        all(-0.5 < took - LIMIT_SECONDS < scale.bound(0.5) for took in limits),
    )
    found.say(
        "a token of half an hour ended by the wall clock, and stayed so"
        + (f"; not at {wrong}" if wrong else ""),
        not wrong,
    )
    judged(found, home, folder / "receipts", noting.answered)
    found.say(
        f"records in the order of what happened: {'yes' if (right := _in_order(home)) else 'no'}", right
    )
    return found


async def _hung(place: Place) -> list[float]:
    async with opened(place, "me") as (agent,):
        return [(await agent.call("frail", "hang", 10)).seconds]


async def _served(place: Place, who: str) -> bool:
    async with opened(place, who) as (agent,):
        return (await agent.call("good", "echo", text="x")).good


def _in_order(home: Path) -> bool:
    """Whether the chain of records has the calls in the order in which they were made, but for those beside
    each other: the first entry of each."""
    connection = reading.open_read_only(home / ".hub" / "hub.db")
    try:
        query = """
            SELECT calls.params FROM calls JOIN audit ON audit.subject = calls.id
            WHERE calls.tool = 'good__note' GROUP BY calls.id ORDER BY min(audit.seq)"""
        texts = [
            str(params).partition('"text":"t')[2].partition('"')[0] for (params,) in connection.execute(query)
        ]
    finally:
        connection.close()
    numbers = [int(text) for text in texts]
    return len(numbers) > 10 and all(
        abs(number - place) <= 4 * AGENTS for place, number in enumerate(numbers, 1)
    )


ROW = Row(
    "R10",
    "the wall clock jumps by an hour and a day, to and fro",
    "no call fails; time limits hold; records in the order of what happened; tokens end by the wall clock",
    run,
)
