"""Instructions of a call, where valgrind is: a count, which hardly moves with what else the machine does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from benchmarks import gateways, load
from benchmarks.processes import Failed

__all__ = ["measure"]

SECONDS_MAX = 30.0


async def measure(folder: Path, quick: bool) -> dict[str, Any]:
    """Thousands of instructions a call at concurrency 1, of the forwarder and the hub, and the ratio.

    Counts the process itself, all its threads, in user space. Nothing is counted before the load runs.
    """
    if not (shutil.which("valgrind") and shutil.which("callgrind_control")):
        return {"not_measured": ["instructions: valgrind is not installed"]}
    calls = 100 if quick else 1000
    figures: dict[str, Any] = {}
    async with gateways.echo(folder) as echo:
        for name, start in (("forwarder", gateways.forwarder), ("hub", gateways.hub)):
            out = folder / f"{name}.callgrind"
            under = ("valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}")
            async with start(echo.port, folder, under=under) as gateway:
                target = await load.connect(gateway.port, "modern", gateway.headers)
                await load.run(target, concurrency=1, calls=calls)
                _control("on", gateway.pid)
                await load.run(target, concurrency=1, calls=calls)
                _control("off", gateway.pid)
            found = re.search(r"^totals: (\d+)", _written(out), re.MULTILINE)
            if found is None or not int(found[1]):
                raise Failed(f"callgrind counted nothing of {name}")
            figures[f"{name}_thousands"] = round(int(found[1]) / calls / 1000, 1)
    figures["ratio"] = round(figures["hub_thousands"] / figures["forwarder_thousands"], 2)
    return figures


def _control(state: str, pid: int) -> None:
    done = subprocess.run(
        ["callgrind_control", "-i", state, str(pid)], capture_output=True, text=True, timeout=SECONDS_MAX
    )
    if done.returncode or "OK" not in done.stdout:
        raise Failed(f"callgrind_control -i {state}: {done.stdout.strip()} {done.stderr.strip()}")


def _written(out: Path) -> str:
    if not out.exists():
        raise Failed("callgrind wrote nothing")
    return out.read_text()
