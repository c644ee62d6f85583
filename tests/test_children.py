"""Processes that never outlive the one that started them. Real processes throughout."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from connectors.base import LinkError
from connectors.children import Child, Children
from connectors.stderr import harmless

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]

PARENT = Path(__file__).parent / "servers" / "parent_of_children.py"
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen(["sleep", "120"], stdin=subprocess.DEVNULL)
print(child.pid, flush=True)
"""


@pytest.fixture
async def children() -> AsyncIterator[Children]:
    with anyio.fail_after(60):
        async with Children(grace_seconds=0.1) as children:
            yield children


class Heard:
    """What one child said."""

    def __init__(self) -> None:
        self.stdout, self.stderr, self.ends = b"", list[str](), list[str]()
        self.spoke, self.ended = anyio.Event(), anyio.Event()

    def on_stdout(self, data: bytes) -> None:
        self.stdout += data
        self.spoke.set()

    def on_end(self, sentence: str) -> None:
        self.ends.append(sentence)
        self.ended.set()


async def started(children: Children, code: str, heard: Heard | None = None, **changes: Any) -> Child:
    heard = heard or Heard()
    given: dict[str, Any] = {
        "env": {"PATH": os.environ["PATH"]},
        "cwd": Path.cwd(),
        "on_stdout": heard.on_stdout,
        "on_stderr": heard.stderr.append,
        "on_end": heard.on_end,
    }
    return await children.start([sys.executable, "-S", "-c", code], **{**given, **changes})


def alive(pid: int) -> bool:
    """Zombies are dead: who reaps orphans is not ours to say."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


async def gone(*pids: int) -> None:
    with anyio.fail_after(20):
        while any(alive(pid) for pid in pids):  # noqa: ASYNC110 - nobody tells a stranger's end
            await anyio.sleep(0.05)


@pytest.mark.both_loops
async def test_a_child_leads_its_own_session_and_gets_exactly_its_environment(children: Children) -> None:
    heard = Heard()
    code = "import os; print(os.getpid() == os.getsid(0) == os.getpgid(0), sorted(os.environ), os.getcwd())"
    child = await started(children, code, heard, env={"TEA": "1"}, cwd=Path("/"))
    assert await child.wait() == "exit status 0"
    await heard.ended.wait()
    assert heard.stdout.decode().split(maxsplit=1)[0] == "True"
    assert "'TEA'" in heard.stdout.decode() and "'PATH'" not in heard.stdout.decode()
    assert heard.stdout.decode().split()[-1] == "/"


@pytest.mark.both_loops
async def test_a_child_has_no_open_file_but_its_three_pipes(children: Children) -> None:
    """Neither the guard's pipe, nor another child's, nor what the hub itself was started with."""
    inherited, kept = os.pipe()
    os.set_inheritable(inherited, True)
    try:
        heard = Heard()
        await started(children, "import time; time.sleep(60)")
        code = """
import os, stat
fds = [fd for fd in range(256) if not os.system(f"test -e /dev/fd/{fd}")]
open_fds = []
for fd in range(3, 256):
    try: os.fstat(fd); open_fds.append(fd)
    except OSError: pass
print(open_fds, [stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in (0, 1, 2)])
""".replace('fds = [fd for fd in range(256) if not os.system(f"test -e /dev/fd/{fd}")]\n', "")
        await started(children, code, heard)
        await heard.ended.wait()
    finally:
        os.close(inherited)
        os.close(kept)
    assert heard.stdout.decode().strip() == "[] [True, True, True]"


@pytest.mark.both_loops
@pytest.mark.parametrize(
    ("code", "status", "sentence"),
    [
        ("raise SystemExit(3)", "exit status 3", "it ended with exit status 3"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL", "it was killed by SIGKILL"),
    ],
)
@pytest.mark.parametrize("watch", ["pidfd", "thread"])
async def test_how_a_child_ended_is_said_in_words(
    children: Children, monkeypatch: pytest.MonkeyPatch, watch: str, code: str, status: str, sentence: str
) -> None:
    """With the kernel's own notice (Linux), and with a thread that waits (macOS)."""
    if watch == "thread":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    heard = Heard()
    child = await started(children, "print('said before', flush=True); " + code, heard)
    assert await child.wait() == status
    await heard.ended.wait()
    assert (heard.ends, heard.stdout) == ([sentence], b"said before\n")
    await child.aclose()
    assert len(children) == 0


async def test_a_mild_child_is_ended_by_the_end_of_its_input() -> None:
    with anyio.fail_after(20):
        async with Children() as children:
            heard = Heard()
            child = await started(children, "import sys; sys.stdin.read(); print('bye')", heard)
            await child.aclose()
    assert (await child.wait(), heard.stdout) == ("exit status 0", b"bye\n")


async def test_all_that_a_child_said_is_heard_although_it_is_closed_at_its_exit(children: Children) -> None:
    heard = Heard()
    child = await started(children, "import os; os.write(1, b'x' * 60_000); os.write(2, b'last\\n')", heard)
    await child.wait()
    await child.aclose()
    assert (len(heard.stdout), heard.stderr) == (60_000, ["last"])


