"""R8: another process holds the database, for longer than anybody waits."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import anyio

from tests.faults.agents import lag, opened, state
from tests.faults.figures import MEGABYTE, Figures, Row, Scale, milliseconds
from tests.faults.places import WORKER, Start
from tests.homes import done

__all__ = ["ROW"]


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, seconds = Figures(), float(scale(4, 60))
    receipts = folder / "receipts"
    async with (
        start(folder, {"good": [*WORKER, str(folder)]}) as place,
        opened(place, "me") as (agent,),
    ):
        assert (await agent.call("good", "note", text="first")).good
        database = place.home / ".hub" / "hub.db"
        answered, refused, slowest, trouble = 0, 0, 0.0, False
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                said = await agent.call("good", "note", seconds + 30, text=f"{answered}-" + "x" * 2000)
                answered += said.good
                refused += not said.good
                slowest = max(slowest, said.seconds)
                trouble = trouble or (await state(place))[0] == 503
                await anyio.sleep(0.005)
            other.execute("ROLLBACK")
        began = time.perf_counter()
        with anyio.move_on_after(20):
            while not (await agent.call("good", "note", text="again")).good:  # noqa: ASYNC110
                await anyio.sleep(0.02)
        recovered = time.perf_counter() - began
        made = receipts.read_text().count("\n")
        for _ in range(scale(200, 5000)):
            await agent.call("good", "note", text="x" * 5000)
        log = database.with_name("hub.db-wal").stat().st_size
        late, home = await lag(place), place.home
    verified = done(home, "audit", "verify").code == 0
    found.say(
        f"locked for {seconds:.0f} s: {answered} calls answered (kept in the journal), {refused} refused, "
        f"none waited longer than {milliseconds(slowest)}",
        slowest < 5,
    )
    found.say(f"{made} effects, {answered + 2} answers", made == answered + 2)
    found.say(f"well again after {milliseconds(recovered)}", recovered < (5 if scale.smoke else 2))
    found.say(f"write-ahead log {log / MEGABYTE:.1f} MB", log < 64 * MEGABYTE)
    found.say(f"event loop late by {late['p99']:.0f} ms (p99)", late["p99"] < scale.bound(50))
    found.say(
        f"records {'verified' if verified else 'broken'}{'; /ready said 503' if trouble else ''}", verified
    )
    return found


ROW = Row(
    "R8",
    "another process holds the database",
    "calls are kept or refused, none hangs; no effect without a record; well again in < 2 s; log < 64 MB",
    run,
)
