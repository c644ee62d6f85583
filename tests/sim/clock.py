"""One virtual clock for event loops and threads of one process, which take turns: nothing runs by itself.

The hub's event loop and the world's (agents, servers, network) are two, so that a hub can be killed as a
process is: its loop is never run again, and none of its `finally` blocks. What the hub does in threads runs
in strands: threads of which at most one runs at any time, and only while everything else waits for it.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import threading
from collections.abc import Callable, Coroutine
from contextvars import Context
from itertools import count
from random import Random
from typing import Any, Final

from tests.sim.operations import Operations

__all__ = ["EPOCH", "Env", "Killed", "Loop", "Spinning", "Strand", "Stuck", "Task", "Time", "numbered"]

EPOCH: Final = 1_800_000_000.0
_STEPS_AT_ONE_MOMENT_MAX: Final = 20_000
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"


class Stuck(Exception):
    """Somebody waits, and nothing is left that could ever happen."""


class Spinning(Exception):
    """Something runs again and again, and no time passes."""


class Killed(BaseException):
    """Ends the threads of a killed hub."""


class Task(asyncio.Task[Any]):
    """Hashes by when it was made: sets of tasks are walked in the same order in every run."""

    _log_destroy_pending: bool

    numbers = count()

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self._number = next(Task.numbers)
        super().__init__(*arguments, **more)

    def __hash__(self) -> int:
        return self._number


def numbered(kind: type[Any]) -> type[Any]:
    """The same class, hashed by when each of it was made, as `Task` is.

    By its address, as it is otherwise, a set of them is walked in another order in one run of a hundred.
    """

    class Numbered(kind):  # type: ignore[misc]
        __slots__ = ("_made",)

        def __init__(self, *arguments: Any, **more: Any) -> None:
            self._made = next(Task.numbers)
            super().__init__(*arguments, **more)

        def __hash__(self) -> int:
            return self._made

    Numbered.__name__ = kind.__name__
    return Numbered


class _NoSelector:
    """No descriptor is ever ready: all that happens is a timer, or is called soon."""

    def select(self, timeout: float | None) -> list[Any]:
        return []


class Loop(asyncio.BaseEventLoop):
    """An event loop that is run a step at a time, by `Time`. It has no sockets, but `listeners`."""

    _ready: Any
    _scheduled: Any
    _timer_cancelled_count: int
    _run_once: Callable[[], None]

    def __init__(self, time: Time) -> None:
        super().__init__()
        self._selector = _NoSelector()
        self._clock = time
        self.tasks: list[Task] = []
        self.listeners: list[Callable[[], asyncio.Protocol]] = []
        self.set_task_factory(self._make)

    def time(self) -> float:
        return self._clock.now

    def due(self) -> float:
        """When it has something to do."""
        if self._ready:
            return 0.0
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False
        return scheduled[0]._when if scheduled else float("inf")

    def step(self) -> None:
        asyncio._set_running_loop(self)
        try:
            self._run_once()
        finally:
            asyncio._set_running_loop(None)

    def open_tasks(self) -> list[Task]:
        self.tasks = [task for task in self.tasks if not task.done()]
        return self.tasks

    def _make(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> Task:
        task = Task(coroutine, loop=loop, **more)
        self.tasks.append(task)
        if len(self.tasks) > 512:
            self.open_tasks()
        return task

    async def create_server(  # type: ignore[override]
        self, factory: Any, *_: Any, **__: Any
    ) -> Any:
        self.listeners.append(factory)
        return _Server(self, factory)

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


class _Server:
    def __init__(self, loop: Loop, factory: Callable[[], asyncio.Protocol]) -> None:
        self._loop = loop
        self._factory = factory

    def close(self) -> None:
        if self._factory in self._loop.listeners:
            self._loop.listeners.remove(self._factory)


class Time:
    """The scheduler: whoever is due earliest runs until it waits; where nobody is, time jumps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.steps = 0
        self.world = Loop(self)
        self.loops = [self.world]
        self.strand: Strand | None = None
        """The one that runs right now."""

    def loop(self) -> Loop:
        made = Loop(self)
        self.loops.append(made)
        return made

    def drop(self, loop: Loop) -> None:
        """Never run it again."""
        if loop in self.loops:
            self.loops.remove(loop)

    def run(self, coroutine: Coroutine[Any, Any, Any], until: float) -> Any:
        """Run in the world's loop until it is over. Raises `Stuck`, `Spinning`, or what it raises."""
        task = self.world.create_task(coroutine)
        spun = 0
        while not task.done():
            due = [(loop.due(), loop) for loop in self.loops]
            when = min(moment for moment, _ in due)
            if when > self.now:
                if when > until:
                    raise Stuck(
                        f"nothing happens before {when:g} s of simulated time" if when < 1e9 else "for ever"
                    )
                self.now = when
                spun = 0
            for moment, loop in due:
                if moment <= self.now and loop in self.loops:
                    loop.step()
            spun += 1
            self.steps += 1
            if spun > _STEPS_AT_ONE_MOMENT_MAX:
                raise Spinning(f"{spun} turns at {self.now:g} s of simulated time")
        return task.result()


class Strand:
    """A thread that runs only while all else waits, and stops where it waits: see `pause`."""

    def __init__(self, time: Time, function: Callable[[], object]) -> None:
        self._time = time
        self._function = function
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.ended = False
        self.killed = False

    def start(self) -> None:
        self._thread.start()
        self.wake(0.0)

    def wake(self, seconds: float) -> None:
        """Let it go on after so long, and not at another moment."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._time.world.call_at(self._time.now + seconds, self._resume, context=Context())

    def pause(self, seconds: float | None) -> None:
        """In the strand: let the others run, for so long or until it is woken."""
        if self.killed:
            raise Killed
        if seconds is not None:
            self.wake(seconds)
        self._back.release()
        self._go.acquire()
        if self.killed:
            raise Killed

    def kill(self) -> None:
        """End it where it waits."""
        if self._timer is not None:
            self._timer.cancel()
        if not self.ended and self._thread.ident is not None:
            self.killed = True
            self._time.strand, before = self, self._time.strand
            self._go.release()
            self._thread.join(10)
            self._time.strand = before

    def _resume(self) -> None:
        self._timer = None
        if self.ended or self.killed:
            return
        self._time.strand, before = self, self._time.strand
        self._go.release()
        self._back.acquire()
        self._time.strand = before

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.killed:
                self._function()
        except Killed:
            pass
        finally:
            self.ended = True
            self._back.release()


class Env:
    """`hub.env.Env` of one seed."""

    def __init__(
        self, time: Time, seed: int | str, operations: Operations, skew: Callable[[], float] = lambda: 0.0
    ) -> None:
        """
        Args:
            skew: How far the wall clock is off.
        """
        self._time = time
        self._operations = operations
        self._random = Random(seed)
        self._skew = skew
        self._last_ms = 0
        self._count = 0

    def now(self) -> float:
        return EPOCH + self._time.now + self._skew()

    def monotonic(self) -> float:
        return self._time.now

    def random_bytes(self, count: int) -> bytes:
        self._ask()
        return self._random.randbytes(count)

    def new_id(self) -> str:
        self._ask()
        self._last_ms = max(self._last_ms, int(self.now() * 1000))
        self._count += 1
        value = (self._last_ms << 80) | (self._count << 40) | self._random.getrandbits(40)
        return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))

    def _ask(self) -> None:
        if self._operations.next("random") is not None:
            raise OSError(errno.EIO, "simulated")
