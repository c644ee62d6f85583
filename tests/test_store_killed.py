"""The store when its process is killed: what was acknowledged is there, what was open is unknown."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import anyio.to_thread
import pytest

from hub.env import SystemEnv
from hub.store.calls import Calls
from hub.store.db import Store

pytestmark = pytest.mark.anyio

KILLED = """
import os, sys, anyio
from functools import partial
from pathlib import Path
from hub.env import SystemEnv
from hub.store import sessions
from hub.store.calls import Calls, Intent, Outcome
from hub.store.db import Store

def safe(waits):
    assert waits is None

async def main():
    env = SystemEnv()
    async with Store.open(Path(sys.argv[1]), env) as store:
        calls, session = Calls(store), env.new_id()
        row = sessions.SessionRow(session, "me", "modern", "2026-07-28", "{}", "{}", 1, 1)
        await store.write(partial(sessions.insert, row=row))
        async def work():
            while True:
                intent = Intent(env.new_id(), session, "me", None, "s", "tools/call", "s__t", "t", "{}", 2, 1)
                safe(calls.intend(intent))
                os.write(1, b"i " + intent.id.encode() + b"\\n")
                safe(calls.record(intent, Outcome("done", result='"' + "x" * 300 + '"', result_bytes=302)))
                os.write(1, b"d " + intent.id.encode() + b"\\n")
                await anyio.sleep(0)
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(work)
anyio.run(main)
"""


async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    """Ours: kill -9 at any moment; what was said to be committed is there, open intents become unknown."""
    path, chance = tmp_path / "hub.db", random.Random(11)
    for _ in range(10):
        acknowledged = await anyio.to_thread.run_sync(_run_and_kill, path, chance.randrange(1, 2000))
        async with Store.open(path, SystemEnv()) as store:
            assert await store.read(_check) == "ok"
            states = await store.read(_states)
            for id, word in acknowledged.items():
                assert states[id] == "done" if word == "d" else states[id] in ("intended", "done")
            still_open = [id for id, state in states.items() if state == "intended"]
            assert await Calls(store).recover() == len(still_open) <= 8
            states = await store.read(_states)
            assert all(states[id] == "unknown" for id in still_open)


def _run_and_kill(path: Path, lines: int) -> dict[str, str]:
    """What a process acknowledged before it was killed: the last word for each id."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    watch = threading.Timer(20, process.kill)
    watch.start()
    try:
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read().splitlines(keepends=True)
    finally:
        watch.cancel()
        process.kill()
        process.stdout.close()
        process.wait(10)
    assert len(said) >= lines
    assert said[0]
    return {id: word for word, id in (line.decode().split() for line in said if line.endswith(b"\n"))}


def _check(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def _states(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT id, state FROM calls").fetchall())
