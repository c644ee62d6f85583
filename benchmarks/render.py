"""The tables of a run: for a terminal, and between the marks of README.md and benchmarks/README.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.marks import marks
from benchmarks.report import CONCURRENCIES, table, text

__all__ = ["DOCUMENTS", "PARTS", "missing", "rendered"]

DOCUMENTS = (Path(__file__).parent.parent / "README.md", Path(__file__).with_name("README.md"))

_measured = re.compile(r"(<!-- measured: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rendered(document: str, results: Mapping[str, Any]) -> str:
    """`document` with its measured parts as `results` has them."""
    return _measured.sub(lambda part: f"{part[1]}{PARTS[part[2]](results)}\n{part[3]}", document)


def _gateways(results: Mapping[str, Any]) -> str:
    lists = results.get("lists", {}).get("figures", {})
    lines = [["", "added p50 ms", "added p99 ms", *(f"calls/s at {c}" for c in CONCURRENCIES), "CPU s/1,000",
              "CPU ×", "5,000 tools, CPU ms"]]  # fmt: skip
    for name, row in results["calls"]["rows"].items():
        most = lists.get({"forwarder": "uvicorn"}.get(name, name), {}).get("5000", {})
        lines.append([
            name,
            text(row.get("added_p50_ms"), 3),
            text(row.get("added_p99_ms"), 3),
            *(text(row["calls_per_second_at"][str(c)], 0) for c in CONCURRENCIES),
            text(row.get("cpu_seconds_per_1000_calls"), 3),
            text(row.get("ratio_to_forwarder", {}).get("cpu"), 2),
            text(most.get("cpu_ms"), 2),
        ])  # fmt: skip
    return table(lines)


def _marks(results: Mapping[str, Any]) -> str:
    words = {True: "yes", False: "no", None: "-"}
    lines = [["", "mark", "measured", "holds"]]
    lines += [[row.measure, row.mark, row.measured, words[row.holds]] for row in marks(results)]
    return table(lines)


def _machine(results: Mapping[str, Any]) -> str:
    on, versions = results["machine"], results["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [f"{on['processor']}, {on['cores']} cores, {on['system']}, Python {on['python']}; {named}."]
    return "\n".join([*lines, *(f"Not measured: {each}." for each in missing(results))])


def missing(results: Mapping[str, Any]) -> list[str]:
    """What could not be measured, and why; each once."""
    said = [
        each for part in results.values() if isinstance(part, dict) for each in part.get("not_measured", ())
    ]
    return list(dict.fromkeys([*said, *results.get("failed", ())]))


PARTS = {"gateways": _gateways, "marks": _marks, "machine": _machine}
