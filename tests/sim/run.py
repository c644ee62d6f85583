"""One seed: the home that its hub begins with, its run from start to end, and what is left of it."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from hub.manifests import manifest
from hub.manifests.manifest import Manifests
from tests.sim.agents import GRANTED
from tests.sim.clock import Spinning, Stuck, Task
from tests.sim.course import go, go_well, until
from tests.sim.disk import in_simulation
from tests.sim.judgement import judge
from tests.sim.operations import Failing, Operations, Watcher
from tests.sim.servers import WORLD
from tests.sim.world import World

__all__ = ["Outcome", "Stage"]

Course = Callable[[World, Random, dict[str, str]], Coroutine[Any, Any, None]]

_UNTIL_SECONDS: Final = 6000.0
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
    failing: Failing | None = None
    kinds: tuple[str, ...] = ()
    """Of the operations of a course that was well until one of them failed."""

    @property
    def name(self) -> str:
        return f"seed {self.seed}" + (f", operation {self.failing}" if self.failing is not None else "")

    @property
    def again(self) -> str:
        """What to give `python -m tests.sim` for the same run."""
        return f"--seed {self.seed}" + (f" --fail {self.failing}" if self.failing is not None else "")


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
        self._watcher: Watcher | None = None

    def run(self, seed: int) -> Outcome:
        """One run, from start to end."""
        return self._run(seed, go, Operations())

    def run_well(self, seed: int, failing: Failing | None = None) -> Outcome:
        """One run in which nothing fails, or just that."""
        if self._watcher is None:
            self._watcher = Watcher(self._folder)
        operations = self._watcher.operations = Operations(failing)
        return replace(self._run(seed, go_well, operations), failing=failing, kinds=tuple(operations.kinds))

    def _run(self, seed: int, course: Course, operations: Operations) -> Outcome:
        Task.numbers = iter(range(1 << 60))  # type: ignore[assignment]
        random = Random(f"plan {seed}")
        world = self._world(seed, random.choice((4096, 16_384, 131_072)), operations)
        shutil.copytree(self._folder / "template", world.folder / "0")
        token = WORLD.set(world)
        gc.disable()
        with _listened(world), in_simulation(world.disk, self._read(world), world.half_bytes):
            try:
                world.time.run(course(world, random, self._tokens), 1000.0 + _UNTIL_SECONDS)
                operations.counts = False
                judge(world)
            except (Stuck, Spinning) as error:
                operations.counts = False
                world.wrong("I5", f"{type(error).__name__}: {error}")
            except Exception as error:
                operations.counts = False
                where = traceback.extract_tb(error.__traceback__)[-3:]
                world.wrong("simulation", f"{type(error).__name__}: {error} at {where}")
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

    def _world(self, seed: int, half_bytes: int, operations: Operations) -> World:
        folder = Path(tempfile.mkdtemp(prefix="sim-", dir=self._folder))
        return World(seed, folder, half_bytes, operations)

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
        world = self._world(-1, 4 * 1024 * 1024, Operations())
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
