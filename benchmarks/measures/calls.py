"""Calls through each gateway: how long, how many, and the CPU time of each. One gateway at a time."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import gateways, load
from benchmarks.processes import Failed, cpu_seconds
from benchmarks.report import CONCURRENCIES, CPU_AT, Sample, summary
from benchmarks.versions import Era

__all__ = ["DIRECT_OF", "measure"]


@dataclass(frozen=True, slots=True)
class Row:
    era: Era
    start: gateways.Start | None = None
    shared: str | None = None
    """The row whose gateway it uses, where it has none of its own."""
    tool: str = "echo"
    share: float = 1.0
    """Of the calls of other rows: what is slow gets fewer."""


ROWS: Mapping[str, Row] = {
    "direct": Row("modern", shared="echo"),
    "direct, legacy": Row("legacy", shared="echo"),
    "nginx": Row("modern", gateways.nginx),
    "forwarder": Row("modern", gateways.forwarder),
    "hub": Row("modern", gateways.hub),
    "hub, legacy": Row("legacy", shared="hub"),
    "hub, changes": Row("modern", shared="hub", tool="change"),
    "hub, changes, legacy": Row("legacy", shared="hub", tool="change"),
    "envoy, legacy": Row("legacy", gateways.envoy),
    "fastmcp, legacy": Row("legacy", gateways.fastmcp, share=0.05),
}
DIRECT_OF = {
    name: "direct" if row.era == "modern" else "direct, legacy"
    for name, row in ROWS.items()
    if not name.startswith("direct")
}


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    calls: Mapping[int, int]
    """How many, by concurrency."""


FULL = Size(5, {1: 1000, 8: 5000, 64: 5000})
QUICK = Size(1, {1: 200, 8: 800, 64: 800})


async def sample(gateway: gateways.Gateway, target: load.Target, size: Size, share: float) -> Sample:
    timings: dict[int, load.Timing] = {}
    cpu = None
    for concurrency in CONCURRENCIES:
        # A few calls first, so that every connection that this needs stands before the clock runs.
        await load.run(target, concurrency=concurrency, calls=4 * concurrency)
        calls = max(2 * concurrency, int(size.calls[concurrency] * share))
        before = cpu_seconds(gateway.pid)
        timings[concurrency] = await load.run(target, concurrency=concurrency, calls=calls)
        after = cpu_seconds(gateway.pid)
        if concurrency == CPU_AT and before is not None and after is not None:
            cpu = (after - before) / calls * 1000
    return Sample(timings, cpu)


async def measure(folder: Path, quick: bool) -> dict[str, Any]:
    """Start all, then go round them, beginning with another one each time."""
    size = QUICK if quick else FULL
    missing: list[str] = []
    async with AsyncExitStack() as stack:
        echo = await stack.enter_async_context(gateways.echo(folder))
        running = {"echo": echo}
        targets: dict[str, tuple[gateways.Gateway, load.Target]] = {}
        for name, row in ROWS.items():
            try:
                if row.start is not None:
                    running[name] = await stack.enter_async_context(row.start(echo.port, folder))
                gateway = running.get(row.shared or name)
                if gateway is None:
                    raise Failed("not started")
                target = await load.connect(gateway.port, row.era, gateway.headers, tool=row.tool)
                targets[name] = gateway, target
            except (Failed, RuntimeError, OSError) as error:
                missing.append(f"{name}: {error}")
        names = list(targets)
        rounds = []
        for number in range(size.rounds):
            turn = number % len(names)
            order = names[turn:] + names[:turn]
            taken = {name: await sample(*targets[name], size, ROWS[name].share) for name in order}
            rounds.append({name: taken[name] for name in names})
            print(f"    round {number + 1} of {size.rounds}", file=sys.stderr, flush=True)
    return {"rounds": size.rounds, "rows": summary(rounds, DIRECT_OF), "not_measured": missing}
