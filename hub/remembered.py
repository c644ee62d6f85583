"""The picture of a home that no hub serves: its manifests, and what servers were last known to offer."""

from __future__ import annotations

from collections.abc import Sequence

from hub import records
from hub.builtin import definitions
from hub.catalog import Catalog
from hub.manifest import Manifests
from hub.picture import Picture, Status
from hub.store.reading import ServerRow

__all__ = ["picture"]


def picture(manifests: Manifests, rows: Sequence[ServerRow]) -> Picture:
    """What was learnt from a connection that a manifest no longer names does not count."""
    learnt = {
        row.name: row
        for row in rows
        if row.name in manifests.servers and row.fingerprint == manifests.servers[row.name].fingerprint
    }
    offers = [
        server.offer(row.version, records.server(row)["capabilities"], records.definitions(row))
        for name, server in manifests.servers.items()
        if (row := learnt.get(name)) is not None
    ]
    offers.append(definitions.everything())
    statuses = {
        name: _status(learnt.get(name), server.connect.missing())
        for name, server in manifests.servers.items()
    }
    return Picture(manifests, Catalog.build(offers, 0), statuses)


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
