"""What is to be reached, and what was: one row a mark, from the figures of a run. Missed ones say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.report import text

__all__ = ["Row", "marks"]

Results = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """Attributes:
    holds: `None` where there is no mark, or nothing to hold it against.
    """

    measure: str
    mark: str
    measured: str
    holds: bool | None


Make = Callable[[Results], list[Row]]


def marks(results: Results) -> list[Row]:
    """Of what was measured; the rest is left out."""
    rows: list[Row] = []
    for name, make in _MAKERS.items():
        figures = results.get(name)
        if figures:
            try:
                rows += make(figures)
            except KeyError:  # A gateway that could not be had: `not_measured` says which.
                continue
    return rows


def _within(value: float | None, most: float | None) -> bool | None:
    return None if value is None or most is None else value <= most


def _calls(figures: Results) -> list[Row]:
    rows = figures["rows"]
    envoy, unit = rows.get("envoy, legacy", {}), rows["forwarder"]
    found: list[Row] = []
    for percent in ("p50", "p99"):
        key = f"added_{percent}_ms"
        most = [2 * unit[key], *([envoy[key]] if key in envoy else [])]
        values = [rows["hub"][key], rows["hub, legacy"][key]]
        found.append(
            Row(
                f"added {percent} at 1, ms (2026, 2025)",
                f"<= Envoy's {text(envoy.get(key), 2)}, <= 2x {text(unit[key], 2)}",
                " / ".join(text(value, 2) for value in values),
                max(values) <= min(most),
            )
        )
    for at in ("8", "64"):
        least = envoy.get("calls_per_second_at", {}).get(at)
        values = [rows[name]["calls_per_second_at"][at] for name in ("hub", "hub, legacy")]
        found.append(
            Row(
                f"calls/s at {at} (2026, 2025)",
                f">= Envoy's {text(least, 0)}",
                " / ".join(text(value, 0) for value in values),
                None if least is None else min(values) >= least,
            )
        )
    cpu = [rows[name]["cpu_seconds_per_1000_calls"] for name in ("hub", "hub, legacy")]
    ratios = [rows[name]["ratio_to_forwarder"]["cpu"] for name in ("hub", "hub, legacy")]
    found.append(_row("CPU s/1,000 calls at 8 (2026, 2025)", "<= 0.09", cpu, 3, 0.09))
    found.append(_row("the same, over the forwarder's", "<= 1.8x", ratios, 2, 1.8, "x"))
    for measure, key, at in (("CPU", "cpu", "8"), ("time at 8", "time", "8"), ("time at 64", "time", "64")):
        values = [_over(rows[f"hub, changes{era}"], rows[f"hub{era}"], key, at) for era in ("", ", legacy")]
        found.append(
            _row(
                f"may change something: {measure}, over read-only (2026, 2025)",
                "<= 1.5x",
                values,
                2,
                1.5,
                "x",
            )
        )
    return found


def _over(changes: Results, reads: Results, key: str, at: str) -> float | None:
    if key == "time":
        return float(reads["calls_per_second_at"][at] / changes["calls_per_second_at"][at])
    one, other = changes["cpu_seconds_per_1000_calls"], reads["cpu_seconds_per_1000_calls"]
    return one / other if one and other else None


def _row(
    measure: str, mark: str, values: list[float | None], digits: int, most: float | None, unit: str = ""
) -> Row:
    known = [value for value in values if value is not None]
    shown = " / ".join(text(value, digits) + (unit if value is not None else "") for value in values)
    return Row(measure, mark, shown, _within(max(known), most) if known else None)


def _upstream(figures: Results) -> list[Row]:
    calls = [figures[f"per_call_{era}"] for era in ("modern", "legacy")]
    lists = [figures[f"per_list_{era}"] for era in ("modern", "legacy")]
    return [
        Row(
            "requests upstream, a call (2026, 2025)",
            "1",
            " / ".join(f"{n:g}" for n in calls),
            set(calls) == {1},
        ),
        Row(
            "requests upstream, a list (2026, 2025)",
            "0",
            " / ".join(f"{n:g}" for n in lists),
            set(lists) == {0},
        ),
    ]


def _lists(figures: Results) -> list[Row]:
    measured = figures["figures"]
    other = "nginx" if "nginx" in measured else "uvicorn"
    rows = []
    for size, hub in measured["hub"].items():
        cpu, same = hub["cpu_ms"], measured[other][size]["cpu_ms"]
        legacy, envoy = (
            measured["hub, legacy"][size]["cpu_ms"],
            measured.get("envoy, legacy", {}).get(size, {}),
        )
        ratio = cpu / same if cpu and same else None
        beside = f"; {other} {text(same, 2)}, Envoy {text(envoy.get('cpu_ms'), 1)}"
        rows.append(
            Row(
                f"list of {int(size):,} tools of 100 servers, {text(hub['bytes'] / 1024, 0)} KiB: CPU ms",
                "<= 1.2x nginx" if other == "nginx" else "<= 1.2x nginx, which is not here",
                f"{text(ratio, 1)}x: {text(cpu, 2)} (2025: {text(legacy, 2)}){beside}",
                _within(ratio, 1.2) if other == "nginx" else None,
            )
        )
    return rows


def _memory(figures: Results) -> list[Row]:
    if "idle_mib" not in figures:
        return []

    def one(measure: str, mark: str, key: str, most: float | None, digits: int = 1) -> Row:
        return _row(measure, mark, [figures[key]], digits, most)

    return [
        one("memory of an agent, 2025, beyond its socket: KiB", "<= 16", "legacy_kib", 16),
        # What the allocator keeps moves by less than this from run to run.
        one("memory of an agent, 2026, beyond its socket: KiB", "0", "modern_kib", 0.5),
        one("memory of an idle connection: KiB", "-", "socket_kib", None),
        one("memory of a session with an open GET stream and its socket: KiB", "-", "stream_kib", None),
        one("RSS idle, MiB", "<= 70", "idle_mib", 70, 0),
        one("RSS with 100 HTTP servers and 1,000 tools, MiB", "<= 85", "servers_mib", 85, 0),
    ]


def _start(figures: Results) -> list[Row]:
    return [
        _row("start to first answered call, s", "<= 0.6", [figures["seconds_1"]], 2, 0.6),
        _row("the same with 100 servers, s", "-", [figures["seconds_100"]], 2, None),
    ]


def _large(figures: Results) -> list[Row]:
    ratios = [figures["time_ratio"], figures.get("cpu_ratio")]
    return [_row("1 MiB result, over the forwarder (time, CPU)", "<= 1.2x", ratios, 2, 1.2, "x")]


def _stdio(figures: Results) -> list[Row]:
    front = [figures["front_bridge_cpu_us"], figures["front_hub_cpu_us"]]
    return [
        _row("stdio server behind: CPU us a call in the hub", "<= 60", [figures["behind_cpu_us"]], 0, 60),
        _row("agent on stdio in front: CPU us a call (bridge, hub)", "-", front, 0, None),
    ]


def _hung(figures: Results) -> list[Row]:
    return [
        _row("p99 of calls beside 32 that hang, over without", "<= 1.2x", [figures["ratio"]], 2, 1.2, "x")
    ]


def _instructions(figures: Results) -> list[Row]:
    if "ratio" not in figures:
        return []
    shown = f"{text(figures['hub_thousands'], 0)}k / {text(figures['forwarder_thousands'], 0)}k"
    return [Row("instructions a call (hub, forwarder)", "-", f"{shown} = {figures['ratio']:.2f}x", None)]


_MAKERS: Mapping[str, Make] = {
    "calls": _calls,
    "upstream": _upstream,
    "lists": _lists,
    "memory": _memory,
    "start": _start,
    "large": _large,
    "stdio": _stdio,
    "hung": _hung,
    "instructions": _instructions,
}
