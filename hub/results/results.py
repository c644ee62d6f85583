"""Results that do not fit a context window: kept for whoever got them, and read a place at a time.

A result belongs to the agent that got it. To anybody else, and to a token of the same agent that is good
for less than the one it was got with, it does not exist: the same sentence as for one that never was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from connectors.jsonrpc import Budget, encode, parse
from hub.env import Env
from hub.errors import NoThread, StoreError
from hub.model import Agent, Call, Json, Result
from hub.results.document import Document, NoSuchPlace, TooLong
from hub.results.handle import Long, prepared, short
from hub.results.outline import from_json, to_json
from hub.results.settings import ResultSettings
from hub.sessions import reach_of
from hub.store import results as table
from hub.store import shares
from hub.store.results import PART_LENGTH, ResultRow, Use
from hub.threads import in_thread

if TYPE_CHECKING:
    import sqlite3

    from hub.store.db import Store

__all__ = ["FILLED_BYTES_MAX", "Filled", "Results", "Unreadable"]

T = TypeVar("T")

FILLED_BYTES_MAX: Final = 16 * 1024**2
"""How much may be filled into one call."""

_PREPARED_AT_ONCE: Final = 2
"""Each takes a few times its own size."""
_READ_AT_ONCE: Final = 2
"""A search goes through all of a text: the store's other readers are for those who ask for little."""
_PARTS_A_TIME: Final = 16
_SWEEP_SECONDS: Final = 3600.0
_SWEPT_AT_ONCE: Final = 20
_PAUSE_SECONDS: Final = 0.02
_LENGTH_MAX: Final = 100
_BUDGET: Final = Budget(1 << 20, 1 << 20)


class Unreadable(Exception):
    """There is no such result for whoever asks, or no such place in it: `str()` is for the model."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A value out of a result, to be filled into a call."""

    value: Any
    result: str
    labels: tuple[str, ...]
    size_bytes: int
    """As JSON, as is the digest."""
    digest: bytes

    def use(self, call: str, pointer: str, place: str) -> Use:
        """What the record says of it.

        Args:
            place: Where in the call's arguments.
        """
        labels = encode(self.labels).decode()
        return Use(call, self.result, pointer, place, self.size_bytes, self.digest, labels)


