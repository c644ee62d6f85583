"""Processes that never outlive this one, even when it is killed with SIGKILL.

A child leads a session and process group of its own and is started from an argv list, never
through a shell, with exactly the environment that its caller gives. Three things end it:

- `aclose`: its stdin is closed, then TERM, then KILL to the whole group, each after a bounded wait.
- The parent-death signal (Linux, through util-linux `setpriv` where there is one): the kernel
  kills the child in the moment in which this process dies.
- One guard process for all children (also macOS, also for what children start): it holds the
  read end of a pipe whose only write end is ours, and kills every listed group at its end.

Not handled: a descendant that moves to a session of its own leaves the group and survives, unless the
number of processes is bound.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final

import anyio

from connectors.base import LinkError
from connectors.cgroup import groups_here
from connectors.child import Child
from connectors.stderr import harmless

__all__ = ["GRACE_SECONDS", "Bounds", "Child", "Children", "harmless"]

GRACE_SECONDS: Final = 2.0
_AGAIN_SECONDS: Final = 0.02
_TRIES: Final = 250

# Reads `+GROUP` and `-GROUP` until its stdin ends: then whoever wrote there is gone, however.
_GUARD: Final = """
trap '' HUP INT TERM
groups=' '
while read -r line; do
  group=${line#?}
  case $line in
    +*) groups="$groups$group " ;;
    -*) case $groups in *" $group "*) groups="${groups%%" $group "*} ${groups#*" $group "}" ;; esac ;;
  esac
