"""Stands for the hub: starts two children through `Children`, prints all process ids, and waits to be killed.

    python parent_of_children.py

Each child starts a grandchild. All four ignore EOF, the second pair also HUP, INT and TERM.
"""

import asyncio
import os
import sys
from pathlib import Path

import uvloop

from connectors.children import Children

PAIR = """
import os, signal, subprocess, sys, time
if sys.argv[1] == "stubborn":
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
ready = [sys.executable, "-S", "-c", "print('up', flush=True); import time; time.sleep(120)"]
grandchild = subprocess.Popen(ready, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
grandchild.stdout.readline()
print(os.getpid(), grandchild.pid, flush=True)
time.sleep(120)
"""


async def main() -> None:
    async with Children() as children:
        for kind in ("mild", "stubborn"):
            said = asyncio.Event()

            def show(data: bytes, said: asyncio.Event = said) -> None:
                sys.stdout.buffer.write(data)
                sys.stdout.flush()
                if data.endswith(b"\n"):
                    said.set()

            await children.start(
                [sys.executable, "-S", "-c", PAIR, kind],
                env=dict(os.environ),
                cwd=Path.cwd(),
                on_stdout=show,
                on_stderr=print,
            )
            await said.wait()
        show(b"ready\n")
        await asyncio.sleep(120)


if __name__ == "__main__":
    uvloop.run(main())