class Results:
    def __init__(
        self,
        store: Store,
        env: Env,
        settings: ResultSettings,
    ) -> None:
        self._store = store
        self._env = env
        self._settings = settings
        self._preparing = anyio.CapacityLimiter(_PREPARED_AT_ONCE)
        self._reading = anyio.CapacityLimiter(_READ_AT_ONCE)

    async def start(self) -> None:
        """Forget what was not written to its end when the hub last ended. Raises `StoreError`."""
        await self._store.write(table.delete_unfinished)

    async def run(self) -> None:
        """Delete what is older than it may get, until cancelled."""
        while True:
            try:
                more = await self.sweep() == _SWEPT_AT_ONCE
            except StoreError:
                more = False  # The store says why, and it is tried again.
            await anyio.sleep(_PAUSE_SECONDS if more else _SWEEP_SECONDS)

    async def sweep(self) -> int:
        """Delete some of what is too old; how many that were. Raises `StoreError`."""
        until = int((self._env.now() - self._settings.keep_seconds) * 1000)
        return await self._store.write(partial(table.delete_until, moment=until, most=_SWEPT_AT_ONCE))

    async def keep(self, call: Call, result: Result, count: int, limit: int) -> Result:
        """Keep a long result; what its agent gets instead.

        Args:
            count: Its tokens.
            limit: How many there may be.

        Raises:
            StoreError: it cannot be kept.
        """
        assert call.entry is not None
        schema = call.entry.definition.get("outputSchema") if call.entry.kind == "tool" else None
        schema = schema if isinstance(schema, dict) and result.get("isError") is not True else None
        try:
            long = await in_thread(prepared, result, schema, limiter=self._preparing)
        except NoThread:
            # The call has been made: rather others wait than that its answer is lost.
            long = prepared(result, schema)
        id = await self._write(call, long)
        return short(result, long, id, count, limit)

    async def _write(self, call: Call, long: Long) -> str:
        assert call.entry is not None
        uses = await self._store.read(partial(table.uses_of, call=call.id))
        labels = labels_of(call).union(*(parse(use.labels.encode(), _BUDGET) for use in uses))
        row = ResultRow(
            self._env.new_id(),
            call.agent.name,
            reach_of(call.agent),
            call.session,
            call.id,
            call.entry.server,
            call.entry.own,
            call.entry.name,
            encode(sorted(labels)).decode(),
            int(self._env.now() * 1000),
            len(long.text),
            long.size_bytes,
            long.digest,
            to_json(long.outline),
        )
        known = await self._store.write(partial(table.same, like=row))
        if known is not None:
            return known.id
        try:
            await self._store.write(partial(table.begin, row=row))
            step = PART_LENGTH * _PARTS_A_TIME
            for start in range(0, len(long.text), step):
                parts = [
                    (at, long.text[at : at + PART_LENGTH])
                    for at in range(start, min(start + step, len(long.text)), PART_LENGTH)
                ]
                await self._store.write(partial(table.add_parts, id=row.id, parts=parts))
            await self._store.write(partial(table.finish, id=row.id, bytes_max=self._settings.size_bytes))
        except BaseException:
            # The database is in trouble, or nobody waits for it any longer.
            self._store.post(partial(table.delete, id=row.id))
            raise
        return row.id

    async def find(self, agent: Agent, id: str) -> ResultRow:
        """
        Raises:
            Unreadable: there is none that `agent` may read.
            StoreError: the record cannot be read.
        """
        row = None
        if 0 < len(id) <= _LENGTH_MAX:
            row = await self._store.read(partial(table.get_result, id=id))
        if row is None or not await self._may_read(agent, row):
            raise Unreadable(
                f"There is no result {id[:_LENGTH_MAX]!r} that you may read. Results are kept for a time, "
                "for the agent that got them: call the tool again, or use the id of a newer result."
            )
        return row

    async def _may_read(self, agent: Agent, row: ResultRow) -> bool:
        if row.agent == agent.name and reach_of(agent) in ("", row.reach):
            return True
        reader = agent.name if reach_of(agent) == "" else ""
        return bool(await self._store.read(partial(shares.shared_results, reader=reader, ids=[row.id])))

    async def read(self, row: ResultRow, work: Callable[[Document], T]) -> T:
        """Do `work` on what it says, in a thread.

        Raises:
            Unreadable: there is no such place.
            TooLong, StoreError.
        """

        def do(connection: sqlite3.Connection) -> T:
            fetch = partial(table.text, connection, row.id)
            return work(Document(from_json(row.outline), row.length, fetch))

        try:
            async with self._reading:
                return await self._store.read(do)
        except NoSuchPlace as error:
            raise Unreadable(str(error)) from None

    async def whole(self, row: ResultRow) -> str:
        """All of it. Raises `StoreError`."""
        async with self._reading:
            return await self._store.read(partial(table.text, id=row.id, start=0, end=row.length))

    async def value(self, agent: Agent, id: str, pointer: str, bytes_max: int) -> Filled:
        """What lies at a place of a result, to be given to a tool.

        Raises:
            Unreadable: there is nothing that `agent` may read, or it is too much.
            StoreError: the record cannot be read.
        """
        row = await self.find(agent, id)

        def look(document: Document) -> Filled:
            _, place = document.find(pointer)
            value = document.value(place, bytes_max)
            data = encode(value)
            if len(data) > bytes_max:
                raise TooLong
            return Filled(value, id, tuple(labels), len(data), hashlib.sha256(data).digest())

        labels = parse(row.labels.encode(), _BUDGET)
        try:
            return await self.read(row, look)
        except TooLong:
            raise Unreadable(
                f"What is at {pointer!r} of result {id} is more than can be filled into one call, "
                f"{FILLED_BYTES_MAX} bytes in all: point at a part of it."
            ) from None

    async def note(self, uses: Iterable[Use]) -> None:
        """Say in the record what goes out with a call. Raises `StoreError`: it cannot be said."""
        now = int(self._env.now() * 1000)
        await self._store.write(partial(table.note_uses, at=now, uses=list(uses)))


def labels_of(call: Call) -> set[str]:
    """What whatever comes from here is called, for rules about where data may go."""
    assert call.entry is not None
    return {f"server:{call.entry.server}", *(f"tag:{tag}" for tag in call.entry.tags)}


def shown(row: ResultRow) -> Json:
    """As people and scripts get it."""
    return {
        "id": row.id,
        "agent": row.agent,
        "session": row.session,
        "call": row.call,
        "tool": row.name,
        "server": row.server,
        "labels": parse(row.labels.encode(), _BUDGET),
        "created": row.created,
        "bytes": row.size_bytes,
    }
