"""A result of 1 MiB, through the forwarder and through the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import gateways, load
from benchmarks.echo import LARGE_BYTES
from benchmarks.processes import Gateway, cpu_seconds

__all__ = ["measure"]


async def measure(folder: Path, quick: bool) -> dict[str, Any]:
    """Time and CPU of one call, in ms, and both over the forwarder's. Medians of rounds."""
    calls, rounds = (20, 1) if quick else (100, 3)
    taken: dict[str, list[tuple[float, float]]] = {"direct": [], "forwarder": [], "hub": []}
    async with (
        gateways.echo(folder) as echo,
        gateways.forwarder(echo.port, folder) as forwarder,
        # Passed on as it is; where it is not said, the hub keeps it and gives its outline.
        gateways.hub(echo.port, folder, more="results: whole\n") as hub,
    ):
        running = {"direct": echo, "forwarder": forwarder, "hub": hub}
        for _ in range(rounds):
            for name, gateway in running.items():
                taken[name].append(await _taken(gateway, calls))
    figures: dict[str, Any] = {}
    for name, values in taken.items():
        figures[f"{name}_ms"] = round(sorted(ms for ms, _ in values)[rounds // 2], 3)
        figures[f"{name}_cpu_ms"] = round(sorted(cpu for _, cpu in values)[rounds // 2], 3)
    figures["time_ratio"] = round(figures["hub_ms"] / figures["forwarder_ms"], 2)
    if figures["forwarder_cpu_ms"]:
        figures["cpu_ratio"] = round(figures["hub_cpu_ms"] / figures["forwarder_cpu_ms"], 2)
    return figures


async def _taken(gateway: Gateway, calls: int) -> tuple[float, float]:
    expected = "x" * LARGE_BYTES
    target = await load.connect(gateway.port, "modern", gateway.headers, tool="large", expected=expected)
    await load.run(target, concurrency=1, calls=3)
    before = cpu_seconds(gateway.pid) or 0.0
    timing = await load.run(target, concurrency=1, calls=calls)
    return timing.p50_ms, ((cpu_seconds(gateway.pid) or 0.0) - before) / calls * 1000
