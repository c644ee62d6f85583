"""Keeps the audit chain: signs it now and then, and deletes what is old in a way that it still verifies.

What is chained is in `hub.store.sealing`; that a chain is whole is found out by `hub.audit.chain`.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from hub.audit.chain import Bounds, bounds_of
from hub.audit.settings import Retention
from hub.env import Env
from hub.errors import StoreError
from hub.store import audit
from hub.store.db import Store

if TYPE_CHECKING:
    import sqlite3

__all__ = ["CHECKPOINT_ENTRIES", "CHECKPOINT_SECONDS", "Keeper"]

CHECKPOINT_ENTRIES: Final = 1000
CHECKPOINT_SECONDS: Final = 60.0
"""After so many entries, or so long after one, the chain is signed."""

_LOOK_SECONDS: Final = 1.0
_SWEEP_SECONDS: Final = 3600.0
_PAUSE_SECONDS: Final = 0.02
"""Between two transactions of a deletion: calls go first."""
_STOP_SECONDS: Final = 3.0


class Keeper:
    """Of a running hub's chain."""

    def __init__(
        self,
        store: Store,
        signer: audit.Signer,
        env: Env,
        retention: Retention,
        record_bytes_max: int = 64 * 1024,
    ) -> None:
        """
        Args:
            record_bytes_max: How much is kept of one text: what is longer counts as that much.
        """
        self._store = store
        self._signer = signer
        self._env = env
        self._retention = retention
        self._record_bytes_max = record_bytes_max
        self._payloads_done = 0

    async def start(self) -> None:
        """Sign what the hub left unsigned when it last ended. Raises `StoreError`."""
        await self.checkpoint()

    async def run(self) -> None:
        """Sign and delete, until cancelled."""
        signed, signed_at, swept_at = self._store.committed, self._env.monotonic(), float("-inf")
        while True:
            now = self._env.monotonic()
            with contextlib.suppress(StoreError):  # which the store says, and which ends
                new = self._store.committed - signed
                if new >= CHECKPOINT_ENTRIES or (new and now >= signed_at + CHECKPOINT_SECONDS):
                    # Signing is a change as well, but nothing that needs a signature.
                    signed = self._store.committed + 1
                    signed_at = now
                    await self.checkpoint()
                if now >= swept_at + _SWEEP_SECONDS:
                    swept_at = now
                    await self.sweep()
            await anyio.sleep(_LOOK_SECONDS)

    async def stop(self) -> None:
        """Sign what there is. To be called when nothing else will be recorded."""
        with anyio.move_on_after(_STOP_SECONDS, shield=True), contextlib.suppress(StoreError):
            await self._store.read(audit.head)  # after which all that was recorded is in the chain
            await self.checkpoint()

    async def checkpoint(self) -> None:
        await self._store.write(partial(audit.checkpoint, signer=self._signer, now=self._now()))

    async def sweep(self) -> None:
        """Delete what is older than the settings say, if they do; says so in the chain first."""
        calls, payloads, size = self._retention.calls, self._retention.payloads, self._retention.size
        if calls is None and payloads is None and size is None:
            return
        known = bounds_of(await self._store.read(audit.retentions))
        entries = max(known.entries_through, await self._seq_before(calls))
        old, over = await self._seq_before(payloads), await self._seq_over(size)
        said = max(known.payloads_through, old, over, entries)
        if (entries, said) != (known.entries_through, known.payloads_through):
            await self._store.write(
                partial(_say, known=known, entries_through=entries, payloads_through=said, now=self._now())
            )
        # From the start once after each start: a hub may have ended in the middle.
        while self._payloads_done < said:
            after = max(self._payloads_done, (await self._store.read(audit.bounds))[0] - 1)
            self._payloads_done = await self._store.write(
                partial(audit.delete_payloads, after=after, through=said)
            )
            await anyio.sleep(_PAUSE_SECONDS)
        more = True
        while more:
            more = await self._store.write(partial(audit.delete_calls, through=entries))
            await anyio.sleep(_PAUSE_SECONDS)

    async def _seq_before(self, seconds: float | None) -> int:
        if seconds is None:
            return 0
        moment = self._now() - int(seconds * 1000)
        return await self._store.read(lambda connection: audit.seq_at(connection, moment))

    async def _seq_over(self, size: int | None) -> int:
        """The last entry whose call's payload is too much, if only the newest `size` bytes are kept."""
        if size is None:
            return 0
        return await self._store.read(
            lambda connection: audit.seq_over(connection, size, self._record_bytes_max)
        )

    def _now(self) -> int:
        return int(self._env.now() * 1000)


def _say(
    connection: sqlite3.Connection, known: Bounds, entries_through: int, payloads_through: int, now: int
) -> None:
    """That retention deletes: in the chain, before anything is gone."""
    hash = audit.hash_at(connection, entries_through) or known.hash
    said = {
        "entries_through": entries_through,
        "hash": hash.hex(),
        "payloads_through": payloads_through,
    }
    audit.note(connection, now, "retention", "", said)
