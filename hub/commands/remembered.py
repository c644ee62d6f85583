"""The picture of a home that no hub serves: its manifests, and what servers were last known to offer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hub import records
from hub.builtin import definitions
from hub.catalog import Catalog
from hub.commands.picture import Picture, Status
from hub.manifests.manifest import Manifests
from hub.store.reading import PinRow, ServerRow
from hub.upstreams import pins
from hub.upstreams.pins import Held

__all__ = ["held", "picture"]


def picture(
    manifests: Manifests, rows: Sequence[ServerRow], held: Mapping[str, Mapping[str, Held]] | None = None
) -> Picture:
    """What was learnt from a connection that a manifest no longer names does not count.

    Args:
        held: By server, its tools that are kept back.
    """
    learnt = _learnt(manifests, rows)
    offers = [
        replace(
            server.offer(row.version, records.server(row)["capabilities"], records.definitions(row)),
            held={tool: pins.why(name, each) for tool, each in (held or {}).get(name, {}).items()},
        )
        for name, server in manifests.servers.items()
        if (row := learnt.get(name)) is not None
    ]
    offers.append(definitions.everything())
    statuses = {
        name: replace(
            _status(learnt.get(name), server.connect.missing()), held=len((held or {}).get(name, ()))
        )
        for name, server in manifests.servers.items()
    }
    return Picture(manifests, Catalog.build(offers, 0), statuses)


def held(
    manifests: Manifests,
    rows: Sequence[ServerRow],
    pinned_servers: Mapping[str, str],
    pinned: Iterable[PinRow],
    now: int,
) -> dict[str, dict[str, Held]]:
    """By server, its tools that are kept back, where there are any."""
    by_server = pins.by_server(pinned)
    found = {}
    for name, row in _learnt(manifests, rows).items():
        tools, known = records.definitions(row).get("tool", ()), by_server.get(name, {})
        manifest = manifests.servers[name]
        kept = pins.kept_back(manifest, tools, row.instructions, pinned_servers.get(name), known, now)
        kept = pins.concerning(manifest, kept)
        if kept:
            found[name] = kept
    return found


def _learnt(manifests: Manifests, rows: Sequence[ServerRow]) -> dict[str, ServerRow]:
    return {
        row.name: row
        for row in rows
        if row.name in manifests.servers and row.fingerprint == manifests.servers[row.name].fingerprint
    }


def _status(row: ServerRow | None, missing: str | None) -> Status:
    if row is None:
        return Status("unknown", reason=missing)
    known = records.server(row)
    return Status(
        "unknown",
        reason=missing,
        protocol=row.version,
        info=known["info"],
        capabilities=known["capabilities"],
        instructions=row.instructions,
    )
