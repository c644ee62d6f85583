"""Processes that never outlive this one, even when it is killed with SIGKILL.

A child leads a session and process group of its own and is started from an argv list, never
through a shell, with exactly the environment that its caller gives. Three things end it:

- `aclose`: its stdin is closed, then TERM, then KILL to the whole group, each after a bounded wait.
- The parent-death signal (Linux, through util-linux `setpriv` where there is one): the kernel
  kills the child in the moment in which this process dies.
- One guard process for all children (also macOS, also for what children start): it holds the
  read end of a pipe whose only write end is ours, and kills every listed group at its end.

Not handled: a descendant that moves to a session of its own leaves the group and survives.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, cast

import anyio

from connectors.base import LinkError

__all__ = ["GRACE_SECONDS", "STDERR_LINE_MAX", "Child", "Children", "harmless"]

GRACE_SECONDS: Final = 2.0
"""How long a child may take after its stdin is closed, and again after TERM."""
STDERR_LINE_MAX: Final = 4096
WRITE_BUFFER_BYTES: Final = 1024 * 1024
"""`Child.paused` is true while more than this waits to be read by the child."""

_POLL_SECONDS: Final = 0.02
_DRAIN_SECONDS: Final = 0.25
"""How long output may still arrive after the exit: something else may hold the pipes open."""
_STDERR_LINES_A_SECOND: Final = 500
_STDERR_BYTES_A_SECOND: Final = 16 * 1024 * 1024

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

_escape = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)?")
_unprintable = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)


def harmless(text: str) -> str:
    """Text of a server as it may stand in a log or on a terminal: one line, no colours, no control
    or direction characters (threat T21)."""
    return _unprintable.sub("\ufffd", _escape.sub("", text))


class Children:
    """Starts processes, and ends all that are left when its context is left. Held by the app for its life."""

    def __init__(self) -> None:
        self._living: dict[int, Child] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        self._prefix: tuple[str, ...] | None = None
        self._closing = False

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
        self._end_guard()

    def __len__(self) -> int:
        """How many children there are now."""
        return len(self._living)

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

        Raises:
            OSError: it cannot be started.
            ValueError: an argument or a variable has a zero byte in it.
            LinkError: these children are being closed.
        """
        if self._closing:
            raise LinkError("no process is started any more: all are being ended", sent=False)
        if self._guard is None:
            self._guard = _start_guard()
        loop = asyncio.get_running_loop()

        def started(child: Child) -> None:
            on_start(child)
            self._add(child)

        child = Child(loop, on_stdout, on_stderr, on_end, started, self._remove)
        try:
            # Shielded: given up half-way, a process could be left that nobody knows.
            with anyio.CancelScope(shield=True):
                await loop.subprocess_exec(
                    lambda: child, *self._dying_with_us(), *argv, env=env, cwd=cwd, start_new_session=True
                )
        except BaseException:
            child.kill()
            raise
        return child

    def _add(self, child: Child) -> None:
        self._living[child.pid] = child
        self._tell_guard(f"+{child.pid}\n")

    def _remove(self, child: Child) -> None:
        self._living.pop(child.pid, None)
        self._tell_guard(f"-{child.pid}\n")

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


