"""A process that writes rows of calls as fast as it can, and is killed in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

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


def run_and_kill(path: Path, lines: int) -> dict[str, str]:
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
