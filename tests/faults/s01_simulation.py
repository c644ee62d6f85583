"""S1: the whole hub in simulated time, from many seeds, with faults wherever it touches the world."""

from __future__ import annotations

from pathlib import Path

from tests.faults.figures import Figures, Row, Scale
from tests.faults.places import Start
from tests.faults.simulated import simulated

__all__ = ["ROW"]


async def run(start: Start, folder: Path, scale: Scale) -> Figures:
    found, seeds = Figures(), scale(40, 2000)
    ran = await simulated("--seeds", str(seeds))
    found.say(f"{seeds} seeds, {ran.found(r'^[0-9]+ seeds in .*? [(](.*)$').replace(')', '', 1)}")
    found.say(ran.wrong, ran.held)
    await _replayed(found, scale(8, 200))
    return found


async def _replayed(found: Figures, seeds: int) -> None:
    """Each run twice, in processes whose sets are walked in different orders and whose addresses differ."""
    one, other = [
        (await simulated("--seeds", str(seeds), "--digests", "--jobs", jobs, hash_seed=hash_seed)).digests()
        for hash_seed, jobs in ((1, "1"), (2, "2"))
    ]
    same = sum(other.get(seed) == digest for seed, digest in one.items())
    found.say(
        f"{seeds} seeds again in another process, with another PYTHONHASHSEED: the same hash of all that "
        f"happened for {same}",
        same == seeds,
    )


ROW = Row(
    "S1",
    "the hub in simulated time: connections, servers, disk, clock and processes that fail, from seeds",
    "what is said above (I1 to I7 of the plan) holds in each; a seed replays exactly: the same hash of all "
    "that happened",
    run,
)
