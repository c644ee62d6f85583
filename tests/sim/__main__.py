"""`python -m tests.sim`: many seeds, or one again; or one course for each operation in it, which fails."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from tests.sim.mutants import MUTANTS, broken
from tests.sim.operations import Failing, all_of, spread
from tests.sim.run import Outcome, Stage

T = TypeVar("T")

_SHOWN_MAX = 20


def _some(runs: Sequence[T], run: Callable[[Stage, T], Outcome], mutant: str | None = None) -> list[Outcome]:
    if mutant is not None:
        MUTANTS[mutant]()
    # In memory where that is to be had: nothing here is about the speed of a disk.
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="hub-sim-", dir=memory if os.access(memory, os.W_OK) else None))
    done: list[Outcome] = []
    try:
        stage = Stage(folder)
        for each in runs:
            done.append(run(stage, each))
            if mutant is not None and any(broken(mutant, each) for each in done[-1].violations):
                break
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return done if len(runs) == 1 else [replace(outcome, trace=()) for outcome in done]


def _seed(stage: Stage, seed: int) -> Outcome:
    return stage.run(seed)


def _well(stage: Stage, failing: Failing | None, seed: int) -> Outcome:
    return stage.run_well(seed, failing)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and print all that happened")
    parser.add_argument("--seeds", type=int, default=2000, help="how many to run (2000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument(
        "--operations",
        action="store_true",
        help="the course of one seed that is well, once for each operation in it, which fails",
    )
    parser.add_argument("--most", type=int, help="of these, so many at most, spread over the course")
    parser.add_argument("--fail", type=Failing.read, help="one of these again, as it was printed: 123.full")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes beside each other")
    parser.add_argument("--digests", action="store_true", help="print what each run comes down to")
    parser.add_argument(
        "--mutant",
        choices=sorted(MUTANTS),
        help="a hub that is broken so, until that is seen",
    )
    given = parser.parse_args()
    began = time.monotonic()
    seeds = range(given.first, given.first + given.seeds) if given.seed is None else [given.seed]
    if given.operations or given.fail is not None:
        outcomes = _operations(given)
    else:
        outcomes = _beside(seeds, partial(_some, run=_seed, mutant=given.mutant), given.jobs)
    outcomes.sort(key=lambda o: (o.seed, str(o.failing)))
    return _told(outcomes, time.monotonic() - began, given.digests)


def _beside(runs: Sequence[T], some: Callable[[Sequence[T]], list[Outcome]], jobs: int) -> list[Outcome]:
    jobs = max(1, min(jobs, len(runs)))
    with ProcessPoolExecutor(jobs) as pool:
        return [
            outcome for part in pool.map(some, [runs[at::jobs] for at in range(jobs)]) for outcome in part
        ]


def _operations(given: argparse.Namespace) -> list[Outcome]:
    some = partial(_some, run=partial(_well, seed=given.seed or 0), mutant=given.mutant)
    if given.fail is not None:
        (outcome,) = _beside([given.fail], some, 1)
        if len(outcome.kinds) < given.fail.number:
            raise SystemExit(f"The course of seed {outcome.seed} has {len(outcome.kinds)} operations.")
        return [outcome]
    (well,) = _beside([None], some, 1)
    failing = all_of(well.kinds) if given.most is None else spread(well.kinds, given.most)
    counts = ", ".join(f"{count} {kind}" for kind, count in Counter(well.kinds).most_common())
    _say(f"{len(well.kinds)} operations in the course of seed {well.seed}: {counts}")
    _say(f"The course without a failure, then with one, {len(failing)} times")
    return [replace(well, trace=()), *_beside(failing, some, given.jobs)]


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join([*lines, ""]))


def _told(outcomes: list[Outcome], took: float, digests: bool) -> int:
    failed = [outcome for outcome in outcomes if outcome.violations]
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total.update(outcome.counts)
        _say(*outcome.trace)
        if digests or len(outcomes) == 1:
            _say(f"{outcome.name}: {outcome.digest}")
    for outcome in [*failed[:_SHOWN_MAX], *failed[_SHOWN_MAX:][-1:]]:
        # The first of each kind.
        kinds = {each.partition(":")[0]: each for each in reversed(outcome.violations)}
        for violation in reversed(kinds.values()):
            _say(f"{outcome.name}: {violation}")
    simulated = sum(outcome.seconds for outcome in outcomes)
    counts = ", ".join(f"{number} {name}" for name, number in total.items())
    what = "seeds" if all(outcome.failing is None for outcome in outcomes) else "runs"
    _say(f"{len(outcomes)} {what} in {took:.1f} s ({simulated / 3600:.1f} h simulated): {counts}")
    _say(f"{len(failed)} {what} with violations" + (f": {[o.again for o in failed][:100]}" if failed else ""))
    if failed:
        _say(f"Again: python -m tests.sim {failed[0].again}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
