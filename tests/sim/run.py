"""One seed: what it plans, its run, and what must hold after it."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import shutil
import sqlite3
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from hub import manifest
from hub.audit_chain import verify
from hub.audit_sources import DatabaseSource
from hub.manifest import Manifests
from hub.route import ROUTE
from tests.sim.agents import GRANTED, Agent
from tests.sim.clock import Spinning, Stuck, Task
from tests.sim.disk import in_simulation
from tests.sim.servers import NONCE, WORLD, Moods
from tests.sim.world import World

__all__ = ["Outcome", "Stage"]

_UNTIL_SECONDS: Final = 6000.0
_CALM_SECONDS: Final = 900.0
_WAKES_MAX: Final = 30
"""Turns of the event loop in a second in which nobody asks for anything: ten of them look at deadlines."""
_SERVERS: Final[dict[str, dict[str, Any]]] = {
    "alpha": {"connect": {"simulated": "alpha"}},
    "beta": {"connect": {"simulated": "beta"}, "start": "eager"},
    "gamma": {"connect": {"fleeting": "gamma"}, "retry": {"attempts": 3, "wait": "100ms", "most": "1s"}},
}
_STAND_INS: Final = {"alpha": "beta__look", "beta": "gamma__look"}
"""What is asked instead of `look` where a server does not answer. Who may use one may not use the other."""
_TOOLS: Final[dict[str, Any]] = {
    "override": {
        "look": {"annotations": {"readOnlyHint": True}},
        "put": {"annotations": {"idempotentHint": True}},
    }
}


@dataclass(frozen=True, slots=True)
class Outcome:
    seed: int
    violations: tuple[str, ...]
    digest: str
    trace: tuple[str, ...]
    counts: Counter[str]
    seconds: float
    """Of simulated time."""


class Stage:
    """What runs have in common: the folder that each begins with, and the manifests, read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._add_kinds()
        self._manifests = [self._written(variant) for variant in range(2)]
        self._tokens = self._prepare()
        gc.collect()
        gc.freeze()
        self._files = _files()

    def run(self, seed: int) -> Outcome:
        """One run, from start to end."""
        Task.numbers = iter(range(1 << 60))  # type: ignore[assignment]
        random = Random(f"plan {seed}")
        world = self._world(seed, random.choice((4096, 16_384, 131_072)))
        shutil.copytree(self._folder / "template", world.folder / "0")
        token = WORLD.set(world)
        gc.disable()
        with _listened(world), in_simulation(world.disk, self._read(world), world.half_bytes):
            try:
                world.time.run(_run(world, random, self._tokens), 1000.0 + _UNTIL_SECONDS)
                self._check(world)
            except (Stuck, Spinning) as error:
                world.wrong("I5", f"{type(error).__name__}: {error}")
            seconds = world.time.now - 1000.0
            counts = Counter(world.counted())
            outcome = Outcome(
                seed, tuple(world.violations), world.digest(), tuple(world.trace), counts, seconds
            )
            world.disk.kill()
        gc.enable()
        with _silently():
            world.dispose()
            WORLD.reset(token)
            del world
            for _ in range(3):  # what is ended in the first may keep others
                gc.collect()
        left = _files()
        if left > self._files:
            wrong = f"I7: descriptors are still open: {sorted((left - self._files).elements())}"
            outcome = replace(outcome, violations=(*outcome.violations, wrong))
            self._files = left
        return outcome

    def _world(self, seed: int, half_bytes: int) -> World:
        return World(seed, Path(tempfile.mkdtemp(prefix="sim-", dir=self._folder)), half_bytes)

    def _read(self, world: World) -> Any:
        return lambda: self._manifests[world.variant]

    def _add_kinds(self) -> None:
        """As an installed package adds kinds of connectors."""
        package = self._folder / "simulated-1.dist-info"
        package.mkdir()
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: simulated\nVersion: 1\n")
        kinds = {"simulated": "tests.sim.servers:Simulated", "fleeting": "tests.sim.servers:Fleeting"}
        lines = "".join(f"{name} = {where}\n" for name, where in kinds.items())
        (package / "entry_points.txt").write_text(f"[mcp_tool_hub.connectors]\n{lines}")
        sys.path.append(str(self._folder))

    def _written(self, variant: int) -> Manifests:
        folder = self._folder / f"manifests-{variant}"
        folder.mkdir()
        for name, written in _SERVERS.items():
            limits = {"connect": "8s", "call": "10s", "idle": "5s" if name == "beta" else "20s"}
            text: dict[str, Any] = {"server": name, **written, "limits": limits, "tools": _TOOLS}
            if variant and name != "gamma":
                text["retry"] = 2
            if variant and name in _STAND_INS:
                override = {**_TOOLS["override"]}
                override["look"] = {**override["look"], "fallback": [_STAND_INS[name]]}
                text["tools"] = {"override": override}
            (folder / f"{name}.yaml").write_text(json.dumps(text))
        for agent, tools in GRANTED.items():
            text = {"agent": agent, "may": list(tools)}
            (folder / f"{agent}.yaml").write_text(json.dumps(text))
        manifests = manifest.load(folder)
        assert not manifests.problems, manifests.problems
        return manifests

    def _prepare(self) -> dict[str, str]:
        """A hub's folder with the tokens of its agents; its first run makes it."""
        world = self._world(-1, 4 * 1024 * 1024)
        world.calm = True
        token = WORLD.set(world)
        tokens: dict[str, str] = {}

        async def prepare() -> None:
            world.begin()
            life = world.life
            assert life is not None
            await until(lambda: life.app is not None)

            async def issue(app: Any) -> None:
                for name in GRANTED:
                    _, tokens[name] = await app.identities.issue(name)

            life.do(issue)
            await until(lambda: len(tokens) == len(GRANTED))
            life.stop()
            await until(life.main.done)
            life.main.result()

        with in_simulation(world.disk, self._read(world), world.half_bytes):
            world.time.run(prepare(), 2000.0)
        ignored = shutil.ignore_patterns("lock", "logs", "*.journal", "*-shm")
        shutil.copytree(world.folder / "0", self._folder / "template", ignore=ignored)
        world.dispose()
        WORLD.reset(token)
        return tokens

    # What must hold.

    def _check(self, world: World) -> None:
        assert world.graves
        home = world.graves[-1].home
        connection = sqlite3.connect(home.database)
        try:
            said = connection.execute("PRAGMA integrity_check").fetchone()[0]
            if said != "ok":
                world.wrong("store", f"the database is damaged: {said}")
            report = verify(DatabaseSource(connection))
            if report.broken is not None:
                world.wrong("audit", f"the chain does not verify: {report.broken}")
            columns = "id, agent, server, tool, params, state, kind, reason, result, attempts"
            rows = connection.execute(f"SELECT {columns} FROM calls ORDER BY id").fetchall()
        finally:
            connection.close()
        _judge(world, [_Row(*row) for row in rows])


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    agent: str
    server: str | None
    tool: str
    params: str
    state: str
    kind: str | None
    reason: str | None
    result: str | None
    attempts: int

    @property
    def nonce(self) -> str:
        arguments = json.loads(self.params).get("arguments") or {}
        return str(arguments.get(NONCE, ""))


