"""One run: the hub's lives one after the other, its servers, its agents, and what goes wrong when."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final, cast

import anyio
from anyio._backends import _asyncio

from connectors.base import LEGACY_VERSIONS, MODERN_VERSIONS
from hub.app import App, open_app
from hub.errors import HubError
from hub.home import Home
from hub.server import Front, HttpApp, Wire
from hub.settings import Settings
from hub.store.connection import Synchronous
from tests.sim.clock import Env, Loop, Time
from tests.sim.disk import Disk, copied, rows_on_disk, torn
from tests.sim.network import Client
from tests.sim.operations import DISK, Operations
from tests.sim.servers import Receipt, Server

__all__ = ["Ack", "Life", "World"]

_UNFORESEEN: Final = ("unforeseen", "F1")
_PARAMS: Final = 8
"""The column of a row of calls that holds its params."""


@dataclass(frozen=True, slots=True)
class Ack:
    """What an agent was told of one request."""

    agent: str
    tool: str
    nonce: str
    key: str | None
    kind: str
    """`result`, `tool_error`, `error`, or `gone`."""
    said: str = ""
    """The answer, as text."""
    reason: str = ""
    """The hub's own word for its error."""


class World:
    def __init__(self, seed: int, folder: Path, half_bytes: int, operations: Operations) -> None:
        self.seed = seed
        self.random = Random(f"world {seed}")
        self.time = Time()
        self.folder = folder
        self.half_bytes = half_bytes
        self.trace: list[str] = []
        self.violations: list[str] = []
        self.receipts: list[Receipt] = []
        self.acks: list[Ack] = []
        self.skew = 0.0
        self.calm = False
        """Whether nothing goes wrong any more."""
        self.synchronous: Synchronous = "normal"
        self.variant = 0
        """Which of the manifests is written in the hub's folder."""
        self.operations = operations
        operations.listener = self._fails
        self.disk = Disk(self.time, Random(f"disk {seed}"), self.note, operations)
        self.chance_failed = False
        """Whether the system had no randomness for the hub once."""
        self.disk_was_bad = -1000.0
        """When the disk last failed."""
        self.servers = {
            "alpha": Server(self, "alpha", True, MODERN_VERSIONS[-1]),
            "beta": Server(self, "beta", True, LEGACY_VERSIONS[-1]),
            "gamma": Server(self, "gamma", False, MODERN_VERSIONS[-1]),
        }
        self.life: Life | None = None
        self.lives = 0
        self.graves: list[Life] = []

    # What happened.

    def note(self, text: str) -> None:
        # The folder is another one in each run.
        self.trace.append(f"{self.time.now - 1000:.6f} {text.replace(str(self.folder), '')}")

    def wrong(self, invariant: str, text: str) -> None:
        if self.chance_failed and invariant in _UNFORESEEN:
            # Linux always has some once it has started, so that the hub says no more than that of it.
            self.note(f"{invariant}: {text}")
            return
        self.violations.append(f"{invariant}: {text}")
        self.note(f"WRONG {invariant}: {text}")

    def _fails(self, kind: str, what: str) -> None:
        self.note(what)
        if kind in DISK:
            self.disk_was_bad = self.time.now
        self.chance_failed = kind == "random"

    def wall_off(self) -> float:
        """How far the hub's wall clock is off, which it reads now."""
        way = self.operations.next("clock")
        if way is not None:
            self.skew += 3600.0 if way == "ahead" else -3600.0
        return self.skew

    def digest(self) -> str:
        return hashlib.blake2b("\n".join(self.trace).encode(), digest_size=8).hexdigest()

    def counted(self) -> dict[str, int]:
        """How much happened, for whoever looks whether a run is worth its time."""
        kinds = [ack.kind for ack in self.acks]
        return {
            "lives": self.lives,
            "receipts": len(self.receipts),
            "calls": len(kinds),
            **{kind: kinds.count(kind) for kind in sorted(set(kinds))},
        }

    # Time and distance.

    def latency(self) -> float:
        return self.random.choice((0.0, 0.0002, 0.001, 0.003)) + self.random.random() * 1e-4

    def later(self, seconds: float, function: Callable[..., object], *arguments: Any) -> None:
        self.time.world.call_at(self.time.now + seconds, function, *arguments)

    def at(self, when: float, function: Callable[..., object], *arguments: Any) -> None:
        self.time.world.call_at(when, function, *arguments)

    def to_hub(self, loop: Loop, seconds: float, function: Callable[..., object], *arguments: Any) -> float:
        """In that life of the hub, if it still lives then. Returns when."""
        when = self.time.now + seconds
        loop.call_at(when, function, *arguments)
        return when

    def receive(self, server: str, tool: str, nonce: str) -> None:
        """A server has done it."""
        safe = True
        if tool != "look":
            assert self.life is not None or self.graves
            home = self.life.home if self.life is not None else self.graves[-1].home
            with self.operations.aside():
                rows = rows_on_disk(home.state, _PARAMS, nonce)
            safe = any(row[6] == f"{server}__{tool}" and row[11] != "refused" for row in rows)
        self.receipts.append(Receipt(self.time.now, server, tool, nonce, safe))
        self.note(f"{server} executes {tool} for {nonce}")

    # The hub's process.

    def begin(self) -> None:
        """Start the hub, where its last life left its folder."""
        if self.life is None:
            self.lives += 1
            home = self.folder / "0" if not self.graves else self.graves[-1].home.path
            self.life = Life(self, home)
            self.note(f"the hub starts ({self.lives})")
            self.life.start()

    def kill(self) -> None:
        """kill -9. What its folder holds this moment is what the next life finds."""
        life = self.life
        if life is None:
            return
        self.note("the hub is killed")
        home = self.folder / str(self.lives)
        with self.operations.aside():
            copied(life.home.path, home)
            torn(Home(home).state, self.random)
        self.bury(life)
        life.home = Home(home)

    def bury(self, life: Life) -> None:
        """It runs no more, however it ended."""
        self.time.drop(life.loop)
        self.disk.kill()
        self.life = None
        self.graves.append(life)
        for server in self.servers.values():
            server.links = [link for link in server.links if link.loop is not life.loop]
        for client in life.clients:
            client.arrives(None)

    async def keep_up(self) -> None:
        """As a supervisor does: start it again when it has ended."""
        while True:
            await asyncio.sleep(0.05 + self.random.random() * 0.2)
            if self.life is not None and self.life.main.done():
                self.bury(self.life)
            if self.life is None:
                await asyncio.sleep(self.random.choice((0.0, 0.1, 1.0)))
                self.begin()

    def dispose(self) -> None:
        """Let go of all lives; the caller collects what that leaves."""
        for life in (*self.graves, *([self.life] if self.life is not None else [])):
            for task in life.loop.open_tasks():
                task._log_destroy_pending = False
        for task in self.time.world.open_tasks():
            task._log_destroy_pending = False
            task.cancel()
        self.graves.clear()
        self.life = None
        self.operations.listener = None
        # Of tasks that were never ended, as those of a killed process: values that hold their own keys.
        _asyncio._task_states.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


