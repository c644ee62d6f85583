"""The store: nothing acknowledged is lost, nothing hangs, and what fails says why and comes back."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from hub.env import SystemEnv
from hub.errors import InvalidParams, StoreBusy, StoreError
from hub.server.errors import fault_of
from hub.store import reading, servers, sessions, tokens
from hub.store.calls import PENDING, CallFilter, Calls, Intent, Outcome, State
from hub.store.db import Store
from hub.store.writer import QUEUE_MAX
from tests.homes import eventually
from tests.store_room import DONE, SESSION, store_with_session

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    """One in which each row is waited for; `test_journal.py` has the other kind."""
    async with store_with_session(path, synchronous="full") as store:
        yield store


def intent(id: str, **others: object) -> Intent:
    row = Intent(
        id, "s1", "me", "t1", "time", "tools/call", "time__now", "now", '{"name":"time__now"}', 20, 5
    )
    return row._replace(**others)  # type: ignore[arg-type]


def recorded(store: Store, intent: Intent, outcome: Outcome = DONE) -> Awaitable[None]:
    waits = Calls(store).record(intent, outcome)
    assert waits is not None
    return waits


async def held(store: Store) -> threading.Event:
    """Keep the writer busy until the event is set, so that what comes meanwhile is one group."""
    busy, release = threading.Event(), threading.Event()

    def wait(connection: sqlite3.Connection) -> None:
        busy.set()
        assert release.wait(10)

    store.post(wait)
    await eventually(busy.is_set)
    return release


async def traced(store: Store) -> list[str]:
    """What SQL the writer runs from now on."""
    said: list[str] = []
    await store.write(lambda connection: connection.set_trace_callback(said.append))
    await store.write(lambda connection: None)
    said.clear()
    return said


def words(said: list[str]) -> list[str]:
    return [each.split()[0] for each in said]


async def test_calls_that_come_together_are_written_and_chained_by_two_statements(store: Store) -> None:
    """Ours: each statement costs several changes of the interpreter's lock."""
    calls, said = Calls(store), await traced(store)
    release = await held(store)
    said.clear()
    waiting = [recorded(store, intent(f"c{number:02}")) for number in range(50)]
    release.set()
    with anyio.fail_after(20):
        for each in waiting:
            await each
    assert words(said) == ["RELEASE", "COMMIT", "BEGIN", "SELECT", "INSERT", "INSERT", "COMMIT"], (
        "the first two end the work that held the writer"
    )
    assert len(await calls.list(CallFilter(limit=100))) == 50


async def test_a_mixed_group_is_one_transaction(store: Store) -> None:
    said = await traced(store)
    release = await held(store)
    said.clear()
    async with anyio.create_task_group() as tasks:
        for number in range(70):
            tasks.start_soon(store.write, partial(servers.forget, name=f"n{number}"))
            tasks.start_soon(partial(_record, store, f"c{number:02}"))
        await anyio.wait_all_tasks_blocked()
        release.set()
    assert words(said).count("BEGIN") == 1
    assert words(said).count("COMMIT") == 2, "that of the work that held the writer, and one for all"


async def _record(store: Store, id: str) -> None:
    await recorded(store, intent(id))


async def test_what_fails_in_a_group_takes_back_only_itself(store: Store) -> None:
    def half(connection: sqlite3.Connection) -> None:
        tokens.add(connection, tokens.NewToken("half", "me", bytes(32), 1))
        raise ValueError("no")

    release = await held(store)
    calls = Calls(store)
    good, bad = recorded(store, intent("good")), recorded(store, intent("bad", session="none"))
    surrogate = recorded(store, intent("surrogate", tool="\ud800"))
    async with anyio.create_task_group() as tasks:

        @tasks.start_soon
        async def fails() -> None:
            with pytest.raises(ValueError, match="no"):
                await store.write(half)

        @tasks.start_soon
        async def stands() -> None:
            await store.write(partial(tokens.add, token=tokens.NewToken("whole", "me", bytes(32), 1)))

        await anyio.wait_all_tasks_blocked()
        release.set()
    await good
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        await bad
    with pytest.raises((TypeError, UnicodeEncodeError)):
        await surrogate
    assert store.trouble is None
    assert [row.id for row in await calls.list(CallFilter())] == ["good"]
    assert [row.id for row in await store.read(tokens.list_tokens)] == ["whole"]


