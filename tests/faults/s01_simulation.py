"""S1: the whole hub in simulated time, from many seeds, with faults wherever it touches the world."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import anyio

from tests.faults.figures import Figures, Row, Scale
from tests.faults.places import Start
from tests.sources import ROOT

__all__ = ["ROW"]

SECONDS = 1200


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, seeds = Figures(), scale(40, 2000)
    with anyio.fail_after(SECONDS):
        done = await anyio.run_process(
            [sys.executable, "-m", "tests.sim", "--seeds", str(seeds)],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, check=False, stderr=subprocess.STDOUT,
        )  # fmt: skip
    said = done.stdout.decode()
    told = re.search(r"^(\d+ seeds) in .*? \((.*?)\): (.*)$", said, re.MULTILINE)
    wrong = re.search(r"^(\d+) seeds with violations.*$", said, re.MULTILINE)
    if told is None or wrong is None:
        found.say(f"it ended with {done.returncode}: {said[-500:]}", False)
        return found
    found.say(f"{told[1]}, {told[2]}: {told[3]}")
    found.say(wrong[0], wrong[1] == "0" and not done.returncode)
    return found


ROW = Row(
    "S1",
    "the hub in simulated time: connections, servers, disk, clock and processes that fail, from seeds",
    "what is said above (I1 to I7 of the plan) holds in each; a seed replays exactly",
    run,
)
