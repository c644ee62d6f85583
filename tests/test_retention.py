"""How long each kind is kept, and how much of it, is what hub.yaml says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from hub.audit.chain import verify
from hub.audit.keeper import Keeper
from hub.audit.settings import Retention, retention
from hub.audit.sources import DatabaseSource, database
from hub.env import SystemEnv
from hub.store import audit, memory
from hub.store.calls import CallFilter, Calls
from hub.store.db import Store
from hub.store.lookback import session_calls
from hub.store.memory import MemoryRow
from tests.audit_room import SIGNER, intent, result
from tests.store_room import store_with_session

pytestmark = pytest.mark.anyio

MIB = 1024**2


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with store_with_session(path) as store:
        yield store


def test_each_kind_and_a_size_can_be_written() -> None:
    written = {"calls": "90d", "sessions": "30d", "approvals": "10d", "memory": "1d", "size": "10GiB"}
    assert retention(written) == Retention(
        90 * 86400.0, None, 30 * 86400.0, 10 * 86400.0, 86400.0, 10 * 1024**3
    )


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"sizes": "1GiB"}, "must be a mapping with calls, payloads, sessions, approvals, memory, size"),
        ({"size": "1KiB"}, "size: must be from 1048576 bytes to 1024GiB"),
        ({"size": "30d"}, "size: 'd' is not a unit"),
        ({"memory": "5GiB"}, "memory: 'GiB' is not a unit"),
    ],
)
def test_what_is_none_is_refused_with_how_to_write_it(written: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        retention(written)


async def test_the_oldest_payloads_give_way_where_all_are_more_than_the_size(
    store: Store, tmp_path: Path
) -> None:
    calls = Calls(store)
    for number in range(30):
        each = result(number)._replace(result="x" * 100_000, result_bytes=200_000)
        for waits in (calls.intend(intent(number)), calls.record(intent(number), each)):
            if waits is not None:
                await waits
    await store.read(audit.head)
    keeper = Keeper(store, SIGNER, SystemEnv(), Retention(size=MIB), record_bytes_max=100_000)
    await keeper.checkpoint()
    await keeper.sweep()
    rows = await store.read(lambda db: list(session_calls(db, "s1")))
    kept = [row.id for row in rows if row.result is not None]
    # Ten of 100 kB and a little more fit into 1 MiB.
    assert kept == [f"call{number:06}" for number in range(20, 30)]
    assert len(await calls.list(CallFilter())) == 30
    await keeper.sweep()
    assert [row.id for row in rows if row.result is not None] == kept
    await keeper.checkpoint()
    with database(tmp_path / "hub.db") as connection:
        report = verify(DatabaseSource(connection), key=SIGNER.key)
    assert (report.broken, report.payloads_deleted) == (None, 40)


async def test_memory_that_nobody_has_put_for_so_long_is_forgotten(store: Store) -> None:
    for number in range(3):
        row = MemoryRow("agent", "me", f"key{number}", "1", 5, "me", "s1", "c", number, None)
        await store.write(partial(memory.put, row=row))
    assert await store.write(partial(memory.delete_old, before=2)) == 2
    assert await store.write(partial(memory.delete_old, before=2)) == 0
    assert await store.read(lambda db: memory.get(db, ("agent", "me"), "key2", 5)) is not None
