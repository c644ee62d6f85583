"""Calls that begin when it is their time, whatever became of those before (an open loop).

`python -m tests.faults.flood`, with an order in JSON on its standard input: see `_flood`.

It shares the machine with what it measures, and is as thin as Python allows: a call is one `send`, one
`recv` and no parser (some 10 us of CPU; some 75,000 a second against something that does nothing). An answer
is taken to come in one piece; only its status is looked at, and whether it has what a good one has in it. A
connection has at most one call under way. Where none is free, a call is not sent, but counted: `unsent`.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tests.faults.figures import at
from tests.sources import ROOT

if TYPE_CHECKING:
    from anyio.abc import Process

__all__ = ["AS_FAST_AS_ANSWERED", "Flood", "Flooded", "flooding"]

AS_FAST_AS_ANSWERED = 1e9
"""As a rate: a closed loop, each connection calls again once it is answered."""

STEP_SECONDS = 0.001
LAST_SECONDS = 10.0
"""How long the last answers may take."""
BEGUN = b"begun\n"
_READ_BYTES = 65536


@dataclass(slots=True)
class Flooded:
    """What came of a flood. Times in seconds."""

    seconds: float
    """Until the last answer, where that took longer than the sending."""
    sent: int = 0
    unsent: int = 0
    good: int = 0
    good_p99: float = 0.0
    shed: int = 0
    """Answered below 500 and not well, and told when to come again."""
    shed_p50: float = 0.0
    shed_p99: float = 0.0
    other: Mapping[str, int] = field(default_factory=dict)
    """All further answers, by status; `cut`: the connection broke; `none`: no answer came."""


class Flood:
    """One that has begun."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def done(self) -> Flooded:
        """What came of it, once it is over."""
        assert self._process.stdout is not None
        said = b"".join([part async for part in self._process.stdout])
        return Flooded(**json.loads(said))


@asynccontextmanager
async def flooding(
    port: int, request: bytes, *, connections: int, seconds: float, rate: float = AS_FAST_AS_ANSWERED
) -> AsyncIterator[Flood]:
    """Send so many calls a second for so long. It has begun when the block is entered, and ends with it."""
    import anyio

    order = {
        "port": port,
        "connections": connections,
        "rate": rate,
        "seconds": seconds,
        "request": request.decode(),
    }
    process = await anyio.open_process(
        [sys.executable, "-m", "tests.faults.flood"], stdin=subprocess.PIPE, stderr=None, cwd=ROOT
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        with anyio.fail_after(30):
            await process.stdin.send(json.dumps(order).encode())
            await process.stdin.aclose()
            assert await process.stdout.receive(len(BEGUN)) == BEGUN
        with anyio.fail_after(seconds + LAST_SECONDS + 30):
            yield Flood(process)
    finally:
        if process.returncode is None:
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


def _flood(port: int, connections: int, rate: float, seconds: float, request: str) -> Flooded:
    sent = request.encode()
    clock = time.perf_counter
    lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    by_number = {line.fileno(): line for line in lines}
    ready = select.epoll()
    for number, line in by_number.items():
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready.register(number, select.EPOLLIN)
    free = deque(by_number)
    under_way: dict[int, float] = {}
    good, shed, other = list[float](), list[float](), dict[str, int]()
    begun = due = unsent = 0
    sys.stdout.write(BEGUN.decode())
    sys.stdout.flush()
    began = clock()
    while True:
        passed = clock() - began
        if passed < seconds:
            due = int(passed * rate)
            while begun < due and free:
                number = free.popleft()
                under_way[number] = clock()
                by_number[number].send(sent)
                begun += 1
                if not begun % 64:
                    break  # what has been answered meanwhile is looked at first
            else:
                if begun < due and rate < AS_FAST_AS_ANSWERED:
                    unsent += due - begun
                begun = due
        elif under_way and passed < seconds + LAST_SECONDS:
            due = begun
        else:
            break
        for number, _ in ready.poll(0 if begun < due and free else STEP_SECONDS):
            try:
                data = by_number[number].recv(_READ_BYTES)
            except OSError:
                data = b""
            since = under_way.pop(number, None)
            if not data:
                ready.unregister(number)
                if since is None:
                    free.remove(number)
                other["cut"] = other.get("cut", 0) + 1
            elif since is not None:
                took, status = clock() - since, data[9:12]
                free.append(number)
                if b'"content"' in data:
                    good.append(took)
                elif status < b"500" and b"retry" in data:
                    shed.append(took)
                else:
                    other[status.decode()] = other.get(status.decode(), 0) + 1
    took = clock() - began
    if under_way:
        other["none"] = len(under_way)
    return Flooded(
        took,
        len(good) + len(shed) + sum(other.values()),
        unsent,
        len(good),
        at(good, 99),
        len(shed),
        at(shed, 50),
        at(shed, 99),
        other,
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_flood(**json.load(sys.stdin)))))
