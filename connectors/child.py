"""One running process and its group: its pipes, its exit, its end. Started by `children.Children`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

import anyio

from connectors.stderr import StderrLines

__all__ = ["WRITE_BUFFER_BYTES", "Child"]

WRITE_BUFFER_BYTES: Final = 1024 * 1024
"""`Child.paused` is true while more than this waits to be read by the child."""

_POLL_SECONDS: Final = 0.02
_DRAIN_SECONDS: Final = 0.25
"""How long output may still arrive after the exit: something else may hold the pipes open."""


class Child:
    """One running process and its group.

    Signals go to the group, whose number is the leader's process id. The system does not give
    that number away while the leader is unreaped or any member is left. So the group is signalled
    freely until the leader is reaped; from that moment on its members are looked for every 20 ms,
    and after the first time that none is found, it is never signalled again.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        on_stdout: Callable[[bytes], None],
        on_stderr: Callable[[str], None],
        on_end: Callable[[str], None],
        on_gone: Callable[[Child], None],
        grace_seconds: float,
    ) -> None:
        self.pid = process.pid
        self.paused = False
        """More than `WRITE_BUFFER_BYTES` wait to be read by the child: await `drained()` before writing."""
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._on_end: Callable[[str], None] | None = on_end
        self._on_gone = on_gone
        self._grace_seconds = grace_seconds
        self._stderr_lines = StderrLines(self._loop, on_stderr, self._pause_stderr)
        self._stdin = _Input(self)
        self._stdout = _Output(on_stdout, self._stdout_closed)
        self._stderr = _Output(self._stderr_lines.feed, self._end_if_drained)
        self._input_closed = False
        self._status = ""
        self._exited, self._gone = asyncio.Event(), asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    async def connect(self, on_start: Callable[[Child], None]) -> None:
        """Begin to read, write and watch. Called once, by `Children`."""
        self._watch_exit()
        await self._loop.connect_write_pipe(lambda: self._stdin, self._process.stdin)
        on_start(self)
        await self._loop.connect_read_pipe(lambda: self._stderr, self._process.stderr)
        await self._loop.connect_read_pipe(lambda: self._stdout, self._process.stdout)

    def write(self, data: bytes) -> None:
        """Hand bytes to the child's stdin, in order, without waiting; dropped once it is closed."""
        if not self._stdin.lost.is_set() and not self._input_closed:
            self._stdin.transport.write(data)

    async def drained(self) -> None:
        """Wait until `write` is welcome again, or the child has ended."""
        await self._writable.wait()

    @property
    def unread_bytes(self) -> int:
        """What was written and waits to be read by the child, the system's own buffer apart."""
        return self._stdin.transport.get_write_buffer_size()

    async def wait(self) -> str:
        """How the process ended: "exit status 3", "killed by SIGKILL"."""
        await self._exited.wait()
        return self._status

    def close_input(self) -> None:
        """End the child's stdin, after what was written: how a server is asked to leave."""
        self._input_closed = True
        if self._stdin.connected and not self._stdin.lost.is_set():
            self._stdin.transport.close()

    def kill(self) -> None:
        """End the whole group now. `aclose` still waits until it is gone."""
        self._signal(signal.SIGKILL)

    async def aclose(self) -> None:
        """Close stdin, wait, TERM, wait, KILL; returns when no process of the group is left.

        At most four times the grace, also when cancelled. May be called twice.
        """
        with anyio.CancelScope(shield=True):
            self.close_input()
            for number in (0, signal.SIGTERM, signal.SIGKILL):
                if self._gone.is_set():
                    break
                self._signal(number)
                with anyio.move_on_after(self._grace_seconds):
                    await self._gone.wait()
            with anyio.move_on_after(_DRAIN_SECONDS):
                await self._stdout.lost.wait()
                await self._stderr.lost.wait()
            if self._stdin.connected and not self._stdin.lost.is_set():
                self._stdin.transport.abort()  # What is unread stays unread.
            for output in (self._stdout, self._stderr):
                if output.connected:
                    output.transport.close()
            with anyio.move_on_after(self._grace_seconds):
                for pipe in (self._stdin, self._stdout, self._stderr):
                    if pipe.connected:
                        await pipe.lost.wait()
            self._stderr_lines.close()

    # What happens to it.

    def input_paused(self, paused: bool) -> None:
        self.paused = paused
        if paused:
            self._writable.clear()
        else:
            self._writable.set()

    def input_lost(self) -> None:
        self.input_paused(False)
        if not self._input_closed:
            self._end_soon("it closed its standard input")

    def _stdout_closed(self) -> None:
        self._end_if_drained()
        self._end_soon("it closed its standard output")

    def _watch_exit(self) -> None:
        try:
            watch = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # macOS, or a kernel without it
            threading.Thread(target=self._wait_in_thread, name=f"child {self.pid}", daemon=True).start()
            return

        def exited() -> None:
            self._loop.remove_reader(watch)
            os.close(watch)
            self._process.wait()
            self._process_exited()

        self._loop.add_reader(watch, exited)

    def _wait_in_thread(self) -> None:
        self._process.wait()
        with suppress(RuntimeError):  # The loop is closed: nobody wants to know.
            self._loop.call_soon_threadsafe(self._process_exited)

    def _process_exited(self) -> None:
        self._status = _status(self._process.returncode)
        self._exited.set()
        self.input_paused(False)
        self._end_group(0.0)
        self._end_if_drained()
        self._end_soon(self._sentence())

    def _end_soon(self, sentence: str) -> None:
        """Unless something better is known in a moment: the exit's status, the rest of its output."""
        self._loop.call_later(_DRAIN_SECONDS, self._end, sentence)

    def _end_if_drained(self) -> None:
        if self._exited.is_set() and self._stdout.lost.is_set() and self._stderr.lost.is_set():
            self._end(self._sentence())

    def _sentence(self) -> str:
        return f"it {'ended with' if self._status.startswith('exit') else 'was'} {self._status}"

    def _end(self, sentence: str) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            self._stderr_lines.close()
            self.input_paused(False)
            on_end(sentence)

    def _end_group(self, waited_seconds: float) -> None:
        """The leader is reaped: end what it left behind, TERM first, looking until nothing is left."""
        if waited_seconds == 0.0:
            number: int = signal.SIGTERM
        else:
            number = signal.SIGKILL if waited_seconds >= self._grace_seconds else 0
        # Where nobody reaps orphans (a container without init), dead members stay for ever.
        if self._signal(number) and waited_seconds < 2 * self._grace_seconds:
            self._loop.call_later(_POLL_SECONDS, self._end_group, waited_seconds + _POLL_SECONDS)
            return
        self._gone.set()
        self._on_gone(self)

    def _signal(self, number: int) -> bool:
        """Whether the group had a member to signal; 0 only looks."""
        if self._gone.is_set():
            return False
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS: the latter where all members are zombies
            return False
        return True

    def pause_output(self, pause: bool) -> None:
        """Leave the child's stdout unread for a while."""
        self._stdout.pause(pause)

    def _pause_stderr(self, pause: bool) -> None:
        self._stderr.pause(pause)


class _Input(asyncio.BaseProtocol):
    """The child's stdin."""

    transport: asyncio.WriteTransport

    def __init__(self, child: Child) -> None:
        self._child = child
        self.connected = False
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self.connected = True

    def pause_writing(self) -> None:
        self._child.input_paused(True)

    def resume_writing(self) -> None:
        self._child.input_paused(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self._child.input_lost()


class _Output(asyncio.Protocol):
    """The child's stdout or stderr."""

    transport: asyncio.ReadTransport

    def __init__(self, on_data: Callable[[bytes], None], on_lost: Callable[[], None]) -> None:
        self._on_data = on_data
        self._on_lost = on_lost
        self.connected = False
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.ReadTransport, transport)
        self.connected = True

    def data_received(self, data: bytes) -> None:
        self._on_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self._on_lost()

    def pause(self, pause: bool) -> None:
        if self.lost.is_set():
            return
        if pause:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()


def _status(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
