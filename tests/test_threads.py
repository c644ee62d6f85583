"""A system that has no more threads to give: who needs one is told so in a sentence, and nothing hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.sources import ROOT

SECONDS_MAX = 30
SHORT = """
import resource, sys
from pathlib import Path
import anyio
from hub.env import SystemEnv
from hub.errors import HubError
from hub.store.db import Store
from hub.threads import in_thread

async def work():
    await in_thread(print, "worked")

async def fails():
    def fail():
        raise RuntimeError("of its own")
    await in_thread(fail)

async def store():
    async with Store.open(Path(sys.argv[2]), SystemEnv()):
        print("opened")

async def main():
    # The memory that it has, and less than the stack of a thread: so one can be refused to anybody.
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    if sys.argv[1] != "fails":
        resource.setrlimit(resource.RLIMIT_AS, (used + 4 * 1024 * 1024, resource.RLIM_INFINITY))
    try:
        with anyio.fail_after(30):
            await {"work": work, "fails": fails, "store": store}[sys.argv[1]]()
    except (HubError, RuntimeError) as error:
        print(type(error).__name__, error)

anyio.run(main)
"""


def said(*arguments: str) -> str:
    command = [sys.executable, "-c", SHORT, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_who_gets_no_thread_is_told_so() -> None:
    assert said("work").startswith("NoThread The system gives the hub no more threads")


def test_what_fails_in_a_thread_is_told_as_it_is() -> None:
    assert said("fails") == "RuntimeError of its own"


def test_a_store_whose_thread_cannot_be_started_says_so_and_does_not_hang(tmp_path: Path) -> None:
    assert said("store", f"{tmp_path}/hub.db").startswith(
        "StoreError The hub's record cannot be written: The system gives the hub no more threads"
    )
