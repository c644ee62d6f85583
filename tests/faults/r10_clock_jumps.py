"""R10: the wall clock jumps by a day and by an hour, to and fro, while the hub works.

Needs libfaketime (`apt-get install faketime`), which tells the hub another time than there is. The monotonic
clock is left alone, as it is where a person sets the other one.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import anyio

from hub.store import reading
from tests.faults.agents import opened, ready_within
from tests.faults.figures import Figures, Row, Scale, milliseconds
from tests.faults.noting import AGENTS, Noting, judged
from tests.faults.places import WORKER, Place, Start, serving
from tests.homes import done, write
from tests.issuer_room import RESOURCE, Issuer, Key

__all__ = ["ROW"]

HOUR, DAY = 3600, 86_400
JUMPS = (-HOUR, 0, -DAY, HOUR, -HOUR, DAY, 0)
"""How far the clock is off, one after the other, in seconds."""
LIBRARIES = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"),
)
LIMIT_SECONDS = 2.0
TOKEN_SECONDS = 2400
SHORT_SECONDS = 1800
NEAR_SECONDS = 15
"""So shortly before its end one still counts; in that time it has to be used."""
LATE_SECONDS = (30, 90)
"""So long ago another issuer's token ended, by the hub's clock: within the leeway of a minute, and after."""
ISSUER = Issuer("https://login.example.com")
SEEN_SECONDS = 2.2
"""By then the file that says how far the clock is off has been read again. (Each time that the clock is asked
for, it would cost more than all else does.)"""


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, noting = Figures(), Noting()
    library = next((each for each in LIBRARIES if each.exists()), None)
    if library is None:
        found.say("not tried here: needs libfaketime")
        return found
    more = {"frail": {"limits": {"call": f"{LIMIT_SECONDS:g}s"}, "breaker": "off"}}
    key = Key.make("k")
    issuers = [{"issuer": ISSUER.url, "jwks": "keys.json"}]
    async with start(
        folder,
        {"good": [*WORKER, str(folder)], "frail": WORKER},
        settings={"oauth": {"resource": RESOURCE, "issuers": issuers}},
        more=more,
    ) as first:
        home, tokens = first.home, dict(first.tokens)
    (home / "keys.json").write_text(json.dumps({"keys": [key.public()]}))
    write(home, "ada", agent="ada", identify={"issuer": ISSUER.url, "claims": {"sub": "ada"}}, may=["*"])
    made = time.time()
    for name, seconds in (("short", SHORT_SECONDS), ("brief", TOKEN_SECONDS)):
        said = done(home, "agents", "token", "me", "--expires", f"{seconds}s", "--json")
        tokens[name] = said.json["token"]
    around = (made + SHORT_SECONDS - NEAR_SECONDS, time.time() + SHORT_SECONDS)
    offset = folder / "offset"
    offset.write_text("+0")
    faked = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    limits, wrong, lives, leeway = list[float](), list[str](), True, list[tuple[bool, ...]]()
    async with serving(home, tokens, **faked) as place:
        async with opened(place, "me") as (agent,):
            for server in ("good", "frail"):
                await ready_within(agent, server, 20)
        async with noting.going_on(place):
            own = []
            for moment in around:
                offset.write_text(f"{moment - time.time():+.3f}")
                await anyio.sleep(SEEN_SECONDS)
                own.append(await _served(place, "short"))
            for seconds in (0, *JUMPS):
                offset.write_text(f"{seconds:+d}")
                until = time.monotonic() + scale(2, 10)
                await anyio.sleep(SEEN_SECONDS)
                limits += await _hung(place)
                lives = lives and seconds < TOKEN_SECONDS
                if await _served(place, "brief") != lives:
                    wrong.append(f"{seconds:+d}")
                leeway.append(await _late(place, tokens, key, seconds))
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
        "tokens of 30 and 40 minutes ended by the wall clock, on time, and stayed so"
        + (f"; not at {wrong}" if wrong else "")
        + (f"; just before its end, and right after: {own}" if own != [True, False] else ""),
        not wrong and own == [True, False],
    )
    right = sum(each == (True, False) for each in leeway)
    found.say(
        f"another issuer's that ended {LATE_SECONDS[0]} s ago taken, {LATE_SECONDS[1]} s ago refused: "
        f"{right} of {len(leeway)} times",
        right == len(leeway),
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


async def _late(place: Place, tokens: dict[str, str], key: Key, off: float) -> tuple[bool, ...]:
    """Which of another issuer's tokens are taken that ended so long ago by the hub's clock, which is off."""
    served = []
    for late in LATE_SECONDS:
        now = int(time.time() + off)
        tokens["late"] = ISSUER.token(key, exp=now - late, iat=now - 600, jti=str(late))
        served.append(await _served(place, "late"))
    return tuple(served)


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
    "no call fails; time limits hold; records in the order of what happened; tokens end by the wall clock: "
    "the hub's own on time, other issuers' after a minute of leeway",
    run,
)
