"""Meters: what was used of limits, in memory, and ahead of that in the store.

A count in a calendar period must outlive the hub, however it ends, and a write for each call would be
dear. So the store is told ahead: it holds more than was used, by a batch, and what is used never
exceeds what the store holds. After kill -9 the rest of the batch counts as used: never more is allowed
than the limit says, at worst 2 % fewer (at least one, at most a hundred calls). An orderly end writes
the exact numbers. Rates and what is under way are not kept: they pass within a minute.

One event loop uses it, and nothing waits between the look and the taking, so counts are exact however
many calls come at once.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from hub.allowances import Measure, window
from hub.env import Env
from hub.errors import StoreError
from hub.store import usage
from hub.store.usage import UsageRow

if TYPE_CHECKING:
    from hub.store.db import Store

__all__ = ["Count", "Meter", "Meters", "batch"]

_PARTS: Final = 50
"""Of how many batches a limit consists."""
_BATCH_CALLS_MAX: Final = 100
_METERS_MAX: Final = 10_000
_SLIDING_SECONDS_MAX: Final = 60.0
"""The longest period of a rate."""


def batch(measure: Measure, most: int) -> int:
    """How far the store is told ahead."""
    part = max(1, most // _PARTS)
    return min(part, _BATCH_CALLS_MAX) if measure == "calls" else part


class Count:
    """What was used of one measure in the period that runs."""

    __slots__ = ("demand", "held", "measure", "meter", "period", "start", "until", "used")

    def __init__(self, meter: str, measure: Measure, period: float, now: float) -> None:
        self.meter = meter
        self.measure = measure
        self.period = period
        self.used = 0
        self.held = 0
        """What the store holds: at least `used`."""
        self.demand = 0
        """What calls wait for that cannot be taken before the store holds it."""
        self.start, self.until = window(period, now)

    def turn(self, now: float) -> None:
        """Begin the period that `now` is in. A clock that goes back gives nothing again."""
        self.start, self.until = window(self.period, now)
        self.used = self.held = 0

    def ahead(self, most: int) -> int:
        """What the store should hold, where `most` may be used."""
        return max(self.used, min(most, self.used + self.demand + batch(self.measure, most)))

    def row(self, used: int) -> UsageRow:
        start, until = int(self.start * 1000), int(self.until * 1000)
        return UsageRow(self.meter, self.measure, int(self.period), start, until, used)


class Meter:
    """All that is counted for one agent, rule or server."""

    __slots__ = ("counts", "moments", "name", "under_way")

    def __init__(self, name: str) -> None:
        self.name = name
        self.under_way = 0
        self.moments: deque[float] = deque()
        """When calls were let through (monotonic), the oldest first: as many as the rate needs."""
        self.counts: dict[tuple[Measure, float], Count] = {}

    def over(self, now: float, moment: float) -> bool:
        """Whether nothing would be lost with it."""
        if self.under_way or (self.moments and self.moments[-1] > moment - _SLIDING_SECONDS_MAX):
            return False
        return all(count.until <= now and not count.demand for count in self.counts.values())


class _Write:
    """One that is to come, for whoever waits for it."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.failure: StoreError | None = None


class Meters:
    def __init__(self, store: Store, env: Env) -> None:
        self._store = store
        self._env = env
        self._meters: dict[str, Meter] = {}
        self._short: dict[Count, int] = {}
        """Which counts the store should hold more of, and the limit of each."""
        self._bell = anyio.Event()
        self._next = _Write()
        self._settled = 0
        """How often exact numbers were written."""

    async def load(self) -> None:
        """Take up what the store holds. Raises `StoreError`."""
        now = self._env.now()
        for row in await self._store.read(partial(usage.current, now=int(now * 1000))):
            measure: Measure = row.measure  # type: ignore[assignment]
            count = self.count(self.meter(row.meter), measure, float(row.period))
            count.start, count.until = row.start / 1000, row.until / 1000
            count.used = count.held = row.used

    async def run(self) -> None:
        """Write ahead what is asked for, until cancelled."""
        while True:
            await self._bell.wait()
            self._bell = anyio.Event()
            short, self._short = self._short, {}
            write, self._next = self._next, _Write()
            rows = [count.row(count.ahead(most)) for count, most in short.items()]
            settled = self._settled
            try:
                await self._store.write(partial(usage.save, rows=rows))
            except StoreError as error:
                write.failure = error
            else:
                for count, row in zip(short, rows, strict=True):
                    if row.start == int(count.start * 1000) and settled == self._settled:
                        count.held = max(count.held, row.used)
            write.done.set()

    def meter(self, name: str) -> Meter:
        meter = self._meters.get(name)
        if meter is None:
            meter = self._meters[name] = Meter(name)
        return meter

    @property
    def many(self) -> bool:
        """Whether there are more than agents and rules explain: `drop` those that count nothing."""
        return len(self._meters) >= _METERS_MAX

    def drop(self) -> None:
        """Forget what counts nothing now. Whoever keeps a `Meter` lets go of it unless a call runs."""
        now, moment = self._env.now(), self._env.monotonic()
        self._meters = {name: meter for name, meter in self._meters.items() if not meter.over(now, moment)}

    def count(self, meter: Meter, measure: Measure, period: float) -> Count:
        count = meter.counts.get((measure, period))
        if count is None:
            count = Count(meter.name, measure, period, self._env.now())
            meter.counts[measure, period] = count
        return count

    def used(self, meter: str, measure: Measure, period: float) -> int:
        """What was used in the period that runs."""
        known = self._meters.get(meter)
        count = known.counts.get((measure, period)) if known is not None else None
        return count.used if count is not None and count.until > self._env.now() else 0

    def want(self, count: Count, most: int) -> None:
        """Have the store hold more, soon. Waits for nothing."""
        self._short[count] = most
        self._bell.set()

    async def held(self, wanted: list[tuple[Count, int, int]]) -> None:
        """Wait until the store has been told: `(count, limit, how much a call is about to use)` each.

        Look again then: others may have been faster.

        Raises:
            StoreError: it cannot be told.
        """
        write = self._next
        for count, most, amount in wanted:
            count.demand += amount
            self.want(count, most)
        try:
            await write.done.wait()
        finally:
            for count, _, amount in wanted:
                count.demand -= amount
        if write.failure is not None:
            raise StoreError(str(write.failure)) from write.failure

    def settle(self) -> None:
        """Write the exact numbers, before an orderly end. What is used after that is written ahead anew."""
        self._settled += 1
        counts = [count for meter in self._meters.values() for count in meter.counts.values()]
        rows = [count.row(count.used) for count in counts if count.held != count.used]
        for count in counts:
            count.held = count.used
        now = int(self._env.now() * 1000)
        self._store.post(partial(usage.settle, rows=rows, now=now))
