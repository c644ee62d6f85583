"""What happens in a hub is told live, in order, once; what is not told is a gap that says so."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub import events
from hub.commands import client
from hub.env import SystemEnv
from hub.events import Event, Events, Wanted
from hub.home import Home
from hub.server import Wire
from hub.server.events import tell
from hub.server.wire_request import Request
from hub.store import audit, sessions
from hub.store.calls import Calls, Intent, Outcome
from hub.store.db import Store
from tests.commands import COMMAND, SECONDS, environment, furnish, hub, serving

pytestmark = pytest.mark.anyio

ANY = Wanted()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        for name in ("s1", "s2"):
            row = sessions.SessionRow(name, "me", "modern", "2026-07-28", "{}", "{}", 1, 1)
            await store.write(partial(sessions.insert, row=row))
        yield store


async def record(
    store: Store,
    *ids: str,
    agent: str = "me",
    session: str = "s1",
    state: Any = "done",
    intended: bool = False,
) -> None:
    calls = Calls(store)
    for id in ids:
        intent = Intent(id, session, agent, None, "it", "tools/call", "it__do", "do", "{}", 2, 1000)
        for waits in (
            calls.intend(intent) if intended else None,
            calls.record(intent, Outcome(state, result="{}", duration_us=1500)),
        ):
            if waits is not None:
                await waits


async def told(it: Events, after: int, wanted: Wanted, count: int) -> list[Event]:
    found: list[Event] = []
    with anyio.fail_after(20):
        async with aclosing(it.follow(after, wanted)) as stream:
            async for event in stream:
                if event is not None:
                    found.append(event)
                if len(found) == count:
                    break
    return found


async def test_events_come_as_they_are_recorded_each_once_and_in_order(store: Store) -> None:
    it = Events(store)
    start = await it.newest()
    found: list[Event] = []

    async def listen() -> None:
        found.extend(await told(it, start, ANY, 6))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await record(store, "c1", intended=True)
        await record(store, "c2", "c3", "c4")
        await it.newest()  # after which these are in the database
        await store.write(lambda db: audit.note(db, 1, "token.revoked", "t1", {"agent": "me"}))
    names = [(event.name, event.said["subject"]) for event in found]
    assert names == [
        ("call.intended", "c1"), ("call.done", "c1"), ("call.done", "c2"), ("call.done", "c3"),
        ("call.done", "c4"), ("token.revoked", "t1"),
    ]  # fmt: skip
    assert [event.id for event in found] == [*range(start + 1, start + 7)]
    assert (found[0].said["state"], found[0].said["duration_ms"]) == ("intended", None)
    assert (found[1].said["state"], found[1].said["duration_ms"]) == ("done", 1.5)
    assert found[5].said["agent"] == "me"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(agent="other"), ["c2"]),
        (Wanted(session="s2"), ["c3"]),
        (Wanted(errors=True), ["c4"]),
        (Wanted(agent="me", session="s1"), ["c1", "c4"]),
    ],
)
async def test_only_what_is_wanted_is_told(store: Store, wanted: Wanted, expected: list[str]) -> None:
    it = Events(store)
    start = await it.newest()
    await record(store, "c1")
    await record(store, "c2", agent="other")
    await record(store, "c3", session="s2")
    await record(store, "c4", state="failed")
    found = await told(it, start, wanted, len(expected))
    assert [event.said["id"] for event in found] == expected


async def test_who_comes_back_is_told_what_was_meanwhile_also_by_another_hub(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    async with Store.open(path, SystemEnv()) as store:
        row = sessions.SessionRow("s1", "me", "modern", "2026-07-28", "{}", "{}", 1, 1)
        await store.write(partial(sessions.insert, row=row))
        await record(store, "c1", "c2")
        last = (await told(Events(store), 1, ANY, 1))[0]
        await record(store, "c3")
    async with Store.open(path, SystemEnv()) as store:
        await record(store, "c4")
        found = await told(Events(store), last.id, ANY, 3)
    assert [event.said["id"] for event in found] == ["c2", "c3", "c4"]


async def test_who_is_far_behind_is_told_of_a_gap_and_how_large_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BEHIND_MAX", 10)
    monkeypatch.setattr(events, "_CAUGHT_UP", 3)
    it = Events(store)
    start = await it.newest()
    await record(store, *(f"c{number:02}" for number in range(20)))
    found = await told(it, start, ANY, 4)
    assert found[0] == Event(start + 17, "gap", {"missed": 17, "through": start + 17})
    assert [event.said["id"] for event in found[1:]] == ["c17", "c18", "c19"]


async def test_what_retention_has_deleted_is_a_gap(store: Store) -> None:
    it = Events(store)
    start = await it.newest()
    await record(store, "c1", "c2", "c3")
    await store.read(audit.bounds)
    await store.write(lambda db: audit.delete_calls(db, start + 2))
    found = await told(it, start, ANY, 2)
    assert [found[0].name, found[0].said["missed"]] == ["gap", 2]
    assert found[1].said["id"] == "c3"


async def test_a_number_of_another_record_is_a_gap_whose_size_nobody_knows(store: Store) -> None:
    it = Events(store)
    last = await it.newest()
    assert await told(it, 1_000_000, ANY, 1) == [Event(last, "gap", {"missed": None, "through": last})]


async def test_a_reader_that_does_not_read_holds_nothing_but_its_place(store: Store) -> None:
    it = Events(store)
    start = await it.newest()
    async with aclosing(it.follow(start, ANY)) as slow:
        await record(store, "c0")
        first = await anext(slow)
        await record(store, *(f"d{number:04}" for number in range(1000)))
        assert len(await told(it, start, ANY, 1001)) == 1001
        second = await anext(slow)
    assert first is not None and second is not None
    assert (first.id, second.id) == (start + 1, start + 2)


async def test_where_nobody_listens_nothing_is_called_at_a_commit(store: Store) -> None:
    it = Events(store)
    listeners = store._writer.listeners
    assert not listeners
    await told(it, (await it.newest()) - 1, ANY, 1)
    assert not listeners
    async with aclosing(it.follow(0, ANY)) as stream:
        await anext(stream)
        assert len(listeners) == 1


async def test_listening_ends_with_the_hub(store: Store) -> None:
    it = Events(store)
    start = await it.newest()

    async def end() -> None:
        await record(store, "c1")
        it.close()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
            async with aclosing(it.follow(start, ANY)) as stream:
                found = [event async for event in stream]
    assert len(found) <= 1


def raw(home: Path, target: str, *headers: str) -> Any:
    """`curl` of the admin socket, as people script it."""
    command = ["curl", "-sN", "--max-time", "20", "--unix-socket", str(home / ".hub" / "admin.sock")]
    for header in headers:
        command += ["-H", header]
    return subprocess.Popen([*command, f"http://hub{target}"], stdout=subprocess.PIPE, text=True)


def use(home: Path, tool: str) -> None:
    it = client.find(Home.at(home))
    assert it is not None
    it.ask("tool_call", {"name": tool, "agent": "me"})


def test_the_admin_socket_streams_events_and_goes_on_behind_a_last_event_id(tmp_path: Path) -> None:
    home = furnish(tmp_path / "home")
    with serving(home):
        with raw(home, "/events?agent=me") as stream:
            assert stream.stdout.readline() == ": listening\n"
            use(home, "desk__typed")
            lines = [stream.stdout.readline().strip() for _ in range(9)]
            stream.terminate()
        assert [line.partition(": ")[2] for line in lines if line.startswith("event")] == [
            "call.intended", "call.done",
        ]  # fmt: skip
        ids = [line.partition(": ")[2] for line in lines if line.startswith("id")]
        with raw(home, "/events", f"Last-Event-ID: {ids[0]}") as stream:
            assert stream.stdout.readline() == ": listening\n"
            stream.stdout.readline()
            assert stream.stdout.readline() == f"id: {ids[1]}\n"
            stream.terminate()
        for target, header in (("/events?agnet=me", "X: y"), ("/events", "Last-Event-ID: x")):
            with raw(home, target, header) as stream:
                assert json.loads(stream.stdout.read())["error"]["code"] == "usage"


def test_calls_are_tailed_over_a_restart_of_the_hub_and_only_those_that_are_wanted(tmp_path: Path) -> None:
    home = furnish(tmp_path / "home")
    with serving(home):
        use(home, "desk__typed")
        it = client.find(Home.at(home))
        assert it is not None
        entry = it.ask("call", {"id": it.ask("calls")[0]["id"]})["audit_entry"]
        command = [*COMMAND, "calls", "tail", "--errors", "-n", "2", "--after", str(entry), "--json"]
        tail = subprocess.Popen(
            [*command, "--home", str(home)], stdout=subprocess.PIPE, text=True, env=environment()
        )
        use(home, "desk__fail")
        assert tail.stdout is not None
        first = json.loads(tail.stdout.readline())
    with serving(home):
        use(home, "desk__typed")
        use(home, "desk__fail")
        second = json.loads(tail.stdout.readline())
        assert tail.wait(SECONDS) == 0
        tail.stdout.close()
    assert [(each["event"], each["tool"]) for each in (first, second)] == [("call.failed", "desk__fail")] * 2
    assert first["id"] < second["id"]
    assert "desk__fail failed (tool_error)" in first["line"]


def test_where_no_hub_runs_there_is_nothing_to_tail(tmp_path: Path) -> None:
    refused = hub(furnish(tmp_path / "home"), "calls", "tail")
    assert refused.code == 1
    assert "No hub runs for" in refused.err


@asynccontextmanager
async def listening(it: Events, path: Path) -> AsyncIterator[None]:
    """`tell` behind a real socket."""

    async def answer(request: Request) -> None:
        with anyio.CancelScope() as scope:
            request.on_gone(scope.cancel)
            await tell(it, request)

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()
    listener.setblocking(False)
    wire = Wire(answer)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wire.serve, listener)
        yield
        it.close()
        wire.stop()
        with anyio.fail_after(20):
            await wire.ended.wait()


async def test_a_reader_that_stops_reading_is_told_of_a_gap_when_it_reads_on_and_leaves_nothing_behind(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BEHIND_MAX", 100)
    monkeypatch.setattr(events, "_CAUGHT_UP", 10)
    it = Events(store)
    async with listening(it, tmp_path / "s"), await anyio.connect_unix(str(tmp_path / "s")) as stream:
        await stream.send(b"GET /events HTTP/1.1\r\nHost: hub\r\n\r\n")
        seen = b""
        with anyio.fail_after(30):
            while b": listening" not in seen:
                seen += await stream.receive()
            # More than any buffer between takes, while nobody reads.
            for start in range(0, 6000, 1000):
                await record(store, *(f"c{number:05}" for number in range(start, start + 1000)))
                await it.newest()
            await record(store, "last")
            while b'"subject":"last"' not in seen:
                seen += await stream.receive()
        assert len(store._writer.listeners) == 1
        await stream.aclose()
        with anyio.fail_after(20):
            while store._writer.listeners:  # noqa: ASYNC110 - that it has left is told by nobody
                await anyio.sleep(0.01)
    gaps = [json.loads(data) for data in re.findall(rb"event: gap\r?\ndata: (.*)", seen)]
    ids = [int(id) for id in re.findall(rb"\nid: (\d+)", seen)]
    assert gaps
    assert ids == sorted(set(ids))
    told_of = len(ids) - len(gaps) + sum(gap["missed"] for gap in gaps)
    assert told_of == 6001
