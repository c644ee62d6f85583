"""What is measured runs in processes of its own: started, awaited, watched for its CPU time, and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.wire import Connection

__all__ = ["Failed", "Gateway", "cpu_seconds", "free_port", "process", "ready", "rss_bytes"]

START_SECONDS = 60.0
STOP_SECONDS = 10.0


class Failed(Exception):
    """A process did not do what it was started for; says what it wrote."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Something that was started: where it listens, and what to say to it in every request."""

    port: int
    pid: int
    headers: dict[str, str] = field(default_factory=dict)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def process(
    command: Sequence[str], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in a group of its own until the block ends; what it writes goes to `log`."""
    with log.open("wb") as out:
        running = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=cwd,
            env=env,
        )
    try:
        yield running
    finally:
        _stop(running)


def _stop(running: subprocess.Popen[bytes]) -> None:
    running.terminate()
    try:
        running.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


async def ready(running: subprocess.Popen[bytes], port: int, log: Path, path: str | None = None) -> None:
    """Return once the port takes connections and, where `path` is given, answers 200 there.

    Raises:
        Failed: it ended, or is not ready in `START_SECONDS`.
    """
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if running.poll() is not None:
            raise Failed(f"it ended with {running.returncode}: {_tail(log)}")
        try:
            connection = await Connection.open(port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        try:
            if path is None or (await connection.get(port, path)).status == 200:
                return
        except ConnectionError:
            pass
        finally:
            connection.close()
        await asyncio.sleep(0.05)
    raise Failed(f"it was not ready in {START_SECONDS:g} s: {_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-2000:].strip()


def cpu_seconds(pid: int, *, alone: bool = False) -> float | None:
    """CPU time so far of a process, all that descend from it, and those of them that have ended.

    `None` where there is no `/proc` (macOS).

    Args:
        alone: Only of the process itself.
    """
    if not Path("/proc/self/stat").exists():
        return None
    if alone:
        return _clock(pid)
    ticks = os.sysconf("SC_CLK_TCK")
    # Fields 16 and 17: the children that it has waited for.
    return sum(_clock(each) + sum(map(int, stat[13:15])) / ticks for each, stat in _family(pid).items())


def rss_bytes(pid: int) -> int | None:
    """What a process and all that descend from it hold in memory; `None` where there is no `/proc`."""
    if not Path("/proc/self/stat").exists():
        return None
    return sum(int(stat[21]) for stat in _family(pid).values()) * os.sysconf("SC_PAGE_SIZE")


def _clock(pid: int) -> float:
    """To the nanosecond, where `/proc/PID/stat` counts hundredths of a second. 0 when it has ended."""
    # As clock_getcpuclockid(3) makes it, which Python does not have: CPUCLOCK_SCHED is 2.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _family(pid: int) -> dict[int, list[str]]:
    """A process and all that descend from it: the fields of `/proc/PID/stat` behind the name."""
    stats: dict[int, list[str]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                # The name in parentheses may hold spaces; the numbers start after it.
                stats[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
    family, grown = {pid}, True
    while grown:
        children = {each for each, stat in stats.items() if int(stat[1]) in family} - family
        grown = bool(children)
        family |= children
    return {each: stats[each] for each in family if each in stats}
