"""A server that misbehaves is its own trouble: it is marked, the others are as fast, the hub as small.

One real hub for all; beside each hostile server a good one is called all the while. Figures are printed;
what is asserted of them is what holds on a busy machine as well.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tests.commands import DESK
from tests.homes import Running, done, running, token, write
from tests.processes import forget_most_memory, memory_bytes
from tests.raw_agents import STAMP

pytestmark = pytest.mark.anyio

MISBEHAVING = str(Path(__file__).parent / "servers" / "misbehaving_stdio.py")
MODES = ("wrong_id", "twice", "late", "garbage", "endless", "storm", "torrent")
MEGABYTE = 1024**2
GROWTH_MAX = 32 * MEGABYTE
MESSAGE_MAX = 8 * MEGABYTE
SECONDS = 60
CALLS = 300
"""Of the good server, before and during."""


@dataclass
class Watch:
    """How a good server was while another one misbehaved."""

    before: list[float] = field(default_factory=list)
    during: list[float] = field(default_factory=list)
    grown: int = 0
    """How much larger the hub's memory was at most, in bytes."""
    kept: int = 0
    """How much larger it was after."""

    def report(self, mode: str) -> str:
        before, during = (
            [_percentile(times, percent) * 1e3 for percent in (50, 99)]
            for times in (self.before, self.during)
        )
        return (
            f"{mode:<9} p50 {before[0]:.2f} -> {during[0]:.2f} ms, "
            f"p99 {before[1]:.2f} -> {during[1]:.2f} ms (x{during[1] / before[1]:.1f}), "
            f"memory +{self.grown / MEGABYTE:.1f} MiB at most, +{self.kept / MEGABYTE:.1f} MiB after\n"
        )


def _percentile(times: list[float], percent: int) -> float:
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]


class Place:
    def __init__(self, hub: Running, home: Path, http: httpx.AsyncClient) -> None:
        self.hub = hub
        self.home = home
        self._http = http

    async def call(self, name: str, arguments: dict[str, Any] | None = None) -> Any:
        """The whole answer to a call."""
        params = {"name": name, "arguments": arguments or {}, "_meta": STAMP}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": name}
        answer = await self._http.post(self.hub.url, json=message, headers=headers)
        return answer.json()

    def show(self, server: str) -> Any:
        """What people see of a server."""
        return done(self.home, "servers", "show", server, "--json").json

    @asynccontextmanager
    async def watching(self, mode: str) -> AsyncIterator[Watch]:
        """Call the good server all through the block; what was found is complete after it."""
        watch = Watch()
        await self._measure(watch.before, CALLS)
        forget_most_memory(self.hub.pid)
        memory = memory_bytes(self.hub.pid)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._measure, watch.during, sys.maxsize)
            yield watch
            while len(watch.during) < CALLS:
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        watch.grown = memory_bytes(self.hub.pid, "VmHWM") - memory
        watch.kept = memory_bytes(self.hub.pid) - memory
        sys.stdout.write(watch.report(mode))
        assert watch.kept < GROWTH_MAX
        assert _percentile(watch.during, 50) < 3 * _percentile(watch.before, 50) + 0.02
        assert _percentile(watch.during, 99) < 0.5

    async def _measure(self, times: list[float], calls: int) -> None:
        for _ in range(calls):
            began = time.perf_counter()
            answer = await self.call("good__pid")
            times.append(time.perf_counter() - began)
            assert "result" in answer


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module: its hub lives as long."""
    return "asyncio"


@pytest.fixture(scope="module")
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    if not sys.platform.startswith("linux"):
        pytest.skip("reads the hub's memory from /proc, which only Linux has")
    home = tmp_path_factory.mktemp("hostile")
    write(home, "me", agent="me", may=["*"])
    write(home, "good", server="good", connect={"command": DESK}, start="eager")
    for mode in MODES:
        command, server = [sys.executable, MISBEHAVING, mode], mode.replace("_", "-")
        write(home, server, server=server, connect={"command": command}, era="legacy")
    limits = {"message": f"{MESSAGE_MAX // MEGABYTE}MiB"}
    write(home, "bounded", server="bounded", connect={"command": command}, era="legacy", limits=limits)
    with running(home) as hub:
        for name in ("good", "bounded", *MODES):
            hub.until(f"{name.replace('_', '-')}: (ready|failed)")
        headers = {
            "authorization": f"Bearer {token(home)}",
            "accept": "application/json, text/event-stream",
        }
        async with httpx.AsyncClient(headers=headers, timeout=SECONDS, trust_env=False) as http:
            yield Place(hub, home, http)


async def test_an_answer_with_a_wrong_id_reaches_nobody(place: Place) -> None:
    async with place.watching("wrong_id"):
        for _ in range(20):
            assert text(await place.call("wrong-id__act")) == "good"
    assert "belongs to no request" in marked(place, "wrong-id")


async def test_a_second_answer_reaches_nobody(place: Place) -> None:
    async with place.watching("twice"):
        for _ in range(20):
            assert text(await place.call("twice__act")) == "good"
    assert "belongs to no request" in marked(place, "twice")


async def test_an_answer_after_the_call_was_cancelled_reaches_nobody(place: Place) -> None:
    async with place.watching("late"):
        for _ in range(3):
            # The server answers nothing before it is cancelled.
            with anyio.move_on_after(0.3) as left:
                await place.call("late__act")
            assert left.cancelled_caught
        await until(lambda: "belongs to no request" in marked(place, "late"))
    assert place.show("late")["state"] == "ready"


async def test_a_server_that_prints_garbage_fails_its_own_call_and_is_marked(place: Place) -> None:
    async with place.watching("garbage"):
        assert "error" in await place.call("garbage__act")
    assert "no JSON-RPC" in marked(place, "garbage")


async def test_a_list_without_an_end_is_given_up(place: Place) -> None:
    async with place.watching("endless"):
        found = place.show("endless")
    assert found["state"] == "failed"
    assert "have no end" in found["note"]
    assert found["offers"] == []


async def test_a_storm_of_list_changes_is_heard_once_a_second(place: Place) -> None:
    async with place.watching("storm"):
        began = time.perf_counter()
        answer = await place.call("storm__act")
        seconds = time.perf_counter() - began
    listed = int(text(answer))
    sys.stdout.write(f"asked for its list {listed} times in {seconds:.1f} s of 10,000 changes a second\n")
    assert listed <= seconds + 3
    assert place.show("storm")["state"] == "ready"


@pytest.mark.parametrize(("server", "bound"), [("torrent", 64 * MEGABYTE), ("bounded", MESSAGE_MAX)])
async def test_a_message_without_an_end_costs_its_bound_in_memory_and_is_marked(
    place: Place, server: str, bound: int
) -> None:
    """The bound is `limits: {message: ...}`; what it costs is given back."""
    async with place.watching(server) as watch:
        assert "error" in await place.call(f"{server}__act")
    assert f"a line of more than {bound} bytes" in marked(place, server)
    assert watch.grown < bound + GROWTH_MAX


def text(answer: Any) -> str:
    said: str = answer["result"]["content"][0]["text"]
    return said


def marked(place: Place, server: str) -> str:
    """All that people are told of a server's trouble."""
    found = place.show(server)
    return json.dumps([found["note"], found["last_words"]])


async def until(holds: Callable[[], bool]) -> None:
    """Return once it holds: for what nobody tells of."""
    with anyio.fail_after(SECONDS):
        while not await anyio.to_thread.run_sync(partial(holds)):
            await anyio.lowlevel.checkpoint()