class Life:
    """One process of the hub, from its start to its end."""

    def __init__(self, world: World, path: Path) -> None:
        self.world = world
        self.loop = world.time.loop()
        self.loop.set_exception_handler(self._unforeseen)
        self.home = Home(path)
        self.env = Env(world.time, f"life {world.seed} {world.lives}", world.operations, world.wall_off)
        self.clients: list[Client] = []
        self.main: asyncio.Task[None]
        self.app: App | None = None
        self._told: asyncio.Event | None = None
        self._stopping = False

    def start(self) -> None:
        self.main = self.loop.create_task(self._run())

    def stop(self) -> None:
        """SIGTERM."""
        if self._told is not None and not self._stopping:
            self._stopping = True
            self.world.note("the hub is told to end")
            self.loop.call_soon(self._told.set)

    def do(self, function: Callable[[App], Any]) -> None:
        """Something that a person tells the running hub."""

        async def done(app: App) -> None:
            try:
                await function(app)
            except HubError as error:
                self.world.note(f"a person is told: {type(error).__name__}")

        if self.app is not None and not self._stopping:
            self.loop.call_soon(lambda app: self.loop.create_task(done(app)), self.app)

    async def _run(self) -> None:
        """As `hub.serve` does, without its sockets, signals and the watching of files."""
        settings = Settings(grace=5.0, synchronous=self.world.synchronous)
        try:
            async with open_app(self.home, settings, self.env) as app:
                front = Front(
                    app.hub,
                    app.identities,
                    app.sessions,
                    ready=app.ready,
                    instructions=app.instructions,
                    capabilities=app.capabilities,
                )
                wire = Wire(HttpApp(front, settings), is_behind=app.store.crowded)
                self._told = asyncio.Event()
                async with AsyncExitStack() as stack:
                    tasks = await stack.enter_async_context(anyio.create_task_group())
                    tasks.start_soon(wire.serve, cast(Any, None))
                    self.app = app
                    await self._told.wait()
                    wire.turns.end()
                    front.close()
                    app.events.close()
                    with anyio.move_on_after(settings.grace):
                        await app.calm()
                        wire.stop()
                        await wire.ended.wait()
                        await app.calm()
                    wire.stop()
                    app.end_calls()
                    with anyio.move_on_after(1.0):
                        await wire.ended.wait()
                    tasks.cancel_scope.cancel()
        except HubError as error:
            self.world.note(f"the hub ends: {type(error).__name__}: {error}")
            if self.app is not None:
                self.world.wrong("life", f"it ended by itself: {error}")
            elif self.world.calm:
                self.world.wrong("start", f"it does not start though nothing is wrong: {error}")
        except Exception as error:
            logging.getLogger("hub").error("the hub ended in an unforeseen way", exc_info=error)
        else:
            self.world.note("the hub has ended")

    def _unforeseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if self.world.life is self:
            self.world.wrong("unforeseen", f"{context.get('message')}: {type(error).__name__}: {error}")