done
[ "$groups" = ' ' ] && exit
for group in $groups; do kill -s TERM -- "-$group"; done
sleep 1
for group in $groups; do kill -s KILL -- "-$group"; done
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one process, and each that it starts, may have of its own. Linux only.

    Put on as soon as it runs, which it has done for less than a millisecond by then.
    """

    memory_bytes: int | None = None
    """Writable memory of its own (`RLIMIT_DATA`); what is only reserved, as by node, does not count."""
    files: int | None = None
    """Open files."""
    processes: int | None = None
    """Processes, threads among them: itself and all that it starts, together (`cgroup`)."""

    def put_on(self, pid: int) -> None:
        """Raises `OSError`: they cannot be put on here."""
        if self == NO_BOUNDS:
            return
        if sys.platform != "linux":
            raise OSError(errno.ENOTSUP, "`limits: {memory: ..., files: ..., processes: ...}` need Linux")
        if self.processes is not None:
            groups_here().hold(pid, self.processes)
        try:
            if self.memory_bytes is not None:
                resource.prlimit(pid, resource.RLIMIT_DATA, (self.memory_bytes, self.memory_bytes))
            if self.files is not None:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (self.files, self.files))
        except ProcessLookupError:
            pass  # It has ended already: its exit says why.
        except ValueError as error:  # More than this process may have itself.
            raise OSError(errno.EPERM, f"its limits are more than the hub has: {error}") from None

    def take_off(self, pid: int) -> bool:
        """Leave nothing of them behind, nor of what a process that has ended started; `False`: not yet."""
        return self.processes is None or groups_here().release(pid)


NO_BOUNDS: Final = Bounds()


class Children:
    """Starts processes, and ends all that are left when its context is left. Held by the app for its life.

    Args:
        grace_seconds: How long a child may take after its stdin is closed, and again after TERM.
    """

    def __init__(self, grace_seconds: float = GRACE_SECONDS) -> None:
        self._grace_seconds = grace_seconds
        self._living: dict[int, Child] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._prefix: tuple[str, ...] | None = None
        self._closing = False
        self._bound: set[int] = set()
        """Those that have ended, and have left something that is being ended."""

    async def __aenter__(self) -> Children:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                for child in list(self._living.values()):
                    tasks.start_soon(child.aclose)
            with anyio.move_on_after(self._grace_seconds):
                while self._bound:  # noqa: ASYNC110
                    await anyio.sleep(_AGAIN_SECONDS)
        self._end_guard()

    def __len__(self) -> int:
        """How many children there are now."""
        return len(self._living)

    @property
    def guard_pid(self) -> int | None:
        """The process that ends the children if this one cannot; `None` before the first start."""
        return None if self._guard is None else self._guard.pid

    async def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[str], None],
        on_end: Callable[[str], None] = lambda sentence: None,
        on_start: Callable[[Child], None] = lambda child: None,
        bounds: Bounds = NO_BOUNDS,
    ) -> Child:
        """Start one process. Whoever starts it closes it: `try: ... finally: await child.aclose()`.

        Args:
            argv: Program and arguments. The program is a path; nothing is looked up.
            env: The whole environment of the process.
            on_stdout: Gets the bytes as they come. Must not raise.
            on_stderr: Gets each line, at most 4096 characters, made `harmless`. Must not raise.
            on_end: Gets a sentence, once: "it ended with exit status 3", "it was killed by
                SIGKILL", "it closed its standard output". All output came before.
            on_start: Gets the child before any other of these is called.
            bounds: What it may have of its own.

        Raises:
            OSError: it cannot be started.
            ValueError: an argument or a variable has a zero byte in it.
            LinkError: these children are being closed.
        """
        if self._closing:
            raise LinkError("no process is started any more: all are being ended", sent=False)
        child = Child(
            self._spawn(argv, env, cwd, bounds),
            on_stdout,
            on_stderr,
            on_end,
            partial(self._remove, bounds),
            self._grace_seconds,
        )
        self._living[child.pid] = child
        self._tell_guard(f"+{child.pid}\n")
        connecting = asyncio.ensure_future(child.connect(on_start))
        try:
            await asyncio.shield(connecting)
        except BaseException:  # Given up half-way, a process could be left that nobody knows.
            with anyio.CancelScope(shield=True):
                await asyncio.wait([connecting])
                await child.aclose()
            raise
        return child

    def _spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, bounds: Bounds
    ) -> subprocess.Popen[bytes]:
        """Takes 1 to 2 ms, in which the event loop stands, as it would with the loop's own means."""
        if self._guard is None:
            self._guard = _start_guard()
        # Not through the event loop: uvloop hands a child our open files, and sockets for pipes.
        process = subprocess.Popen(
            [*self._dying_with_us(), *argv],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        try:
            bounds.put_on(process.pid)
        except BaseException:  # Nobody would know it.
            process.kill()
            process.wait()
            bounds.take_off(process.pid)
            raise
        return process

    def _remove(self, bounds: Bounds, child: Child) -> None:
        self._living.pop(child.pid, None)
        self._take_off(bounds, child.pid)
        self._tell_guard(f"-{child.pid}\n")

    def _take_off(self, bounds: Bounds, pid: int, tries: int = _TRIES) -> None:
        self._bound.discard(pid)
        if not bounds.take_off(pid) and tries:
            self._bound.add(pid)
            loop = asyncio.get_running_loop()
            loop.call_later(_AGAIN_SECONDS, self._take_off, bounds, pid, tries - 1)

    def _dying_with_us(self) -> tuple[str, ...]:
        """What to put before an argv so that the kernel ends the process with us; `()` where nothing can.

        Tried once, because `setpriv` of other origin than util-linux does not know the option.
        The signal comes when the *thread* ends that started the child: ours runs the event loop.
        """
        if self._prefix is None:
            found = shutil.which("setpriv") if sys.platform == "linux" else None
            prefix = () if found is None else (found, "--pdeathsig", "KILL", "--")
            if prefix and subprocess.run([*prefix, "true"], capture_output=True, timeout=5).returncode != 0:
                prefix = ()
            self._prefix = prefix
        return self._prefix

    def _tell_guard(self, line: str) -> None:
        try:
            if self._guard is not None:
                _write(self._guard, line)
                return
        except OSError:  # Somebody ended the guard: a new one gets the whole list.
            self._end_guard()
        if self._living:
            self._guard = _start_guard()
            _write(self._guard, "".join(f"+{pid}\n" for pid in self._living))

    def _end_guard(self) -> None:
        """By the end of its stdin; with an empty list it leaves at once."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        assert guard.stdin is not None
        guard.stdin.close()
        try:
            guard.wait(timeout=1)
        except subprocess.TimeoutExpired:  # It waits for a group that cannot be ended.
            guard.kill()
            guard.wait()


def _start_guard() -> subprocess.Popen[bytes]:
    # Its write end is closed on exec, as Python's descriptors are: no child holds it open.
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        cwd="/",
        env={"PATH": os.defpath},
        start_new_session=True,
    )
    assert guard.stdin is not None
    os.set_blocking(guard.stdin.fileno(), False)
    return guard


def _write(guard: subprocess.Popen[bytes], lines: str) -> None:
    assert guard.stdin is not None
    os.write(guard.stdin.fileno(), lines.encode())
