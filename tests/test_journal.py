"""The journal: a row is safe once it is taken, whatever becomes of the database or the process."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from hub.env import SystemEnv
from hub.store import sessions
from hub.store.calls import PENDING, CallFilter, Calls, Intent
from hub.store.db import Store
from hub.store.journal import HALF_BYTES, Journal
from tests.homes import eventually
from tests.store_room import DONE, SESSION, store_with_session

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with store_with_session(path) as store:
        yield store


def intent(id: str, params: str = "{}", session: str = "s1") -> Intent:
    return Intent(id, session, "me", None, "time", "tools/call", "time__now", "now", params, len(params), 5)


async def states(store: Store) -> dict[str, str]:
    return {row.id: row.state for row in await Calls(store).list(CallFilter(limit=1000))}


async def until_in_trouble(store: Store) -> None:
    """Record calls until there is no room for them."""
    with anyio.fail_after(20):
        while store.trouble is None:
            Calls(store).record(intent(f"more-{SystemEnv().new_id()}", "x" * 60_000), DONE)
            await anyio.sleep(0.01)


async def test_who_reads_sees_all_that_was_recorded(store: Store) -> None:
    calls = Calls(store)
    for number in range(300):
        assert calls.record(intent(f"c{number:03}"), DONE) is None, "nobody waits"
    assert len(await states(store)) == 300


async def test_rows_reach_the_database_without_anybody_asking(store: Store, path: Path) -> None:
    assert Calls(store).record(intent("c1"), DONE) is None
    connection = sqlite3.connect(path)
    with anyio.fail_after(20):
        while not connection.execute("SELECT id FROM calls").fetchall():  # noqa: ASYNC110 - another thread
            await anyio.sleep(0.005)
    connection.close()


def test_rows_come_back_as_they_were_and_in_order(tmp_path: Path) -> None:
    rows = [("a", None, 1, "\u00fc" * n, 2**70) for n in range(100)]
    journal = Journal(tmp_path / "journal")
    assert all(journal.append(row) == 0 for row in rows)
    journal.close()
    again = Journal(tmp_path / "journal")
    assert list(again.rows()) == rows
    again.clear()
    assert list(again.rows()) == []
    again.close()


@pytest.mark.parametrize("torn", [0, 3, 4, 8, 40])
def test_a_torn_row_ends_what_is_read_and_harms_nothing_before_it(tmp_path: Path, torn: int) -> None:
    file = tmp_path / "journal"
    journal = Journal(file)
    journal.append(("first", "x" * 50))
    start = len(file.read_bytes().rstrip(b"\0"))
    journal.append(("second", "y" * 50))
    journal.close()
    data = bytearray(file.read_bytes())
    data[start + torn] ^= 0xFF
    file.write_bytes(data)
    again = Journal(file)
    assert list(again.rows()) == [("first", "x" * 50)]
    again.close()


def test_a_half_is_begun_anew_only_when_all_its_rows_are_written(tmp_path: Path) -> None:
    journal, row = Journal(tmp_path / "journal"), ("x" * (HALF_BYTES // 4),)
    halves = [journal.append(row) for _ in range(6)]
    assert halves == [0, 0, 0, 1, 1, 1]
    assert journal.append(row) is None, "there is no room before some are written"
    for _ in range(3):
        journal.written(0)
    assert journal.append(row) == 0
    assert len(list(journal.rows())) == 4
    journal.close()


async def test_a_row_that_finds_no_room_is_waited_for(store: Store) -> None:
    calls, params = Calls(store), "x" * (HALF_BYTES + 1)
    waits = calls.record(intent("large", params), DONE)
    assert waits is not None
    await waits
    assert await states(store) == {"large": "done"}


async def test_what_a_hub_left_behind_is_taken_up_once_and_never_over_what_is_known(path: Path) -> None:
    async with Store.open(path, SystemEnv()) as store:
        await store.write(partial(sessions.insert, row=SESSION))
        Calls(store).record(intent("known"), DONE)
    journal = Journal(path.with_name("hub.db.journal"))
    assert list(journal.rows()) == [], "an orderly end leaves nothing"
    for row in (
        intent("known") + PENDING,
        intent("open") + PENDING,
        intent("whole") + PENDING,
        intent("whole") + DONE,
        intent("of-nobody", session="none") + DONE,
    ):
        journal.append(row)
    journal.close()
    for _ in range(2):
        async with Store.open(path, SystemEnv()) as store:
            assert await states(store) == {"known": "done", "open": "intended", "whole": "done"}
    async with Store.open(path, SystemEnv(), synchronous="full") as store:
        assert len(await states(store)) == 3


async def test_in_trouble_what_is_under_way_is_kept_and_nothing_new_begins(store: Store, path: Path) -> None:
    calls = Calls(store)
    assert calls.intend(intent("begun")) is None
    await store.write(_fill)
    assert calls.record(intent("begun", "x" * 60_000), DONE._replace(result="y" * 60_000)) is None
    await until_in_trouble(store)
    assert calls.record(intent("answered"), DONE) is None, "an outcome is kept in trouble as well"
    with pytest.raises(Exception, match="the disk is full"):
        calls.intend(intent("new"))
    assert (await states(store))["begun"] == "intended"
    _make_room(path)
    await eventually(lambda: store.trouble is None)  # the rows are there a moment before it says so
    assert (await states(store))["answered"] == "done"
    found = await states(store)
    assert found["begun"] == "done"
    assert "new" not in found


async def test_what_came_of_a_call_in_trouble_is_laid_over_its_intent(store: Store, path: Path) -> None:
    calls = Calls(store)
    await store.write(_fill)
    assert calls.intend(intent("owing")) is None
    await until_in_trouble(store)
    calls.owe(intent("owing"), DONE)  # as when its outcome found no room in the journal
    _make_room(path)
    await eventually(lambda: store.trouble is None)
    with anyio.fail_after(20):
        assert (await states(store))["owing"] == "done"
        calls.owe(intent("late"), DONE)  # who is told of the trouble may hear that after it has passed
        while (await states(store)).get("late") != "done":  # noqa: ASYNC110 - in another thread
            await anyio.sleep(0.02)


async def test_an_outcome_whose_agent_has_gone_is_written_once_that_can_be(path: Path) -> None:
    async with Store.open(path, SystemEnv(), synchronous="full") as store:
        await store.write(partial(sessions.insert, row=SESSION))
        calls = Calls(store)
        begun = calls.intend(intent("begun"))
        assert begun is not None
        await begun
        await store.write(_fill)
        waits = calls.record(intent("begun"), DONE._replace(result="y" * 60_000))
        assert isinstance(waits, asyncio.Future)
        waits.cancel()
        with anyio.fail_after(20):
            while store.trouble is None:  # noqa: ASYNC110 - it begins in another thread
                await anyio.sleep(0.01)
            _make_room(path)
            while (await states(store))["begun"] != "done":  # noqa: ASYNC110 - in another thread
                await anyio.sleep(0.02)


def _fill(connection: sqlite3.Connection) -> None:
    """From now on the disk is full."""
    connection.execute("CREATE TABLE filler (bytes)")
    connection.execute("INSERT INTO filler VALUES (zeroblob(4000000))")
    connection.execute("PRAGMA max_page_count = 1").fetchone()  # SQLite takes what is used by now


def _make_room(path: Path) -> None:
    other = sqlite3.connect(path, timeout=5)
    with other:
        other.execute("DELETE FROM filler")
    other.close()


async def test_without_a_place_for_the_journal_each_row_is_waited_for(path: Path) -> None:
    path.with_name("hub.db.journal").mkdir()
    async with Store.open(path, SystemEnv()) as store:
        await store.write(partial(sessions.insert, row=SESSION))
        waits = Calls(store).record(intent("c1"), DONE)
        assert waits is not None
        await waits
        assert await states(store) == {"c1": "done"}
