"""What a server's process may have of its own: memory, open files, and processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from connectors.cgroup import Groups, groups_here, groups_of
from connectors.children import NO_BOUNDS, Bounds, Children
from tests.faults.places import WORKER
from tests.homes import done, running, write

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of another process need Linux"),
]

GREEDY = "import sys; sys.stdin.readline(); x = bytearray(200_000_000); print(len(x), flush=True)"
MANY = (
    "import sys; sys.stdin.readline(); x = [open('/dev/null') for _ in range(100)]; print(len(x), flush=True)"
)


FORKS = """
import os, sys, threading, time
sys.stdin.readline()
made = 0
try:
    while made < 50:
        if os.fork() == 0:
            os.setsid()
            time.sleep(20)
            os._exit(0)
        made += 1
except BlockingIOError as error:
    print(error, flush=True)
print(made, "made", flush=True)
"""
"""Each a session of its own, which is how a process leaves its group."""

OF_VERSION_1 = "5:memory:/hub\n4:cpu,pids:/user.slice/hub\n0::/elsewhere\n"
OF_VERSION_2 = "0::/user.slice/user@1000.service/app.slice/hub.scope\n"
MOUNTS_1 = """\
25 20 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
26 25 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
27 25 0:24 /user.slice /sys/fs/cgroup/some\\040where rw master:2 - cgroup cgroup rw,cpu,pids
28 25 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
"""
MOUNTS_2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def need_groups() -> Groups:
    """Where control groups can be made; skips where none can."""
    try:
        here = groups_here()
    except OSError as error:
        pytest.skip(str(error))
    if not os.access(here.parent, os.W_OK):
        pytest.skip(f"needs to write to {here.parent}")
    return here


def held(groups: Groups) -> list[str]:
    return [path.name for path in groups.parent.glob("hub-child-*")]


async def words_of(script: str, bounds: Bounds) -> str:
    """All that a program says which waits for a line and then takes what it can."""
    said: list[str] = []
    hear: Callable[[bytes], None] = lambda data: said.append(data.decode())  # noqa: E731
    ended = anyio.Event()
    async with Children() as children:
        child = await children.start(
            [sys.executable, "-c", script],
            env={"PATH": "/usr/bin:/bin"},
            cwd=Path("/"),
            on_stdout=hear,
            on_stderr=said.append,
            on_end=lambda sentence: ended.set(),
            bounds=bounds,
        )
        child.write(b"go\n")
        with anyio.fail_after(20):
            await ended.wait()
    return "".join(said)


async def test_a_process_gets_the_memory_that_it_may_have_and_no_more() -> None:
    assert "MemoryError" in await words_of(GREEDY, Bounds(memory_bytes=128 * 1024**2))
    assert "200000000" in await words_of(GREEDY, NO_BOUNDS)


async def test_a_process_opens_as_many_files_as_it_may_and_no_more() -> None:
    assert "Too many open files" in await words_of(MANY, Bounds(files=32))
    assert "100" in await words_of(MANY, Bounds(files=200))


async def test_a_process_starts_as_many_as_it_may_and_no_more_in_sessions_of_their_own_too() -> None:
    groups = need_groups()
    bound = await words_of(FORKS, Bounds(processes=8))
    assert "temporarily unavailable" in bound and "7 made" in bound
    assert "50 made" in await words_of(FORKS, Bounds(processes=64))
    assert held(groups) == []


def test_it_is_known_where_processes_are_counted() -> None:
    at = Path("/sys/fs/cgroup")
    assert groups_of(OF_VERSION_1, MOUNTS_1) == Groups(at / "some where/hub", unified=False)
    assert groups_of(OF_VERSION_2, MOUNTS_2) == Groups(at / OF_VERSION_2[4:-1], unified=True)
    with pytest.raises(OSError, match="Delegate=yes"):
        groups_of(OF_VERSION_2, "")


def test_where_no_group_can_be_made_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="systemd-run --user"):
        Groups(tmp_path / "absent", unified=False).hold(os.getpid(), 8)


async def test_limits_of_a_manifest_count_for_its_server(tmp_path: Path) -> None:
    """`/proc` says what the process has been given."""
    groups = need_groups()
    limits = {"memory": "100MiB", "files": 64, "processes": 32}
    write(tmp_path, "bound", server="bound", limits=limits, connect={"command": WORKER})
    write(tmp_path, "me", agent="me", may=["*"])
    with running(tmp_path) as hub:
        hub.until("bound: ready")
        pid = int(done(tmp_path, "call", "bound__pid").out.split()[-1])
        given = Path(f"/proc/{pid}/limits").read_text()
        assert (groups.parent / f"hub-child-{pid}" / "pids.max").read_text() == "32\n"
    rows = {line[:26].strip(): line[26:].split()[:2] for line in given.splitlines()}
    assert rows["Max data size"] == [str(100 * 1024**2)] * 2
    assert rows["Max open files"] == ["64", "64"]
    assert held(groups) == []
