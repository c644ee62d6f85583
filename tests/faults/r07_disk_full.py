"""R7: the disk on which the records are is full, and has room again."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import anyio

from tests.faults.agents import opened, state
from tests.faults.figures import Figures, Row, Scale, milliseconds
from tests.faults.places import WORKER, Start
from tests.homes import done

__all__ = ["ROW"]

DISK = "24m"


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found = Figures()
    disk = folder / "disk"
    disk.mkdir()
    if os.geteuid() or not await _mounted(disk):
        found.say("not tried here: needs to mount a small disk (root, Linux)")
        return found
    receipts = folder / "receipts"
    try:
        async with (
            start(disk, {"good": [*WORKER, str(folder)]}, settings={"record": "64KiB"}) as place,
            opened(place, "me") as (agent,),
        ):
            filler = disk / "filler"
            answered, refused, step = 0, None, 0
            assert (await agent.call("good", "note", text="first")).good
            _fill(filler)
            while refused is None and step < 3000:
                step += 1
                said = await agent.call("good", "note", 5, text=f"{step}-" + "x" * 20_000)
                if said.good:
                    answered += 1
                else:
                    refused = said
            before = _lines(receipts)
            for number in range(20):
                await agent.call("good", "note", 3, text=f"after-{number}")
            silent = _lines(receipts) == before
            status, about = (0, {}) if place.hub is None else await state(place)
            filler.unlink()
            began = time.perf_counter()
            with anyio.move_on_after(20):
                while not (await agent.call("good", "note", 5, text="again")).good:  # noqa: ASYNC110
                    await anyio.sleep(0.02)
            recovered = time.perf_counter() - began
            home = place.home
            recorded = place.hub is not None
        verified = recorded and done(home, "audit", "verify").code == 0
    finally:
        await anyio.run_process(["umount", "-l", str(disk)], check=False)
    then = "then refused" if refused is not None else "and after"
    found.say(f"{answered} calls answered until it was full, {then}", refused is not None)
    found.say(f"{'0' if silent else 'some'} calls reached the server without a record", silent)
    if recorded:
        found.say(f"/ready: {status}, {about['status']}", status == 503)
    found.say(f"back {milliseconds(recovered)} after there is room", recovered < (5 if scale.smoke else 1))
    if recorded:
        found.say(f"records {'verified' if verified else 'broken'}", verified)
    return found


async def _mounted(disk: Path) -> bool:
    try:
        made = await anyio.run_process(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)], check=False
        )
    except OSError:
        return False
    return made.returncode == 0


def _fill(file: Path) -> None:
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        for size in (65536, 1):
            with suppress(OSError):
                while filler.write(bytes(size)):
                    pass


def _lines(file: Path) -> int:
    return file.read_text().count("\n")


ROW = Row(
    "R7",
    "the disk with the records is full",
    "no call without its intent; /ready 503; back within 1 s of space",
    run,
    others=True,
)
