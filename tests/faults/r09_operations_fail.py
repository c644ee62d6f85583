"""R9: operations of the system fail under the hub: files, writes, flushes, processes, memory.

In simulated time the n-th of all that a course needs fails, for each n. Under a hub as it runs, they fail at
random: that there are no more files is made with the limit of the running process (Linux), all else needs
libfiu (`apt-get install fiu-utils`): so large a share of the calls of the C library fails as it is told.
"""

from __future__ import annotations

import errno
import os
import resource
from contextlib import suppress
from pathlib import Path

import anyio

from tests.faults.agents import Agent, opened
from tests.faults.figures import Figures, Row, Scale, at, milliseconds
from tests.faults.noting import Noting, judged
from tests.faults.places import WORKER, Place, Start, serving
from tests.faults.simulated import simulated

__all__ = ["ROW"]

FIU = Path("/usr/lib/fiu")
OPERATIONS = {
    "posix/io/rw/pwrite": errno.ENOSPC,
    "posix/io/rw/pread": errno.EIO,
    "posix/io/sync/fsync": errno.EIO,
    "posix/io/sync/fdatasync": errno.EIO,
    "posix/io/dir_and_meta/ftruncate": errno.EIO,
    "posix/io/net/recv": errno.ECONNRESET,
    "posix/proc/fork": errno.EAGAIN,
    "posix/mm/mmap": errno.ENOMEM,
}
"""By libfiu's name for it: how it fails. Not `open`, `read` and `write`: by these it hears itself."""
COURSES = (0, 2)
"""Seeds: of one in which rows are safe in the journal, and of one in which each call waits for its commit."""
MOST = 40
"""Of the operations of a course in the smoke tier, spread over it."""


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, noting, again = Figures(), Noting(), list[float]()
    await _each_once(found, scale)
    many, fifo = FIU.exists(), folder / "fiu"
    servers = {"good": [*WORKER, str(folder)], "frail": WORKER}
    async with start(folder, servers) as first:
        home, tokens = first.home, first.tokens
    libraries = " ".join(str(FIU / f"fiu_{name}_preload.so") for name in ("run", "posix"))
    more = {"LD_PRELOAD": libraries, "FIU_CTRL_FIFO": str(fifo), "FIU_ENABLE": ""} if many else {}
    wrong: list[str] = []

    async def over(what: str) -> None:
        try:
            again.append(await noting.well_again(place, 20))
        except TimeoutError:
            wrong.append(f"not well within 20 s after {what}")

    async with serving(home, tokens, **more) as place:
        await noting.well_again(place, 20)
        async with noting.going_on(place):
            for left in range(scale(4, 16)):
                with _Files(place, left):
                    await _stirred(place, 0.3)
                await over(f"{left} files were left")
            if many:
                for _ in range(scale(1, 4)):
                    for operation, error in OPERATIONS.items():
                        for share in (0.05, 0.5):
                            fault = f"name={operation},probability={share},failinfo={int(error)}"
                            await _told(fifo, place.pid, f"enable_random {fault}")
                            await _stirred(place, scale(3, 10) / 10)
                            await _told(fifo, place.pid, f"disable name={operation}")
                            await over(f"{operation} failed")
        alive = place.hub is not None and place.hub.process.poll() is None
    tried = "no file left" + (f", {len(OPERATIONS)} kinds of operations failed at random" if many else "")
    if not many:
        found.say("the rest was not tried here: needs libfiu")
    found.say(f"{tried}: {len(again)} times, the hub {'lives' if alive else 'died'}", alive)
    found.say(f"served again within {milliseconds(at(again, 99))} (p99)", at(again, 99) < scale.bound(2))
    for sentence in wrong:
        found.say(sentence, False)
    found.say(
        f"{noting.refused} calls refused, {noting.broken} connections cut, {noting.silent} without an answer",
        not noting.silent,
    )
    judged(found, home, folder / "receipts", noting.answered)
    return found


async def _each_once(found: Figures, scale: Scale) -> None:
    """Each operation of a course in simulated time fails once, in each way that it may, and no other."""
    for seed in COURSES:
        most = ["--most", str(MOST)] if scale.smoke else []
        ran = await simulated("--operations", "--seed", str(seed), *most)
        count, runs = (
            ran.found(pattern) for pattern in (r"^(\d+) operations in", r"then with one, (\d+) times")
        )
        found.say(
            f"course {seed} in simulated time: {count} operations, one fails in each of {runs} runs: "
            f"{ran.wrong}",
            ran.held,
        )


class _Files:
    """So many more files may be opened by a hub, while the block runs."""

    def __init__(self, place: Place, left: int) -> None:
        self._pid = place.pid
        self._most = max(int(name) for name in os.listdir(f"/proc/{place.pid}/fd")) + 1 + left

    def __enter__(self) -> None:
        self._before = resource.prlimit(self._pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, (self._most, self._before[1]))

    def __exit__(self, *_: object) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, self._before)


async def _stirred(place: Place, seconds: float) -> None:
    """So long: new connections, and a server that dies and has to be started again."""
    with anyio.move_on_after(seconds):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(_connects, place)


async def _connects(place: Place) -> None:
    while True:
        with suppress(OSError):
            async with opened(place, "me") as (agent,):
                await _dies(agent)
        await anyio.sleep(0.02)


async def _dies(agent: Agent) -> None:
    await agent.call("frail", "die", 5)
    await agent.call("frail", "echo", 5, text="x")


async def _told(fifo: Path, pid: int, command: str) -> None:
    """Say something to libfiu within that process."""

    def say() -> str:
        with open(f"{fifo}-{pid}.in", "w") as into:
            into.write(command)
        return Path(f"{fifo}-{pid}.out").read_text().strip()

    with anyio.fail_after(5):
        said = await anyio.to_thread.run_sync(say, abandon_on_cancel=True)
    assert said == "0", f"{command}: {said}"


ROW = Row(
    "R9",
    "the system fails: no more files, processes, threads, memory; writes, reads and flushes that fail; each "
    "operation of a simulated course in turn",
    "the hub lives; no effect without its intent or twice; what was answered is recorded; every call has an "
    "answer or a cut connection; well again in < 2 s; whichever operation it is, I1 to I7 of the plan hold",
    run,
)