class Child(asyncio.SubprocessProtocol):
    """One running process and its group.

    Signals go to the group, whose number is the leader's process id. The system does not give
    that number away while the leader is unreaped or any member is left. So the group is signalled
    freely until the loop has reaped the leader; from that moment on its members are looked for
    every 20 ms, and after the first time that none is found, it is never signalled again.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[str], None],
        on_end: Callable[[str], None],
        on_start: Callable[[Child], None],
        on_gone: Callable[[Child], None],
    ) -> None:
        self.pid = 0
        """0 until it runs."""
        self.paused = False
        """More than `WRITE_BUFFER_BYTES` wait to be read by the child: await `drained()` before writing."""
        self._loop = loop
        self._on_stdout = on_stdout
        self._on_end: Callable[[str], None] | None = on_end
        self._on_start, self._on_gone = on_start, on_gone
        self._stderr = _StderrLines(loop, on_stderr, self._pause_stderr)
        self._open_pipes = {1, 2}
        self._input_closed = False
        self._status = ""
        self._exited, self._gone, self._lost = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.SubprocessTransport
        self._stdin: asyncio.WriteTransport

    def write(self, data: bytes) -> None:
        """Hand bytes to the child's stdin, in order, without waiting; dropped once it has ended."""
        if not self._stdin.is_closing():
            self._stdin.write(data)

    async def drained(self) -> None:
        """Wait until `write` is welcome again, or the child has ended."""
        await self._writable.wait()

    async def wait(self) -> str:
        """How the process ended: "exit status 3", "killed by SIGKILL"."""
        await self._exited.wait()
        return self._status

    def close_input(self) -> None:
        """End the child's stdin: how a server is asked to leave."""
        if self.pid:
            self._input_closed = True
            self._stdin.close()

    def kill(self) -> None:
        """End the whole group now. `aclose` still waits until it is gone."""
        self._signal(signal.SIGKILL)

    async def aclose(self) -> None:
        """Close stdin, wait, TERM, wait, KILL; returns when no process of the group is left.

        At most three times `GRACE_SECONDS`, also when cancelled. May be called twice.
        """
        with anyio.CancelScope(shield=True):
            self.close_input()
            for number in (0, signal.SIGTERM, signal.SIGKILL):
                if self._gone.is_set():
                    break
                self._signal(number)
                with anyio.move_on_after(GRACE_SECONDS):
                    await self._gone.wait()
            self._transport.close()
            with anyio.move_on_after(GRACE_SECONDS):
                await self._lost.wait()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
        self._stdin.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.pid = self._transport.get_pid()
        self._on_start(self)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self._on_stdout(data)
        else:
            self._stderr.feed(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open_pipes.discard(fd)
        if self._exited.is_set():
            self._end_if_drained()
        elif fd == 1:
            # Mostly the first sign of the exit, which says more: so give that a moment.
            self._loop.call_later(_DRAIN_SECONDS, self._end, "it closed its standard output")
        elif fd == 0 and not self._input_closed:
            self._loop.call_later(_DRAIN_SECONDS, self._end, "it closed its standard input")

    def pause_writing(self) -> None:
        self.paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        self.paused = False
        self._writable.set()

    def process_exited(self) -> None:
        self._status = _status(self._transport.get_returncode())
        self._exited.set()
        self.resume_writing()
        self._end_group(0.0)
        self._end_if_drained()
        self._loop.call_later(_DRAIN_SECONDS, self._end, self._sentence())

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost.set()

    # Ending.

    def _end_if_drained(self) -> None:
        if not self._open_pipes:
            self._end(self._sentence())

    def _sentence(self) -> str:
        return f"it {'ended with' if self._status.startswith('exit') else 'was'} {self._status}"

    def _end(self, sentence: str) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        self._stderr.close()
        self.resume_writing()
        on_end(sentence)

    def _end_group(self, waited_seconds: float) -> None:
        """The leader is reaped: end what it left behind, TERM first, looking until nothing is left."""
        if waited_seconds == 0.0:
            number: int = signal.SIGTERM
        else:
            number = signal.SIGKILL if waited_seconds >= GRACE_SECONDS else 0
        # Where nobody reaps orphans (a container without init), dead members stay for ever.
        if self._signal(number) and waited_seconds < 2 * GRACE_SECONDS:
            self._loop.call_later(_POLL_SECONDS, self._end_group, waited_seconds + _POLL_SECONDS)
            return
        self._gone.set()
        self._on_gone(self)

    def _signal(self, number: int) -> bool:
        """Whether the group had a member to signal; 0 only looks."""
        if not self.pid or self._gone.is_set():
            return False
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS: the latter where all members are zombies
            return False
        return True

    def _pause_stderr(self, pause: bool) -> None:
        transport = cast("asyncio.ReadTransport | None", self._transport.get_pipe_transport(2))
        if transport is None or transport.is_closing():
            return
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()


def _status(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


class _StderrLines:
    """Bytes to lines, at a bounded cost: lines over 500 a second are counted and left out, and
    over 16 MiB a second nothing is read until the second is over."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, emit: Callable[[str], None], pause: Callable[[bool], None]
    ) -> None:
        self._loop = loop
        self._emit = emit
        self._pause = pause
        self._pending = bytearray()
        self._lines = self._bytes = self._left_out = 0
        self._second: asyncio.TimerHandle | None = None

    def feed(self, data: bytes) -> None:
        if self._second is None:
            self._second = self._loop.call_later(1.0, self._next_second)
        self._bytes += len(data)
        if self._bytes > _STDERR_BYTES_A_SECOND:
            self._pause(True)
        start = 0
        while self._lines < _STDERR_LINES_A_SECOND and (end := data.find(b"\n", start)) >= 0:
            self._add(data[start:end])
            self._flush()
            start = end + 1
        last = data.rfind(b"\n", start)
        if last >= 0:
            self._left_out += data.count(b"\n", start)
            self._pending.clear()
            start = last + 1
        self._add(data[start:])

    def close(self) -> None:
        """What stands without a newline is a line too."""
        if self._pending:
            self._flush()
        if self._second is not None:
            self._second.cancel()
            self._next_second()

    def _add(self, part: bytes) -> None:
        """Up to four bytes a character; what is over is dropped up to the next newline."""
        self._pending += part[: 4 * STDERR_LINE_MAX - len(self._pending)]

    def _flush(self) -> None:
        self._lines += 1
        text = self._pending.decode(errors="replace").rstrip("\r")
        self._pending.clear()
        self._emit(harmless(text)[:STDERR_LINE_MAX])

    def _next_second(self) -> None:
        if self._left_out:
            self._emit(f"... {self._left_out} more lines, left out")
        if self._bytes > _STDERR_BYTES_A_SECOND:
            self._pause(False)
        self._lines = self._bytes = self._left_out = 0
        self._second = None