async def test_one_bad_row_in_a_group_of_rows_fails_alone(store: Store) -> None:
    release, calls = await held(store), Calls(store)
    rows = [recorded(store, intent(f"c{n}", session="none" if n == 1 else "s1")) for n in range(3)]
    release.set()
    await rows[0]
    with pytest.raises(StoreError):
        await rows[1]
    await rows[2]
    assert {row.id for row in await calls.list(CallFilter())} == {"c0", "c2"}


async def test_a_queue_that_is_full_refuses_at_once_and_says_when_to_come_again(store: Store) -> None:
    release = await held(store)
    assert not store.crowded()
    waiting = [recorded(store, intent(f"c{number:05}")) for number in range(QUEUE_MAX)]
    assert store.crowded()
    with pytest.raises(StoreBusy) as refused:
        recorded(store, intent("one-more"))
    assert fault_of(refused.value, modern=True).data == {"reason": "store", "retry_after_seconds": 1.0}
    release.set()
    with anyio.fail_after(20):
        for each in waiting:
            await each
    await recorded(store, intent("one-more"))


async def test_what_is_queued_when_the_store_closes_is_written(path: Path) -> None:
    async with Store.open(path, SystemEnv(), synchronous="full") as store:
        await store.write(partial(sessions.insert, row=SESSION))
        for number in range(200):
            recorded(store, intent(f"c{number:03}"))
    with pytest.raises(StoreError, match="stopping"):
        recorded(store, intent("late"))
    connection = reading.open_read_only(path)
    assert len(reading.list_calls(connection, CallFilter(limit=1000))) == 200
    connection.close()


async def test_a_full_disk_refuses_and_service_returns_by_itself(store: Store, path: Path) -> None:
    calls = Calls(store)
    large = DONE._replace(result=json.dumps("x" * 60_000))
    await recorded(store, intent("before"), large)
    # SQLite takes the number of pages that there are by now, if that is more.
    await store.write(lambda connection: connection.execute("PRAGMA max_page_count = 1").fetchone())
    with pytest.raises(StoreError, match="the disk is full"):
        await recorded(store, intent("first-refused"), large)
    assert store.trouble is not None
    with pytest.raises(StoreError, match="the disk is full"):
        recorded(store, intent("while-full"))
    calls.owe(intent("owed"), large)
    store.post(partial(sessions.touch, seen=[(9, "s1")]))
    assert [row.id for row in await calls.list(CallFilter())] == ["before"]
    other = sqlite3.connect(path, timeout=5)
    with other:
        other.execute("DELETE FROM calls")
    other.close()
    await eventually(lambda: store.trouble is None)
    await recorded(store, intent("after"))
    assert {row.id for row in await calls.list(CallFilter())} == {"owed", "after"}


HOLDS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


async def test_a_database_that_another_program_locks_is_refused_in_time(store: Store, path: Path) -> None:
    async with await anyio.open_process([sys.executable, "-c", HOLDS, str(path)], stderr=None) as other:
        try:
            assert other.stdout is not None
            assert other.stdin is not None
            with anyio.fail_after(20):
                await BufferedByteReceiveStream(other.stdout).receive_until(b"\n", 100)
            with anyio.fail_after(20):
                async with anyio.create_task_group() as tasks:

                    @tasks.start_soon
                    async def second_hub() -> None:
                        with pytest.raises(StoreError, match="End the program that has it open"):
                            async with Store.open(path, SystemEnv()):
                                pass

                    async def call(id: str) -> None:
                        with pytest.raises(StoreError, match="another program holds its lock"):
                            await recorded(store, intent(id))

                    for number in range(18):
                        tasks.start_soon(call, f"c{number}")
                        await anyio.sleep(0.1)  # calls come while the first ones wait
            with pytest.raises(StoreError, match="another program holds its lock"):
                await store.write(lambda connection: None)
            assert await store.read(reading.list_tokens) == [], "reading goes on"
            await other.stdin.aclose()
            await eventually(lambda: store.trouble is None)
            await recorded(store, intent("after"))
            assert [row.id for row in await Calls(store).list(CallFilter())] == ["after"]
        finally:
            with contextlib.suppress(ProcessLookupError):
                other.kill()


