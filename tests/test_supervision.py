"""One server's trouble is its own: started when wanted, started again, given up in time, changed in place."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub.app import App
from hub.errors import NotFound, UpstreamDown, UpstreamError, UpstreamFailed, UpstreamTimeout
from hub.model import Json, Notify, Result
from hub.store.calls import CallFilter, get_call, list_calls
from hub.upstreams.upstream import Upstream
from tests import homes
from tests.app_room import app_at, until

pytestmark = pytest.mark.anyio

MOODY = str(Path(__file__).parent / "servers" / "moody.py")


def write(home: Path, name: str, *flags: str, **more: Any) -> Path:
    """A manifest of a moody server; its starts are counted in the file returned."""
    starts = home / f"{name}.starts"
    homes.write(
        home, name, server=name, connect={"command": [sys.executable, MOODY, str(starts), *flags]}, **more
    )
    return starts


def hub_at(home: Path) -> AbstractAsyncContextManager[App]:
    return app_at(home, never=["*__echoes", "hub__*"])


async def use(app: App, name: str, arguments: Json | None = None, notify: Notify | None = None) -> Result:
    agent = app.identities.local("me")
    session = await app.sessions.current(agent, {})
    params: Json = {"name": name, "arguments": arguments or {}}
    if notify is not None:
        params["_meta"] = {"progressToken": "token"}
    return await app.hub.call(app.hub.new_call(agent, session.id, "tools/call", params, notify=notify))


def text(result: Result) -> str:
    said: str = result["content"][0]["text"]
    return said


def lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


async def test_a_new_server_is_started_once_to_learn_what_it_offers(tmp_path: Path) -> None:
    starts = write(tmp_path, "one")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        names = [entry.name for entry in app.hub.entries(app.identities.local("me"), "tool")]
        assert names == ["one__echo", "one__crash", "one__hang", "one__grow", "one__count"]
    assert len(lines(starts)) == 1


async def test_what_was_learnt_is_there_before_a_server_has_started_and_a_call_starts_it(
    tmp_path: Path,
) -> None:
    starts = write(tmp_path, "one")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
    async with hub_at(tmp_path) as app:
        assert app.fleet.upstreams["one"].state == "stopped"
        assert app.ready()[0]
        assert len(app.hub.entries(app.identities.local("me"), "tool")) == 5
        assert len(lines(starts)) == 1
        assert json.loads(text(await use(app, "one__echo", {"tea": 1}))) == {"tea": 1}
    assert len(lines(starts)) == 2


async def test_a_changed_connection_forgets_what_was_learnt_from_the_old_one(tmp_path: Path) -> None:
    write(tmp_path, "one")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
    write(tmp_path, "one", "--die")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "failed")
        assert app.hub.entries(app.identities.local("me"), "tool") == ()


async def test_an_idle_server_is_stopped_and_the_next_call_starts_it(tmp_path: Path) -> None:
    starts = write(tmp_path, "one", limits={"idle": "50ms"})
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        await until(app, "one", "stopped")
        assert text(await use(app, "one__echo")) == "{}"
    assert len(lines(starts)) == 2


async def test_a_server_that_dies_in_a_call_fails_that_call_and_serves_the_next(tmp_path: Path) -> None:
    starts = write(tmp_path, "one")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        with pytest.raises(UpstreamFailed) as failure:
            await use(app, "one__crash")
        assert failure.value.sent
        assert text(await use(app, "one__count")) == "1"
        rows = await app.store.read(lambda c: list_calls(c, CallFilter()))
        assert [(row.tool, row.state) for row in rows] == [("one__count", "done"), ("one__crash", "unknown")]
    assert len(lines(starts)) == 2


async def test_a_server_killed_between_calls_is_started_again_by_the_next(tmp_path: Path) -> None:
    starts = write(tmp_path, "one")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        await use(app, "one__echo")
        os.kill(int(lines(starts)[0]), signal.SIGKILL)
        upstream = await until(app, "one", "failed")
        assert "SIGKILL" in (upstream.reason or "")
        assert text(await use(app, "one__count")) == "1"


async def test_a_server_that_cannot_start_says_why_fails_fast_and_is_not_tried_in_a_tight_loop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    starts = write(tmp_path, "ill", "--die")
    write(tmp_path, "well")
    async with hub_at(tmp_path) as app:
        await until(app, "well", "ready")
        upstream = await until(app, "ill", "failed")
        assert "the cellar is flooded" in (upstream.reason or "")
        assert upstream.retry_at is not None
        assert text(await use(app, "well__echo")) == "{}"
        with pytest.raises(UpstreamDown):
            await upstream.send(await a_call(app, upstream))
        with anyio.move_on_after(1.5):
            await anyio.sleep_forever()
        assert len(lines(starts)) <= 5
        while len(lines(starts)) < 2:
            await upstream.moved()
        await until(app, "ill", "failed")
    assert sum("flooded" in record.getMessage() for record in caplog.records) == 1


async def a_call(app: App, upstream: Upstream) -> Any:
    """A call to a server that has never been learnt, as it would be if it had been."""
    from hub.model import Call, Entry

    entry = Entry("tool", upstream.name, "echo", f"{upstream.name}__echo", f"{upstream.name}__echo", {})
    agent = app.identities.local("me")
    return Call("1", agent, "s", "tools/call", "tool", entry.name, entry, {"name": entry.name})


async def test_a_call_waits_for_a_starting_server_and_is_told_so(tmp_path: Path) -> None:
    starts = write(tmp_path, "one")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
    write(tmp_path, "one", "--slow-start")
    known = await remembered(tmp_path)
    async with hub_at(tmp_path) as app:
        upstream = app.fleet.upstreams["one"]
        upstream.known = known
        told: list[Json] = []

        def notify(method: str, params: Json) -> None:
            told.append({"method": method, **params})
            starts.with_suffix(".go").touch()

        assert text(await upstream.send(await told_call(app, upstream, notify))) == "{}"
        assert told[0]["method"] == "notifications/progress"
        assert told[0]["progressToken"] == "token"
        assert "one" in told[0]["message"]


async def remembered(home: Path) -> Any:
    from hub.upstreams.learn import Known

    return Known("2025-11-25", {}, {}, None, {})


async def told_call(app: App, upstream: Upstream, notify: Notify) -> Any:
    from dataclasses import replace

    call = await a_call(app, upstream)
    return replace(
        call,
        params={"name": "one__echo", "arguments": {}, "_meta": {"progressToken": "token"}},
        notify=notify,
    )


async def test_a_server_that_does_not_get_ready_fails_calls_in_its_time_to_connect(
    tmp_path: Path,
) -> None:
    write(tmp_path, "one", "--slow-start", limits={"connect": "300ms"})
    async with hub_at(tmp_path) as app:
        assert app.ready()[0] is False
        upstream = app.fleet.upstreams["one"]
        began = app.env.monotonic()
        with pytest.raises(UpstreamDown):
            await upstream.send(await a_call(app, upstream))
        assert app.env.monotonic() - began < 10
        upstream = await until(app, "one", "failed")
        assert "not ready within 0.3 s" in (upstream.reason or "")
        assert app.ready()[0]


async def test_a_call_that_takes_too_long_ends_in_time_and_others_go_on(tmp_path: Path) -> None:
    write(tmp_path, "one", limits={"call": "1s"})
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        with pytest.raises(UpstreamTimeout, match=r"within 1 s"):
            await use(app, "one__hang")
        assert text(await use(app, "one__count")) == "1"
        row = (await app.store.read(lambda c: list_calls(c, CallFilter(state="unknown"))))[0]
        assert row.tool == "one__hang"


async def test_a_list_change_reaches_the_catalog(tmp_path: Path) -> None:
    write(tmp_path, "one")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        changes: list[frozenset[Any]] = []
        changed = anyio.Event()

        def listen(kinds: frozenset[Any]) -> None:
            changes.append(kinds)
            changed.set()

        app.hub.on_change(listen)
        await use(app, "one__grow", {"name": "sing"})
        await changed.wait()
        assert changes == [frozenset({"tool"})]
        assert app.hub.find("tool", "one__sing") is not None


async def test_saved_manifests_count_without_a_restart_and_without_dropping_a_call(tmp_path: Path) -> None:
    starts = write(tmp_path, "one")
    async with hub_at(tmp_path) as app, anyio.create_task_group() as tasks:
        await until(app, "one", "ready")
        outcome: list[str] = []

        async def hang() -> None:
            with pytest.raises(UpstreamError):
                await use(app, "one__hang")
            outcome.append("ended")

        tasks.start_soon(hang)
        while not await app.store.read(lambda c: list_calls(c, CallFilter(state="intended"))):
            await anyio.lowlevel.checkpoint()
        before = app.fleet.upstreams["one"]
        write(tmp_path, "two")
        assert await app.reload() == []
        assert app.fleet.upstreams["one"] is before
        assert await until(app, "two", "ready")
        assert text(await use(app, "two__echo")) == "{}"
        (tmp_path / "manifests" / "two.yaml").unlink()
        await app.reload()
        assert list(app.fleet.upstreams) == ["one"]
        with pytest.raises(NotFound):
            await use(app, "two__echo")
        assert outcome == []
        os.kill(int(lines(starts)[0]), signal.SIGKILL)
    assert outcome == ["ended"]


async def test_one_bad_manifest_costs_only_itself(tmp_path: Path) -> None:
    write(tmp_path, "one")
    (tmp_path / "manifests" / "bad.yaml").write_text("server: bad\nconect: {command: [x]}\n")
    async with hub_at(tmp_path) as app:
        assert list(app.fleet.upstreams) == ["one"]
        assert [problem.key for problem in app.manifests.problems] == ["connect", "conect"]
        assert await until(app, "one", "ready")
        assert text(await use(app, "one__echo")) == "{}"


async def test_unknown_and_forbidden_tools_are_refused_alike_and_recorded(tmp_path: Path) -> None:
    write(tmp_path, "one")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        await use(app, "one__grow", {"name": "echoes"})
        await app.fleet.upstreams["one"].check()
        answers = []
        for name in ("one__echoes", "one__nothing"):
            with pytest.raises(NotFound) as refusal:
                await use(app, name)
            answers.append(str(refusal.value).replace(name, "NAME"))
        assert answers[0] == answers[1]
        rows = await app.store.read(lambda c: list_calls(c, CallFilter(state="refused")))
        assert [row.tool for row in rows] == ["one__nothing", "one__echoes"]
        assert text(await use(app, "one__count")) == "2"


async def test_arguments_are_checked_where_the_manifest_asks_for_it(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    server = tmp_path / "strict.py"
    server.write_text(
        (Path(MOODY).read_text()).replace('"inputSchema": {"type": "object"}', f'"inputSchema": {schema!r}')
    )
    starts = tmp_path / "strict.starts"
    folder = tmp_path / "manifests"
    folder.mkdir()
    manifest = {
        "server": "strict",
        "check": "arguments",
        "connect": {"command": [sys.executable, str(server), str(starts)]},
    }
    (folder / "strict.yaml").write_text(json.dumps(manifest))
    async with hub_at(tmp_path) as app:
        await until(app, "strict", "ready")
        refused = await use(app, "strict__echo", {"count": "many"})
        assert refused["isError"] is True
        assert "count" in text(refused)
        assert json.loads(text(await use(app, "strict__echo", {"count": 3}))) == {"count": 3}
        assert text(await use(app, "strict__count", {"count": 1})) == "2"


async def test_params_and_result_of_a_call_are_kept_as_they_were(tmp_path: Path) -> None:
    write(tmp_path, "one")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        await use(app, "one__echo", {"tea": [1, None, "x"]})
        newest = (await app.store.read(lambda c: list_calls(c, CallFilter(limit=1))))[0]
        row = await app.store.read(lambda c: get_call(c, newest.id))
        assert row is not None
        assert json.loads(row.params or "") == {"name": "one__echo", "arguments": {"tea": [1, None, "x"]}}
        assert json.loads(json.loads(row.result or "")["content"][0]["text"]) == {"tea": [1, None, "x"]}
