"""`python -m tests.sim`: many seeds, or one again."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.sim.mutants import MUTANTS, broken
from tests.sim.run import Outcome, Stage

_SHOWN_MAX = 20


def _folder() -> Path:
    """In memory where that is to be had: nothing here is about the speed of a disk."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="hub-sim-", dir=memory if os.access(memory, os.W_OK) else None))


def _some(seeds: Sequence[int], keep_trace: bool = False, mutant: str | None = None) -> list[Outcome]:
    if mutant is not None:
        MUTANTS[mutant]()
    folder = _folder()
    done: list[Outcome] = []
    try:
        stage = Stage(folder)
        for seed in seeds:
            done.append(stage.run(seed))
            if mutant is not None and any(broken(mutant, each) for each in done[-1].violations):
                break
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if keep_trace:
        return done
    return [Outcome(o.seed, o.violations, o.digest, (), o.counts, o.seconds) for o in done]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and print all that happened")
    parser.add_argument("--seeds", type=int, default=2000, help="how many to run (2000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes beside each other")
    parser.add_argument("--digests", action="store_true", help="print what each run comes down to")
    parser.add_argument(
        "--mutant",
        choices=sorted(MUTANTS),
        help="a hub that is broken so, until that is seen",
    )
    given = parser.parse_args()
    began = time.monotonic()
    if given.seed is not None:
        (outcome,) = _some([given.seed], keep_trace=True, mutant=given.mutant)
        _say(*outcome.trace)
        outcomes = [outcome]
    else:
        seeds = range(given.first, given.first + given.seeds)
        jobs = max(1, min(given.jobs, len(seeds)))
        some = partial(_some, mutant=given.mutant)
        parts = [seeds[start::jobs] for start in range(jobs)]
        with ProcessPoolExecutor(jobs) as pool:
            outcomes = [outcome for part in pool.map(some, parts) for outcome in part]
    return _told(sorted(outcomes, key=lambda o: o.seed), time.monotonic() - began, given.digests)


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join([*lines, ""]))


def _told(outcomes: list[Outcome], took: float, digests: bool) -> int:
    failed = [outcome for outcome in outcomes if outcome.violations]
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total.update(outcome.counts)
        if digests or len(outcomes) == 1:
            _say(f"seed {outcome.seed}: {outcome.digest}")
    for outcome in [*failed[:_SHOWN_MAX], *failed[_SHOWN_MAX:][-1:]]:
        # The first of each kind.
        kinds = {each.partition(":")[0]: each for each in reversed(outcome.violations)}
        for violation in reversed(kinds.values()):
            _say(f"seed {outcome.seed}: {violation}")
    simulated = sum(outcome.seconds for outcome in outcomes)
    counts = ", ".join(f"{number} {name}" for name, number in total.items())
    _say(f"{len(outcomes)} seeds in {took:.1f} s ({simulated / 3600:.1f} h simulated): {counts}")
    _say(f"{len(failed)} seeds with violations" + (f": {[o.seed for o in failed][:100]}" if failed else ""))
    if failed:
        _say(f"Again: python -m tests.sim --seed {failed[0].seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of texts are walked in another order in each process otherwise: no run would be the same again.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.sim", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
