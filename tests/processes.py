"""Which processes there are below another, whether they are gone, and how much memory one takes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Literal

from tests.commands import SECONDS


def descendants(pid: int) -> dict[int, str]:
    """The processes below `pid`, each with the moment it started: a number may be used anew."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,lstart="], capture_output=True, text=True, check=True, timeout=SECONDS
    )
    parents: dict[int, tuple[int, str]] = {}
    for line in listed.stdout.splitlines():
        own, parent, started = line.split(None, 2)
        parents[int(own)] = (int(parent), started.strip())
    found: dict[int, str] = {}
    more = {pid}
    while more:
        more = {own for own, (parent, _) in parents.items() if parent in more}
        found.update({own: parents[own][1] for own in more})
    return found


def gone(processes: dict[int, str]) -> bool:
    """Whether none of them runs any longer."""
    named = ",".join(str(pid) for pid in processes) or "0"
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=,lstart=", "-p", named], capture_output=True, text=True, timeout=SECONDS
    )
    rows = (line.split(None, 2) for line in listed.stdout.splitlines())
    return not any(state[0] != "Z" and began.strip() == processes[int(pid)] for pid, state, began in rows)


def memory_bytes(pid: int, key: Literal["VmRSS", "VmHWM"] = "VmRSS") -> int:
    """A process's own memory: now, or the most since it started or `forget_most_memory`. Linux only."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{key}:")[2].split()[0]) * 1024


def forget_most_memory(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")
