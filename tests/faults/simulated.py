"""`python -m tests.sim` in a process of its own, and what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass

import anyio

from tests.sources import ROOT

__all__ = ["Ran", "simulated"]

SECONDS_MAX = 1800


@dataclass(frozen=True, slots=True)
class Ran:
    status: int
    said: str

    def found(self, pattern: str) -> str:
        """The first group of it, in a line of its own; or the last of what was said, where there is none."""
        match = re.search(pattern, self.said, re.MULTILINE)
        return match[1] if match is not None else f"(it ended with {self.status}: {self.said[-500:]})"

    @property
    def wrong(self) -> str:
        """How many were, in words."""
        return self.found(r"^(\d+ (?:seeds|runs) with violations.*)$")

    @property
    def held(self) -> bool:
        return self.status == 0 and self.wrong.startswith("0 ")

    def digests(self) -> dict[str, str]:
        """What each run came down to, by its name."""
        return dict(re.findall(r"^(seed [^:]+): ([0-9a-f]{16})$", self.said, re.MULTILINE))


async def simulated(*arguments: str, hash_seed: int | None = None) -> Ran:
    """
    Args:
        hash_seed: By which sets of texts are walked in another order.
    """
    environment = {**os.environ, "PYTHONHASHSEED": "random" if hash_seed is None else str(hash_seed)}
    with anyio.fail_after(SECONDS_MAX):
        done = await anyio.run_process(
            [sys.executable, "-m", "tests.sim", *arguments],
            cwd=ROOT, env=environment, check=False, stderr=subprocess.STDOUT,
        )  # fmt: skip
    return Ran(done.returncode, done.stdout.decode())
