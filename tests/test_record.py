"""Every call leaves its row, with what became of it; what may change something leaves one before."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio
import pytest

from connectors.base import RemoteError
from hub.env import SystemEnv
from hub.errors import NotFound, StoreError, UpstreamDown, UpstreamTimeout
from hub.middleware.record import Record
from hub.model import Agent, Call, Entry, Handler, Json, Result
from hub.policy import Grants
from hub.store import sessions
from hub.store.calls import CallFilter, CallRow, Calls
from hub.store.db import Store
from tests.store_room import SESSION, store_with_session

pytestmark = pytest.mark.anyio

BYTES_MAX = 400
READ = Entry("tool", "time", "now", "time__now", "time__now", {}, reads_only=True)
CHANGE = Entry("tool", "git", "git_commit", "git__git_commit", "git__git_commit", {})
ENTRIES = {"change": CHANGE, "read": READ, "none": None}
OK: Result = {"content": [{"type": "text", "text": "11:30"}]}


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    async with store_with_session(path) as store:
        yield store


@pytest.fixture
def record(store: Store) -> Record:
    return Record(Calls(store), SystemEnv(), BYTES_MAX)


def call(entry: Entry | None, params: Json | None = None, name: str = "time__now") -> Call:
    agent = Agent("me", Grants("me.yaml"), "t1")
    return Call(
        SystemEnv().new_id(), agent, "s1", "tools/call", "tool", name, entry, params or {"name": name}
    )


def answers(result: Result) -> Handler:
    async def inner(call: Call) -> Result:
        return result

    return inner


def raises(error: Exception) -> Handler:
    async def inner(call: Call) -> Result:
        raise error

    return inner


async def row_of(store: Store, call: Call) -> CallRow:
    row = await Calls(store).get(call.id)
    assert row is not None
    return row


async def test_a_call_leaves_who_what_and_how_long(store: Store, record: Record) -> None:
    asked = call(CHANGE, {"name": "git__git_commit", "arguments": {"message": "ü"}}, "git__git_commit")
    assert await record(asked, answers(OK)) is OK
    row = await row_of(store, asked)
    assert row[:8] == (asked.id, "s1", "me", "t1", "git", "tools/call", "git__git_commit", "git_commit")
    assert json.loads(row.params or "") == asked.params
    assert row.params_bytes == len((row.params or "").encode())
    assert json.loads(row.result or "") == OK
    assert row.result_bytes == len(row.result or "")
    assert (row.state, row.kind, row.error) == ("done", None, None)
    assert row.duration_us is not None
    assert 0 <= row.duration_us < 5_000_000
    assert abs(row.started / 1000 - SystemEnv().now()) < 60


RULED = NotFound("Unknown tool: x")
RULED.rule = "never[0]"


@pytest.mark.parametrize(
    ("inner", "entry", "expected"),
    [
        (answers(OK), "change", "done - - -"),
        (answers(OK), "read", "done - - -"),
        (answers({**OK, "isError": True}), "change", "failed tool_error - -"),
        (answers({"resultType": "input_required"}), "change", "done input_required - -"),
        (raises(RemoteError(-32000, "no", [1])), "change", "failed protocol_error - -"),
        (raises(NotFound("Unknown tool: x")), "none", "refused refused not_found -"),
        (raises(RULED), "change", "refused refused not_found never[0]"),
        (raises(UpstreamDown("down")), "change", "failed transport upstream_down -"),
        (raises(UpstreamTimeout("late", sent=True)), "change", "unknown transport upstream_timeout -"),
        (raises(UpstreamTimeout("late", sent=True)), "read", "failed transport upstream_timeout -"),
        (raises(ZeroDivisionError("hub_secret")), "change", "failed internal - -"),
        (answers({"content": {1, 2}}), "change", "failed internal - -"),
    ],
)
async def test_each_outcome_has_its_words(
    store: Store, record: Record, inner: Handler, entry: str, expected: str
) -> None:
    asked, error = call(ENTRIES[entry]), None
    try:
        await record(asked, inner)
    except Exception as raised:
        error = raised
    row = await row_of(store, asked)
    assert " ".join(word or "-" for word in (row.state, row.kind, row.reason, row.rule)) == expected
    assert (row.error is None) == (error is None)
    assert (row.result is None) == (error is not None)
    assert "hub_secret" not in str(row)
    if isinstance(error, RemoteError):
        assert json.loads(row.error or "") == {"code": -32000, "message": "no", "data": [1]}
    if isinstance(error, NotFound):
        assert json.loads(row.error or "") == {"message": "Unknown tool: x"}


async def test_what_may_change_something_is_intended_before_it_is_done(store: Store, record: Record) -> None:
    seen: dict[str, list[str]] = {}

    async def inner(call: Call) -> Result:
        seen[call.name] = [row.state for row in await Calls(store).list(CallFilter())]
        return OK

    await record(call(CHANGE, name="change"), inner)
    await record(call(READ, name="read"), inner)
    assert seen == {"change": ["intended"], "read": ["done"]}


@pytest.mark.parametrize(("entry", "state"), [(CHANGE, "unknown"), (READ, "cancelled")])
async def test_a_cancelled_call_says_what_is_known(
    store: Store, record: Record, entry: Entry, state: str
) -> None:
    asked, started = call(entry), anyio.Event()

    async def inner(call: Call) -> Result:
        started.set()
        await anyio.sleep(60)
        return OK

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(record, asked, inner)
            await started.wait()
            tasks.cancel_scope.cancel()
    row = await row_of(store, asked)
    assert (row.state, row.kind) == (state, "cancelled")


async def test_a_call_cancelled_before_it_left_had_no_effect(tmp_path: Path) -> None:
    """While it waits for its commit, which it does where the setting `synchronous` is `full`."""
    asked, ran = call(CHANGE), []

    async def inner(call: Call) -> Result:
        ran.append(call)
        return OK

    async with Store.open(tmp_path / "hub.db", SystemEnv(), synchronous="full") as store:
        await store.write(partial(sessions.insert, row=SESSION))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await Record(Calls(store), SystemEnv(), BYTES_MAX)(asked, inner)
        assert (ran, (await row_of(store, asked)).state) == ([], "cancelled")


@pytest.mark.parametrize("entry", ["change", "read", "none"])
async def test_nothing_is_done_that_cannot_be_recorded(store: Store, record: Record, entry: str) -> None:
    async def inner(call: Call) -> Result:
        raise AssertionError("must not run")

    restore = await full(store)
    with pytest.raises(StoreError, match="the disk is full"):
        await record(call(ENTRIES[entry]), inner)
    await restore()


async def test_an_outcome_that_cannot_be_written_is_written_when_it_can(store: Store, record: Record) -> None:
    asked, restore = call(CHANGE), []

    async def inner(call: Call) -> Result:
        restore.append(await full(store))
        return OK

    assert await record(asked, inner) is OK, "what it did is safe in the journal"
    assert (await row_of(store, asked)).state == "intended"
    await restore[0]()
    assert (await row_of(store, asked)).state == "done"


@pytest.mark.parametrize("entry", ["change", "read"])
async def test_a_row_keeps_only_so_much_and_says_so(store: Store, record: Record, entry: str) -> None:
    texts = ["ü" * 5000, "short"]
    result: Result = {"content": [{"type": "text", "text": text} for text in texts], "structuredContent": {}}
    asked = call(ENTRIES[entry], {"name": "time__now", "arguments": {"text": "y" * 1000}}, "n" * 5000)
    assert await record(asked, answers(result)) is result
    assert [block["text"] for block in result["content"]] == texts, "the answer itself is whole"
    row = await row_of(store, asked)
    assert len(row.tool) == 2048
    for text, size, whole in (
        (row.params, row.params_bytes, asked.params),
        (row.result, row.result_bytes, result),
    ):
        kept = json.loads(text or "")
        complete = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
        assert kept["truncated"] is True
        assert complete.startswith(kept["start"])
        assert len(kept["start"].encode()) in (BYTES_MAX, BYTES_MAX - 1)
        assert size is not None
        assert len(complete) <= size <= len(complete.encode())


async def full(store: Store) -> Callable[[], Awaitable[None]]:
    """Let the disk be full (as SQLite sees it), until what is returned is called and awaited."""

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE filler (bytes)")
        connection.execute("INSERT INTO filler VALUES (zeroblob(200000))")
        connection.execute("PRAGMA max_page_count = 1").fetchone()  # SQLite takes what is used by now

    await store.write(fill)
    with pytest.raises(StoreError):
        await store.write(lambda writer: writer.execute("INSERT INTO filler VALUES (zeroblob(200000))"))
    assert store.trouble is not None

    async def restore() -> None:
        other = sqlite3.connect(store.path, timeout=5)
        with other:
            other.execute("DELETE FROM filler")
        other.close()
        with anyio.fail_after(30):
            while store.trouble is not None:  # noqa: ASYNC110 - it ends in another thread
                await anyio.sleep(0.01)

    return restore
