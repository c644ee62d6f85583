"""Calls that begin when it is their time, whatever became of those before (an open loop).

`python -m tests.faults.flood`, with an order in JSON on its standard input: see `_flood`.

It shares the machine with what it measures, and is as thin as Python allows: a call is one `send`, one
`recv` and no parser (some 10 us of CPU; some 75,000 a second against something that does nothing). Of an
answer only its status is looked at, its length, and whether its first piece has what a good one has in it. A
connection has at most one call under way. Where none is free, another one is made; where there are as many as
there may be, a call is not sent, but counted: `unsent`.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from time import perf_counter as clock
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
    connections: int = 0
    """How many it took, in the end."""
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
    port: int,
    request: bytes,
    *,
    connections: int,
    connections_max: int = 0,
    seconds: float,
    rate: float = AS_FAST_AS_ANSWERED,
) -> AsyncIterator[Flood]:
    """Send so many calls a second for so long. It has begun when the block is entered, and ends with it.

    Args:
        connections: How many there are when it begins.
        connections_max: How many there may be in the end, if that is more. Each is an open file.
    """
    import anyio

    order = {
        "port": port,
        "connections": connections,
        "connections_max": max(connections, connections_max),
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


class _Lines:
    """The connections: one call at a time on each."""

    def __init__(self, port: int, connections: int, connections_max: int, request: bytes) -> None:
        self._to = ("127.0.0.1", port)
        self._most = connections_max
        self._request = request
        self._ready = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._free: deque[int] = deque()
        self._since: dict[int, float] = {}
        """By what is under way: when it began."""
        self._left: dict[int, int] = {}
        """By what has begun to be answered: how many bytes are to come."""
        self.good = list[float]()
        self.shed = list[float]()
        self.other: dict[str, int] = {}
        for _ in range(connections):
            line = socket.create_connection(self._to)
            line.setblocking(False)
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ready.register(line.fileno(), select.EPOLLIN)
            self._open[line.fileno()] = line
            self._free.append(line.fileno())

    @property
    def connections(self) -> int:
        return len(self._open)

    @property
    def under_way(self) -> int:
        return len(self._since)

    @property
    def has_room(self) -> bool:
        return bool(self._free) or len(self._open) < self._most

    def call(self) -> None:
        """Begin one, on a new connection where all others wait."""
        if self._free:
            number = self._free.popleft()
            self._since[number] = clock()
            self._open[number].send(self._request)
            return
        line = socket.socket()
        line.setblocking(False)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._since[line.fileno()] = clock()
        self._open[line.fileno()] = line
        line.connect_ex(self._to)
        self._ready.register(line.fileno(), select.EPOLLOUT)

    def look(self, seconds: float) -> None:
        """Take what has come until then."""
        for number, event in self._ready.poll(seconds):
            line = self._open[number]
            if event & select.EPOLLOUT and not event & (select.EPOLLERR | select.EPOLLHUP):
                line.send(self._request)
                self._ready.modify(number, select.EPOLLIN)
                continue
            try:
                data = line.recv(_READ_BYTES)
            except OSError:
                data = b""
            if not data:
                self._lost(number)
            elif number in self._since:
                self._heard(number, data)

    def _lost(self, number: int) -> None:
        self._ready.unregister(number)
        self._open.pop(number).close()
        self._left.pop(number, None)
        if self._since.pop(number, None) is None:
            self._free.remove(number)
        self._count("cut")

    def _heard(self, number: int, data: bytes) -> None:
        left = self._left.pop(number, None)
        if left is None:
            head = data.find(b"\r\n\r\n") + 4
            length = data.find(b"content-length: ", 0, head) + 16
            left = head + int(data[length : data.find(b"\r", length)])
            status = data[9:12]
            if b'"content"' in data:
                kind = self.good
            elif status < b"500" and b"retry" in data:
                kind = self.shed
            else:
                self._count(status.decode())
                kind = []
            kind.append(clock() - self._since[number])
        left -= len(data)
        if left > 0:
            self._left[number] = left
        else:
            del self._since[number]
            self._free.append(number)

    def _count(self, word: str) -> None:
        self.other[word] = self.other.get(word, 0) + 1


def _flood(
    port: int, connections: int, connections_max: int, rate: float, seconds: float, request: str
) -> Flooded:
    lines = _Lines(port, connections, connections_max, request.encode())
    begun = due = unsent = 0
    sys.stdout.write(BEGUN.decode())
    sys.stdout.flush()
    began = clock()
    while True:
        passed = clock() - began
        if passed < seconds:
            due = int(passed * rate)
            while begun < due and lines.has_room:
                lines.call()
                begun += 1
                if not begun % 64:
                    break  # what has been answered meanwhile is looked at first
            else:
                if begun < due and rate < AS_FAST_AS_ANSWERED:
                    unsent += due - begun
                begun = due
        elif lines.under_way and passed < seconds + LAST_SECONDS:
            due = begun
        else:
            break
        lines.look(0 if begun < due and lines.has_room else STEP_SECONDS)
    took, good, shed, other = clock() - began, lines.good, lines.shed, lines.other
    if lines.under_way:
        other["none"] = lines.under_way
    return Flooded(
        seconds=took,
        sent=len(good) + len(shed) + sum(other.values()),
        unsent=unsent,
        connections=lines.connections,
        good=len(good),
        good_p99=at(good, 99),
        shed=len(shed),
        shed_p50=at(shed, 50),
        shed_p99=at(shed, 99),
        other=other,
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_flood(**json.load(sys.stdin)))))