async def test_a_newer_database_is_refused_and_not_changed(path: Path) -> None:
    async with Store.open(path, SystemEnv()):
        pass
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("INSERT INTO _sqlite_migrations VALUES (999, 'hub', 'm999_future', 'later')")
    connection.close()
    path.chmod(0o640)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer version of the hub .*m999_future.*Use that version"):
        async with Store.open(path, SystemEnv()):
            pass
    with pytest.raises(StoreError, match="newer version"):
        reading.open_read_only(path)
    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_what_is_no_database_of_a_hub_is_refused_with_the_fix(tmp_path: Path) -> None:
    text, foreign, folder = tmp_path / "text", tmp_path / "foreign", tmp_path / "folder"
    text.write_bytes(b"hello, I am a text file, of more than sixteen bytes" * 30)
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    folder.mkdir()
    for path, fix in (
        (text, "not a database. Move it away"),
        (foreign, "another program's database. Move it away"),
        (folder, "it is no file"),
        (tmp_path / "missing" / "hub.db", "No such file or directory. Let the user who runs the hub write"),
    ):
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(StoreError, match=fix):
            async with Store.open(path, SystemEnv()):
                pass
        assert before is None or path.read_bytes() == before
    with pytest.raises(StoreError, match="no hub has run here yet"):
        reading.open_read_only(tmp_path / "none.db")


async def test_the_files_are_for_their_owner_only(store: Store, path: Path) -> None:
    await recorded(store, intent("c1"))
    files = list(path.parent.glob("hub.db*"))
    assert {file.name for file in files} == {"hub.db", "hub.db-wal", "hub.db-shm"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_readers_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError, match="may not be written"):
        await store.read(partial(sessions.close, id="s1", when=1))


async def test_calls_are_listed_newest_first_by_what_is_asked(store: Store) -> None:
    calls = Calls(store)
    states: list[State] = ["done", "failed", "refused", "cancelled", "unknown"]
    for number, state in enumerate(states):
        row = intent(f"c{number}", started=number, server="git" if number == 3 else "time")
        await recorded(store, row, DONE._replace(state=state))
    await recorded(store, intent("c5", started=5, agent="other"), PENDING)

    async def ids(**wanted: object) -> str:
        return " ".join(row.id for row in await calls.list(CallFilter(**wanted)))  # type: ignore[arg-type]

    assert await ids() == "c5 c4 c3 c2 c1 c0"
    assert await ids(limit=2) == "c5 c4"
    assert await ids(limit=0) == "c5"
    assert await ids(before="c4", limit=2) == "c3 c2"
    assert await ids(errors=True) == "c4 c2 c1"
    assert await ids(state="intended") == "c5"
    assert await ids(agent="other") == "c5"
    assert await ids(server="git") == "c3"
    assert await ids(tool="none", session="s1") == ""
    assert await ids(since=4) == "c5 c4"
    assert (await calls.list(CallFilter()))[-1].params is None, "a list has no bodies"


async def test_one_call_is_found_by_the_first_characters_of_its_id(store: Store) -> None:
    calls = Calls(store)
    for id in ("abcdef01", "abcdef012", "abcdefgh"):
        await recorded(store, intent(id))
    found = await calls.get("abcdefg")
    assert found is not None
    assert (found.id, found.result, found.params) == ("abcdefgh", '{"content":[]}', '{"name":"time__now"}')
    exact = await calls.get("abcdef01")
    assert exact is not None
    assert exact.id == "abcdef01"
    assert await calls.get("zzzzzz") is None
    with pytest.raises(InvalidParams, match="More than one"):
        await calls.get("abcdef")
    with pytest.raises(InvalidParams, match="at least the first 6"):
        await calls.get("abc")


async def test_what_servers_said_is_kept_until_they_say_anew(store: Store) -> None:
    row = servers.ServerRow("git", "f1", "2026-07-28", "{}", "{}", None, '{"tool":[]}', 7)
    await store.write(partial(servers.save, row=row))
    await store.write(partial(servers.save, row=row._replace(fingerprint="f2")))
    assert await store.read(servers.list_servers) == [row._replace(fingerprint="f2")]
    await store.write(partial(servers.forget, name="git"))
    assert await store.read(servers.list_servers) == []


def test_reading_and_reopening_import_nothing_heavy(path: Path) -> None:
    """Design 10: read commands answer in 300 ms; sqlite_utils alone costs 0.2 s to import."""
    code = """
import sys, asyncio
from pathlib import Path
import hub.store.reading
"""
    heavy = "{'anyio', 'asyncio', 'sqlite_utils'} & set(sys.modules)"
    light = code.replace(", asyncio", "") + f"assert not {heavy}, {heavy}"
    again = (
        code
        + """
from hub.env import SystemEnv
from hub.store.db import Store
async def main():
    async with Store.open(Path(sys.argv[1]), SystemEnv()) as store:
        print('sqlite_utils' in sys.modules)
asyncio.run(main())
"""
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}

    def run(code: str) -> bytes:
        command = [sys.executable, "-c", code, str(path)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=20, env=environment).stdout

    run(light)
    assert run(again) == b"True\n"
    assert run(again) == b"False\n"