def _judge(world: World, rows: list[_Row]) -> None:
    by_nonce: dict[str, list[_Row]] = {}
    for row in rows:
        by_nonce.setdefault(row.nonce, []).append(row)
        if row.state == "intended":
            world.wrong("I3", f"call {row.id} ({row.nonce}) is still 'intended' after an orderly end")
    times = Counter((receipt.nonce, receipt.tool) for receipt in world.receipts)
    for receipt in world.receipts:
        mine = by_nonce.get(receipt.nonce, [])
        called = f"{receipt.server}__{receipt.tool}"
        if not receipt.safe:
            world.wrong("I1", f"{called} was done for {receipt.nonce} before its intent was safe")
        agent = receipt.nonce.split("-")[1]
        if called not in GRANTED[agent]:
            world.wrong("I2", f"{called} was done for {agent}, who may not use it")
        if receipt.tool == "look":
            continue
        if not any(row.tool == called and row.state != "refused" for row in mine):
            world.wrong("I1", f"{called} was done for {receipt.nonce}, and its row says: {_said(mine)}")
        # What a manifest calls idempotent may be made again, where a manifest says so.
        if times[receipt.nonce, receipt.tool] > 1 and receipt.tool != "put":
            world.wrong(
                "I4", f"{called} was done {times[receipt.nonce, receipt.tool]} times for {receipt.nonce}"
            )
        honest = [row for row in mine if row.state in ("done", "failed", "unknown")]
        if not any(row.kind != "transport" or row.state == "unknown" for row in honest):
            world.wrong("honesty", f"{called} was done for {receipt.nonce}, and its row says: {_said(mine)}")
    first: dict[str, str] = {}
    for ack in world.acks:
        _judge_ack(world, ack, by_nonce.get(ack.nonce, []))
        if ack.key is not None and ack.kind == "result":
            content = json.loads(ack.said)["content"]
            if first.setdefault(ack.key, content) != content:
                world.wrong("I4", f"{ack.key} was answered in two ways: {first[ack.key]} and {content}")


