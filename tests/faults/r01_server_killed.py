"""R1: a server is killed in the middle of a call, again and again; others are called all the while.

One that the hub has started, and one over HTTP that stands for itself and is there again at once.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from benchmarks.processes import free_port
from tests.faults.agents import Agent, Others, opened, ready_within
from tests.faults.figures import Figures, Row, Scale, at, milliseconds
from tests.faults.places import SERVERS, WORKER, Start

__all__ = ["ROW"]

BACK_SECONDS = 20.0
GONE_SECONDS = 5.0


class _Far:
    """The server over HTTP: started anew on its port whenever it was killed."""

    def __init__(self, port: int) -> None:
        self._command = [sys.executable, str(SERVERS / "worker_http.py"), str(port)]
        self._port = port
        self.url = f"http://127.0.0.1:{port}/mcp"
        self._process = subprocess.Popen(self._command)

    async def again(self) -> None:
        await anyio.to_thread.run_sync(self._process.wait)
        self._process = subprocess.Popen(self._command)  # noqa: ASYNC220

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def _far() -> Iterator[_Far]:
    far = _Far(free_port())
    try:
        yield far
    finally:
        far.end()


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, others = Figures(), Others()
    worker = [*WORKER, str(folder)]
    with _far() as far:
        async with (
            start(folder, {"frail": worker, "good": worker, "far": far.url}) as place,
            opened(place, "me", "me") as (agent, other),
        ):
            async with others.calling(other, "good"):
                await _killed(found, agent, "frail", scale, None)
                await _killed(found, agent, "far", scale, far)
            running = await _processes(folder, 2)
    left = await _processes(folder, 0)
    found.say(f"others: {others.errors} errors in {len(others.times)} calls", others.errors == 0)
    found.say(f"processes of the two servers after the kills: {running}, after the end: {left}", not left)
    if running != 2 and place.hub is not None:
        found.broken.append(found.said[-1])
    return found


async def _killed(found: Figures, agent: Agent, server: str, scale: Scale, far: _Far | None) -> None:
    errors: list[float] = []
    back: list[float] = []
    wrong, word = 0, "over a pipe" if far is None else "over HTTP"
    for _ in range(scale(5, 200)):
        said = await agent.call(server, "die", seconds=10)
        errors.append(said.seconds)
        wrong += said.status <= 0 or said.good
        if far is not None:
            await far.again()
            while not far.listens():
                # Meanwhile it is asked for, and "back" counts from when it is there.
                await agent.call(server, "echo", text="x")
                await anyio.sleep(0.01)
        try:
            back.append(await ready_within(agent, server, BACK_SECONDS))
        except TimeoutError:
            found.say(
                f"{word}: the server was not back within {BACK_SECONDS:g} s after kill {len(errors)}", False
            )
            break
    found.say(
        f"{word}: {len(errors)} kills: error within {milliseconds(max(errors))} at most",
        max(errors) < scale.bound(1),
    )
    found.say(f"{wrong} calls without an answer", wrong == 0)
    if back:
        found.say(f"back within {milliseconds(at(back, 99))} (p99)", at(back, 99) < scale.bound(2))


async def _processes(folder: Path, expected: int) -> int:
    """How many run that were given the folder, once they are as many, or after a while."""

    def count() -> int:
        files = Path("/proc").glob("[0-9]*/cmdline")
        return sum(f"worker.py\0{folder}\0".encode() in _read(file) for file in files)

    with anyio.move_on_after(GONE_SECONDS):
        while count() != expected:  # noqa: ASYNC110
            await anyio.sleep(0.05)
    return count()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


ROW = Row(
    "R1",
    "a server is killed (SIGKILL) in a call",
    "an error within 1 s; the server back within 2 s; no error of any other server; no process left",
    run,
    others=True,
)