async def test_a_child_that_ignores_the_end_of_its_input_gets_term(children: Children) -> None:
    heard = Heard()
    child = await started(children, "print(1, flush=True); import time; time.sleep(60)", heard)
    await heard.spoke.wait()
    await child.aclose()
    assert await child.wait() == "killed by SIGTERM"


@pytest.mark.both_loops
async def test_a_child_that_ignores_everything_is_killed(children: Children) -> None:
    heard = Heard()
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    child = await started(children, code, heard)
    await heard.spoke.wait()
    await child.aclose()
    assert await child.wait() == "killed by SIGKILL"


@pytest.mark.both_loops
@pytest.mark.parametrize("leader", ["stays", "leaves"])
async def test_no_grandchild_is_left(children: Children, leader: str) -> None:
    """Also where the leader left first: `npx` and shell wrappers do."""
    heard = Heard()
    child = await started(children, FAMILY + ("time.sleep(60)" if leader == "stays" else ""), heard)
    await heard.spoke.wait()
    try:
        if leader == "leaves":
            await child.wait()
        else:
            await child.aclose()
        await gone(child.pid, int(heard.stdout))
    finally:
        await child.aclose()


@pytest.mark.both_loops
async def test_leaving_the_context_ends_all_children(tmp_path: Path) -> None:
    with anyio.fail_after(30):
        async with Children(grace_seconds=0.1) as children:
            running = [await started(children, "import time; time.sleep(60)") for _ in range(5)]
            assert len(children) == 5
        assert [await child.wait() for child in running] == ["killed by SIGTERM"] * 5
        with pytest.raises(LinkError):
            await started(children, "")


@pytest.mark.both_loops
async def test_a_start_that_is_given_up_leaves_nothing(children: Children) -> None:
    for _ in range(5):
        task = asyncio.ensure_future(started(children, "import time; time.sleep(60)"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(children) == 0


async def test_what_cannot_be_started_raises(children: Children, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        await started(children, "", cwd=tmp_path / "nowhere")
    with pytest.raises(ValueError):
        await started(children, "a\0b")
    assert len(children) == 0


@pytest.mark.both_loops
async def test_a_child_that_does_not_read_makes_the_writer_wait(children: Children) -> None:
    heard = Heard()
    code = """
import sys, time
sys.stdin.buffer.readline(); print("read", flush=True)
while sys.stdin.buffer.read(1 << 20): pass
"""
    child = await started(children, code, heard)
    await child.drained()
    for _ in range(40):
        child.write(b"x" * 100_000)
    assert child.paused
    child.write(b"\n")
    await child.drained()
    assert not child.paused
    await child.aclose()


@pytest.mark.both_loops
async def test_a_hundred_restarts_leave_no_file_and_no_process_behind(children: Children) -> None:
    """Threat T28."""

    async def once() -> None:
        child = await started(children, "")
        await child.aclose()

    await once()
    before = os.listdir("/dev/fd")
    for _ in range(10):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(once)
    assert len(os.listdir("/dev/fd")) <= len(before)
    assert len(children) == 0


@pytest.mark.parametrize("setpriv", ["with", "without"])
async def test_kill_9_of_the_parent_leaves_no_child_and_no_grandchild(setpriv: str, tmp_path: Path) -> None:
    """With the parent-death signal where there is one, and by the guard alone (as on macOS)."""
    path = os.environ["PATH"]
    if setpriv == "without":  # A folder before it on PATH with one that knows no such option.
        (tmp_path / "setpriv").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "setpriv").chmod(0o755)
        path = f"{tmp_path}{os.pathsep}{path}"
    elif shutil.which("setpriv") is None:
        pytest.skip("no setpriv here")
    with anyio.fail_after(60):
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(PARENT.parents[2])}
        async with await anyio.open_process([sys.executable, str(PARENT)], env=environment) as parent:
            assert parent.stdout is not None
            said = b""
            while not said.endswith(b"ready\n"):
                said += await parent.stdout.receive()
            pids = [int(word) for word in said.split()[:-1]]
            assert len(pids) == 4
            assert all(alive(pid) for pid in pids)
            parent.send_signal(signal.SIGKILL)
            await parent.wait()
            await gone(*pids)


async def test_a_guard_that_was_ended_is_replaced(children: Children) -> None:
    await started(children, "import time; time.sleep(60)")
    first = children.guard_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with anyio.fail_after(20):
        while children.guard_pid == first:
            await (await started(children, "")).aclose()
    assert children.guard_pid is not None and alive(children.guard_pid)


def test_text_of_a_server_is_made_harmless() -> None:
    """Threat T21."""
    assert harmless("\x1b[1;31mred\x1b[0m \x1b]0;title\x07 bell\x07 \x9b31m") == "red  bell\ufffd \ufffd31m"
    assert harmless("nul\0 line\nline tab\t") == "nul\ufffd line\ufffdline tab\t"
    assert harmless("\u202eback\u2066 \U000e0041 e\u0301 🐎") == "\ufffdback\ufffd \ufffd e\u0301 🐎"