def _said(rows: list[_Row]) -> str:
    return ", ".join(f"{row.tool} {row.state} {row.kind} {row.reason}" for row in rows) or "there is none"


def _judge_ack(world: World, ack: Any, rows: list[_Row]) -> None:
    if ack.tool not in GRANTED[ack.agent] and ack.kind in ("result", "tool_error"):
        world.wrong("I2", f"{ack.agent} got an answer of {ack.tool}: {ack.said[:100]}")
    wanted = {"result": "done", "tool_error": "failed"}.get(ack.kind)
    if wanted is None or (ack.kind == "tool_error" and ack.nonce not in ack.said):
        return
    if ack.nonce not in ack.said:
        world.wrong("I6", f"the answer to {ack.nonce} is another's: {ack.said[:100]}")
    stands_in = ROUTE in ack.said
    outcomes = [row for row in rows if (row.tool == ack.tool) != stands_in and row.state == wanted]
    if ack.kind == "tool_error":
        outcomes = [row for row in outcomes if row.kind == "tool_error"]
    if len(outcomes) != 1 and (ack.key is None or not outcomes):
        world.wrong("I3", f"{ack.nonce} was answered with a {ack.kind}; its rows say: {_said(rows)}")


async def until(condition: Callable[[], bool]) -> None:
    """Simulated time costs nothing."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def _run(world: World, random: Random, tokens: dict[str, str]) -> None:
    rate = random.choice((0.0, 0.02, 0.05, 0.15))
    for server in world.servers.values():
        names = (
            "refuses",
            "unsent",
            "dies_before",
            "dies_after",
            "hangs",
            "garbage",
            "fails",
            "slow",
            "changes",
        )
        server.moods = Moods(**{name: random.choice((0.0, rate, rate)) for name in names})
    world.variant = random.randrange(2)
    world.synchronous = random.choice(("normal", "normal", "normal", "full"))
    world.begin()
    keeper = world.time.world.create_task(world.keep_up())
    agents = [Agent(world, name, tokens[name]) for name in GRANTED]
    lines = [
        world.time.world.create_task(agent.live(line, random.randrange(3, 10)))
        for agent in agents
        for line in range(2)
    ]
    trouble = world.time.world.create_task(_trouble(world, random))
    for line in lines:
        await line
    await trouble
    await _calm(world, agents)
    keeper.cancel()
    await _quiet(world)
    life = world.life
    assert life is not None
    life.stop()
    await until(life.main.done)
    await asyncio.sleep(1)
    left = [task for task in life.loop.open_tasks() if not task.done()]
    if left:
        world.wrong("I7", f"tasks are left after the hub's end: {[str(task)[:200] for task in left[:5]]}")
    links = [link for server in world.servers.values() for link in server.links]
    if links or life.loop.listeners:
        world.wrong("I7", f"{len(links)} links are left after the hub's end")
    world.bury(life)


async def _trouble(world: World, random: Random) -> None:
    """What goes wrong beside the servers: the process, the disk, the clock, the network, and people."""
    for _ in range(random.randrange(0, 9)):
        await asyncio.sleep(random.choice((0.01, 0.3, 2.0, 5.0)) * random.random())
        what = random.choice(
            ("kill", "kill", "stop", "full", "locked", "flaky", "clock", "reload", "die", "cut", "restart")
        )
        if what == "kill":
            world.kill()
        elif what == "stop" and world.life is not None:
            world.life.stop()
        elif what in ("full", "locked", "flaky"):
            world.note(f"the disk is {what}")
            world.disk_was_bad = world.time.now + 1e6
            setattr(world.disk, what, 0.3 if what == "flaky" else True)
            await asyncio.sleep(random.choice((0.05, 1.0, 4.0)))
            world.disk.heal()
            world.disk_was_bad = world.time.now
            world.note("the disk is well")
        elif what == "clock":
            # Less than the day for which keys of calls count, by the wall clock.
            jump = random.choice((-40_000.0, -3600.0, -0.5, 0.5, 3600.0, 40_000.0))
            world.skew = max(-40_000.0, min(40_000.0, world.skew + jump))
            world.note(f"the clock is off by {world.skew:g} s")
        elif what == "reload" and world.life is not None:
            world.variant = 1 - world.variant
            world.note("the manifests change")
            world.life.do(lambda app: app.reload())
        elif what == "die":
            random.choice(list(world.servers.values())).die("died")
        elif what == "restart" and world.life is not None:
            name = random.choice(list(world.servers))
            world.note(f"a person restarts {name}")
            world.life.do(lambda app, name=name: app.fleet.upstreams[name].restart())  # type: ignore[misc]
        elif what == "cut" and world.life is not None:
            world.note("the network is cut")
            for client in world.life.clients:
                client.close()


async def _calm(world: World, agents: list[Agent]) -> None:
    """Nothing goes wrong any more: all that is granted has to work again, within a while."""
    world.note("calm")
    world.calm = True
    world.disk.heal()
    for server in world.servers.values():
        server.moods = Moods()
    await until(lambda: world.life is not None and world.life.app is not None)
    assert world.life is not None
    # What was said to be of no use to try again, a person has mended.
    for name in world.servers:
        world.life.do(lambda app, name=name: app.fleet.upstreams[name].check())  # type: ignore[misc]
    began = world.time.now
    number = 0
    for agent in agents:
        for tool in GRANTED[agent.name]:
            if tool.endswith("__extra"):
                continue
            while True:
                number += 1
                client = await agent._connected()
                ack = await agent.call(client, tool, f"n-{agent.name}-99-{number}.", None)
                client.close()
                if ack.kind == "result":
                    break
                if world.time.now - began > _CALM_SECONDS:
                    world.wrong(
                        "recovery", f"{tool} does not work again: {ack.kind} {ack.reason} {ack.said[:200]}"
                    )
                    break
                await asyncio.sleep(5)


async def _quiet(world: World) -> None:
    """Nobody asks for anything: a hub that waits does next to nothing."""
    await asyncio.sleep(30)
    before, began = world.time.steps, world.time.now
    await asyncio.sleep(10)
    often = (world.time.steps - before) / (world.time.now - began)
    if often > _WAKES_MAX:
        world.wrong("quiet", f"it wakes {often:.0f} times a second while nobody asks for anything")


def _files() -> Counter[str]:
    """What this process has open, by name."""
    found: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        try:
            found[Path(os.readlink(f"/proc/self/fd/{number}")).name] += 1
        except OSError:
            pass
    return found


class _Ear(logging.Handler):
    """What the hub logs with a traceback, nobody foresaw."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        world = self._world
        strand = world.time.strand
        if strand is not None and strand.killed:
            return
        if record.exc_info is not None and record.exc_info[1] is not None:
            error = record.exc_info[1]
            where = traceback.extract_tb(error.__traceback__)[-3:]
            world.wrong("unforeseen", f"{record.getMessage()}: {type(error).__name__}: {error} at {where}")
        elif record.levelno >= logging.ERROR:
            world.note(f"logged: {record.getMessage()[:100]}")


@contextmanager
def _listened(world: World) -> Iterator[None]:
    ear, root = _Ear(world), logging.getLogger()
    before = root.handlers[:], root.level
    root.handlers[:] = [ear]
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:], level = before
        root.setLevel(level)


@contextmanager
def _silently() -> Iterator[None]:
    """Coroutines of killed hubs end in no good order."""
    before, sys.unraisablehook = sys.unraisablehook, lambda _: None
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        sys.unraisablehook = before
        logging.disable(logging.NOTSET)
