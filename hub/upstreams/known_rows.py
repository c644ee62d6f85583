"""What a server was learnt to offer, as the store keeps it over a restart."""

from __future__ import annotations

from typing import Final

from connectors.jsonrpc import Budget, encode, parse
from hub.manifests.manifest import ServerManifest
from hub.records import value_of
from hub.store.servers import ServerRow
from hub.upstreams.learn import Known

__all__ = ["known_of", "row_of"]

_BUDGET: Final = Budget(1 << 30, 1 << 30)


def known_of(row: ServerRow) -> Known:
    return Known(
        row.version,
        value_of(row.info),
        value_of(row.capabilities),
        row.instructions,
        # As it was sent, also where that has numbers which Python would spell otherwise.
        {kind: tuple(each) for kind, each in parse(row.definitions.encode(), _BUDGET).items()},
    )


def row_of(manifest: ServerManifest, known: Known, at_ms: int) -> ServerRow:
    return ServerRow(
        manifest.name,
        manifest.fingerprint,
        known.version,
        encode(known.info).decode(),
        encode(known.capabilities).decode(),
        known.instructions,
        encode(known.definitions).decode(),
        at_ms,
    )
