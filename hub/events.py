"""What happens in a hub, live: the audit's chain, read on as it grows.

Nothing is queued: who listens has a number, and reads what stands behind it when it is ready for more. So
nothing is lost while it is slow, away or the hub restarts; only who is far behind, or asks for what retention
has deleted, is told of a gap. Where nobody listens it costs nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio

from hub import records
from hub.model import Json
from hub.store import audit
from hub.store.events import EventRow, events_after
from hub.store.sealing import CALL

if TYPE_CHECKING:
    from hub.store.db import Store

__all__ = ["BEHIND_MAX", "Event", "Events", "Wanted"]

BEHIND_MAX: Final = 10_000
"""Who is so many entries behind is told of a gap, and goes on with the newest `_CAUGHT_UP`."""
_CAUGHT_UP: Final = 1_000
_AT_ONCE: Final = 200
_BEAT_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.02
"""Between two looks: a busy hub commits a hundred times a second."""
_WRONG: Final = ("call.failed", "call.refused", "call.unknown")


class Event(NamedTuple):
    id: int
    name: str
    """`call.intended`, `call.done`, `token.revoked`, ...; `gap`."""
    said: Json


class Wanted(NamedTuple):
    """Which events; what is left out does not restrict."""

    agent: str | None = None
    session: str | None = None
    errors: bool = False
    """Only calls that did not go well."""

    def covers(self, row: EventRow) -> bool:
        return (
            (self.agent is None or self.agent == row.agent)
            and (self.session is None or self.session == row.session)
            and (not self.errors or row.kind in _WRONG)
        )


class Events:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._moved = anyio.Event()
        self._listeners = 0
        self._stop_hearing = _nothing
        self._closed = False

    def close(self) -> None:
        """End what listens: the hub ends."""
        self._closed = True
        self._moved.set()

    async def newest(self) -> int:
        """The number of the last one there is. Raises `StoreError`."""
        return (await self._store.read(audit.bounds))[1]

    async def follow(self, after: int, wanted: Wanted) -> AsyncGenerator[Event | None, None]:
        """Events as they come, until the hub ends; `None` now and then, where none comes.

        Args:
            after: The number of the last one that is known.

        Raises:
            StoreError: the record cannot be read.
        """
        self._hear()
        seq = after
        try:
            while not self._closed:
                moved = self._moved
                first, last = await self._store.read(audit.bounds)
                if seq > last:  # of another record
                    yield _gap(last, None)
                    seq = last
                start = max(seq, first - 1, last - _CAUGHT_UP if last - seq > BEHIND_MAX else 0)
                if start > seq:
                    yield _gap(start, start - seq)
                    seq = start
                rows = await self._store.read(partial(events_after, seq=seq, limit=_AT_ONCE))
                for row in rows:
                    seq = row.seq
                    if wanted.covers(row):
                        yield _event(row)
                if not rows:
                    with anyio.move_on_after(_BEAT_SECONDS) as silence:
                        await moved.wait()
                        await anyio.sleep(_PAUSE_SECONDS)
                    if silence.cancelled_caught:
                        yield None
        finally:
            self._hear_no_more()

    def _hear(self) -> None:
        self._listeners += 1
        if self._listeners == 1:
            self._stop_hearing = self._store.on_commit(self._stir)

    def _hear_no_more(self) -> None:
        self._listeners -= 1
        if self._listeners == 0:
            self._stop_hearing()

    def _stir(self) -> None:
        if not self._closed:
            moved, self._moved = self._moved, anyio.Event()
            moved.set()


def _nothing() -> None:
    pass


def _gap(until: int, missed: int | None) -> Event:
    """Of what is not told, up to an entry; how much that is, where it is known."""
    return Event(until, "gap", {"missed": missed, "through": until})


def _event(row: EventRow) -> Event:
    said: Json = {"at": records.moment(row.at), "subject": row.subject}
    if row.call is not None:
        call = records.calls([row.call])[0]
        if row.kind == f"{CALL}intended":
            # By now more may be known of it: that is told later.
            call |= {"state": "intended", "kind": None, "reason": None, "duration_ms": None}
        return Event(row.seq, row.kind, {**said, **call})
    more = records.value_of(row.body)
    said |= {"agent": row.agent, "session": row.session}
    return Event(row.seq, row.kind, {**said, **more} if isinstance(more, dict) else said)
