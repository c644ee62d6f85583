"""Keeps what servers tell while a call runs and between calls, and what they were sent where the hub filled
something in.

Beside the way of the call: written in groups a moment later, and lost, if the hub is killed, for the last
twentieth of a second. A call of which nothing is kept costs 0.3 us, where it can be told anything at all.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Final

import anyio

from connectors.jsonrpc import encode
from hub.audit.redact import Redactor
from hub.env import Env
from hub.errors import StoreError
from hub.model import Call, Json, Notify
from hub.store.db import Store
from hub.store.parts import PartKind, PartRow, UpdateRow, insert_parts, insert_updates

__all__ = ["Parts"]

OF_A_CALL_MAX: Final = 200
_WAITING_MAX: Final = 10_000
_FLUSH_SECONDS: Final = 0.05


class Parts:
    def __init__(self, store: Store, env: Env, record_bytes_max: int, redactor: Redactor) -> None:
        """
        Args:
            record_bytes_max: How much is kept of all that one call is told.
        """
        self._store = store
        self._env = env
        self._bytes_max = record_bytes_max
        self._redactor = redactor
        self._waiting: list[PartRow] = []
        self._updates: list[UpdateRow] = []
        self._some = anyio.Event()

    def ear(self, call: Call) -> Notify | None:
        """What tells the call's agent, and keeps what it is told; `None` where it cannot be told."""
        return None if call.notify is None else _Ear(self, call, call.notify)

    def sent(self, call: Call, params: Json) -> None:
        """Keep what the server is sent, as it is not what the agent sent."""
        marked = self._redactor.marked(call.entry)
        text = self._redactor.redact(encode(params).decode(), marked)
        if len(text) <= self._bytes_max:
            self.keep(call.id, 0, "sent", call.method, text)
        else:
            self.keep(call.id, 0, "more", call.method, "{}")

    def said(self, params: Json) -> str:
        return self._redactor.redact(encode(params).decode())

    @property
    def bytes_max(self) -> int:
        return self._bytes_max

    def keep(self, call: str, number: int, kind: PartKind, method: str, params: str) -> None:
        if len(self._waiting) < _WAITING_MAX:
            self._waiting.append(PartRow(call, number, int(self._env.now() * 1000), kind, method, params))
            self._some.set()

    def updated(self, session: str, server: str, uri: str) -> None:
        """Keep that a resource was updated which the session watches."""
        if len(self._updates) < _WAITING_MAX:
            at, said = int(self._env.now() * 1000), self._redactor.redact(uri)
            self._updates.append(UpdateRow(session, at, server, said))
            self._some.set()

    async def run(self) -> None:
        """Write, until cancelled."""
        while True:
            await self._some.wait()
            await anyio.sleep(_FLUSH_SECONDS)
            with contextlib.suppress(StoreError):  # which the store says, and which ends
                await self.flush()

    async def flush(self) -> None:
        """Return when all that was kept is committed. Raises `StoreError`."""
        self._some = anyio.Event()
        rows, self._waiting = self._waiting, []
        updates, self._updates = self._updates, []
        if rows:
            await self._store.write(partial(insert_parts, rows=rows))
        if updates:
            await self._store.write(partial(insert_updates, rows=updates))

    def settle(self) -> None:
        """Write what was kept, without waiting: at the end."""
        rows, self._waiting = self._waiting, []
        if rows:
            self._store.post(partial(insert_parts, rows=rows))
        if self._updates:
            self._store.post(partial(insert_updates, rows=self._updates))


class _Ear:
    """Of one call."""

    __slots__ = ("_bytes", "_call", "_notify", "_number", "_parts")

    def __init__(self, parts: Parts, call: Call, notify: Notify) -> None:
        self._parts = parts
        self._call = call
        self._notify = notify
        self._number = 0
        self._bytes = 0

    def __call__(self, method: str, params: Json) -> None:
        if self._number < OF_A_CALL_MAX and self._bytes <= self._parts.bytes_max:
            text = self._parts.said(params)
            self._number += 1  # 0 is what was sent
            self._bytes += len(text)
            fits = self._number < OF_A_CALL_MAX and self._bytes <= self._parts.bytes_max
            self._parts.keep(
                self._call.id, self._number, "notified" if fits else "more", method, text if fits else "{}"
            )
        self._notify(method, params)
