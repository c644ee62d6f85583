"""The hub in simulated time: what must hold holds, what is broken on purpose is found, a seed replays.

`make sim` runs 2,000 seeds; these are a few, in processes of their own: what they replace is replaced whole.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.sim.mutants import MUTANTS
from tests.sources import ROOT

SECONDS_MAX = 300


def run(*arguments: str, hash_seed: int = 0) -> tuple[int, list[str]]:
    """The exit status, and what was said."""
    command = [sys.executable, "-m", "tests.sim", "--jobs", "1", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def digests(lines: list[str]) -> dict[str, str]:
    """By seed, what happened in its run."""
    return {
        line.split()[1]: line.split()[2]
        for line in lines
        if line.startswith("seed ") and len(line.split()) == 3
    }


def test_nothing_that_must_hold_breaks_and_a_seed_replays_exactly() -> None:
    status, lines = run("--seeds", "15", "--digests", hash_seed=1)
    assert status == 0, "\n".join(lines[-30:])
    _, again = run("--first", "13", "--seeds", "2", "--digests", hash_seed=2)
    assert len(digests(again)) == 2
    assert digests(again).items() <= digests(lines).items()


def test_whichever_operation_fails_nothing_breaks_and_it_replays_exactly() -> None:
    """R9: some of them, of each kind and way; `python -m tests.sim --operations` tries all."""
    status, lines = run("--operations", "--most", "28", "--digests")
    assert status == 0, "\n".join(lines[-30:])
    assert any(line.startswith("29 runs in ") for line in lines), lines
    said = [line for line in lines if line.startswith("seed 0, operation ")][-1]
    which = said.split()[3].rstrip(":")
    _, again = run("--fail", which, hash_seed=2)
    assert said in again
    assert any(f"operation {which.partition('.')[0]} fails: " in line for line in again)


@pytest.mark.parametrize("mutant", ["sends_before_it_records", "forgets_open_calls", "sends_again"])
def test_a_hub_that_is_broken_on_purpose_is_found(mutant: str) -> None:
    invariant = str(MUTANTS[mutant].__doc__).split(":")[0].rstrip(".")
    status, lines = run("--seeds", "60", "--mutant", mutant)
    assert status == 1
    assert any(f": {invariant}: " in line for line in lines), lines
