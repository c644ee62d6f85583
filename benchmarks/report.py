"""From samples to the table: medians over rounds, and ratios taken within each round."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Timing

__all__ = ["CONCURRENCIES", "CPU_AT", "Sample", "machine", "summary", "table", "text"]

CONCURRENCIES = (1, 8, 64)
CPU_AT = 8
UNIT = "forwarder"


@dataclass(frozen=True, slots=True)
class Sample:
    """One gateway in one round."""

    timings: Mapping[int, Timing]
    """By concurrency."""
    cpu_per_1000: float | None
    """CPU seconds of the gateway's processes for 1,000 calls at `CPU_AT`; `None` where it cannot be read."""


Rounds = Sequence[Mapping[str, Sample]]
"""One mapping a round, by the gateway's name; all have the same names."""


def summary(rounds: Rounds, direct_of: Mapping[str, str]) -> dict[str, Any]:
    """The rows of the table.

    Args:
        direct_of: For each gateway, the name under which its era was measured without one.
    """
    rows: dict[str, Any] = {}
    for name in rounds[0]:
        row: dict[str, Any] = {
            "p50_ms": _median(each[name].timings[1].p50_ms for each in rounds),
            "p99_ms_at": {
                str(c): _median(each[name].timings[c].p99_ms for each in rounds) for c in CONCURRENCIES
            },
            "calls_per_second_at": {
                str(c): _median(each[name].timings[c].calls_per_second for each in rounds)
                for c in CONCURRENCIES
            },
        }
        if name in direct_of:
            row["added_p50_ms"] = _median(_added(each, name, direct_of) for each in rounds)
            row["added_p99_ms"] = _median(_added_p99(each, name, direct_of) for each in rounds)
            row["cpu_seconds_per_1000_calls"] = _median(_cpu(each, name) for each in rounds)
            row["ratio_to_forwarder"] = {
                "added_p50": _median(
                    _over(_added(each, name, direct_of), _added(each, UNIT, direct_of)) for each in rounds
                ),
                "cpu": _median(_over(_cpu(each, name), _cpu(each, UNIT)) for each in rounds),
                "calls_per_second_at": {
                    str(c): _median(
                        each[name].timings[c].calls_per_second / each[UNIT].timings[c].calls_per_second
                        for each in rounds
                    )
                    for c in CONCURRENCIES
                },
            }
        rows[name] = row
    return rows


def _added(each: Mapping[str, Sample], name: str, direct_of: Mapping[str, str]) -> float:
    return each[name].timings[1].p50_ms - each[direct_of[name]].timings[1].p50_ms


def _added_p99(each: Mapping[str, Sample], name: str, direct_of: Mapping[str, str]) -> float:
    return each[name].timings[1].p99_ms - each[direct_of[name]].timings[1].p99_ms


def _cpu(each: Mapping[str, Sample], name: str) -> float | None:
    return each[name].cpu_per_1000


def _over(value: float | None, unit: float | None) -> float | None:
    return value / unit if value is not None and unit else None


def _median(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 4) if known else None


def table(lines: Sequence[Sequence[str]]) -> str:
    """For a terminal, and for Markdown: titles first, the first column to the left."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in cells) + " |"
        for cells in (enumerate(zip(line, widths, strict=True)) for line in (lines[0], rule, *lines[1:]))
    )


def text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def machine() -> dict[str, Any]:
    """What it ran on, without its name."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = named[0] if named else model
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
