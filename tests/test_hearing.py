"""What a server says of itself reaches the hub, in both eras: once is enough, and nothing is missed."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from connectors.base import RemoteError
from hub.app import App
from hub.errors import InvalidParams, NotFound, UpstreamDown
from hub.model import Json, Result
from hub.upstreams.hearing import PAUSE_SECONDS
from hub.watching import Watching
from tests import homes
from tests.app_room import app_at, until
from tests.conformance import REPOSITORY, running_everything

pytestmark = pytest.mark.anyio

TELLER = str(Path(__file__).parent / "servers" / "teller.py")
ERAS = ("modern", "legacy")
SECONDS = 20.0
UPDATED = "notifications/resources/updated"
LIST_CHANGED = "notifications/resources/list_changed"


def write(home: Path, era: str, *flags: str, name: str = "one", **more: Any) -> Path:
    """A manifest of a teller; what it was asked is in the file returned."""
    asked = home / f"{name}.asked"
    command = [sys.executable, TELLER, str(asked), *flags, *(["--modern"] if era == "modern" else [])]
    homes.write(home, name, server=name, connect={"command": command}, era=era, **more)
    return asked


def hub_at(home: Path) -> AbstractAsyncContextManager[App]:
    return app_at(home, never=["*__note://two"])


class Told:
    """What a watcher heard."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, Json]] = []
        self._news = anyio.Event()

    def __call__(self, uri: str, params: Json) -> None:
        self.notes.append((uri, params))
        self._news.set()

    async def next(self) -> tuple[str, Json]:
        while not self.notes:
            self._news = anyio.Event()
            await self._news.wait()
        return self.notes.pop(0)


def watch(app: App, uri: str, told: Told) -> Watching:
    agent = app.identities.local("me")
    return app.hub.watch(app.hub.new_call(agent, "s", "resources/read", {"uri": uri}), told)


async def use(app: App, name: str, **arguments: Any) -> Result:
    agent = app.identities.local("me")
    session = await app.sessions.current(agent, {})
    params: Json = {"name": name, "arguments": arguments}
    return await app.hub.call(app.hub.new_call(agent, session.id, "tools/call", params))


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def subscriptions(asked: Path, era: str) -> list[str]:
    """Each time that the server was asked to tell of resources."""
    word = "listen note" if era == "modern" else "resources/subscribe"
    return [line for line in lines(asked) if line.startswith(word)]


@asynccontextmanager
async def watched(app: App, uri: str) -> AsyncIterator[Told]:
    told = Told()
    watching = watch(app, uri, told)
    await watching.settled(SECONDS)
    try:
        yield told
    finally:
        watching.stop()


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("way", ["http", "stdio"])
async def test_changes_of_a_real_server_reach_the_catalog_and_who_watches(
    tmp_path: Path, way: str, era: str
) -> None:
    """Our server of everything, on the SDK's."""
    command = [sys.executable, "-m", "tests.servers.everything", "--stdio"]
    async with AsyncExitStack() as stack:
        connect: Json = {"command": command}
        if way == "http":
            connect = {"url": await stack.enter_async_context(running_everything())}
        homes.write(tmp_path, "all", server="all", connect=connect, cwd=str(REPOSITORY), era=era)
        async with hub_at(tmp_path) as app:
            await until(app, "all", "ready")
            kinds: set[Any] = set()
            changed = anyio.Event()

            def listen(found: frozenset[Any]) -> None:
                kinds.update(found)
                if {"tool", "prompt", "resource"} <= kinds:
                    changed.set()

            app.hub.on_change(listen)
            async with watched(app, "test://watched-resource") as told:
                told.notes.clear()
                await use(app, "all__test_trigger_resource_update")
                assert await told.next() == ("test://watched-resource", {"uri": "test://watched-resource"})
                for kind in ("tool", "prompt", "resource"):
                    await use(app, f"all__test_trigger_{kind}_change")
                await changed.wait()


async def test_what_changes_between_learning_and_listening_is_not_missed(tmp_path: Path) -> None:
    write(tmp_path, "modern", "--late", "note://late")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        await homes.eventually(lambda: app.hub.find("resource", "note://late") is not None)


@pytest.mark.parametrize("era", ERAS)
async def test_an_update_says_what_its_server_says(tmp_path: Path, era: str) -> None:
    asked = write(tmp_path, era)
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        async with watched(app, "note://one") as told:
            params = {"uri": "note://one", "title": "One", "_meta": {"vendor/key": [1]}}
            await use(app, "one__say", method=UPDATED, params=params)
            assert await told.next() == ("note://one", params)
        if era == "modern":
            await homes.eventually(lambda: lines(asked)[-1] == "listen")
        else:
            await homes.eventually(lambda: "resources/unsubscribe note://one" in lines(asked))


@pytest.mark.parametrize("era", ERAS)
async def test_an_update_of_what_is_below_a_watched_resource_is_told(tmp_path: Path, era: str) -> None:
    """2026-07-28, schema: the URI might be a sub-resource of the one that was subscribed to."""
    write(tmp_path, "legacy")
    async with hub_at(tmp_path) as app:
        upstream = await until(app, "one", "ready")
        async with watched(app, "note://one") as told:
            for uri in ("note://one/deep/er", "note://one/", "note://onerous", "note://two/one"):
                upstream.main.hearing.hear(UPDATED, {"uri": uri})
            assert [uri for uri, _ in told.notes] == ["note://one/deep/er", "note://one/"]


async def test_what_an_agent_may_not_read_it_cannot_watch(tmp_path: Path) -> None:
    write(tmp_path, "legacy")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        for uri in ("note://two", "note://none"):
            with pytest.raises(NotFound, match=f"^Unknown resource: {uri}$"):
                watch(app, uri, Told())


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_that_will_not_tell_is_said_to(tmp_path: Path, era: str) -> None:
    asked = write(tmp_path, era, "--refuse", "note://one")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        for _ in range(2):
            with pytest.raises(InvalidParams if era == "modern" else RemoteError):
                async with watched(app, "note://one"):
                    pass
        await use(app, "one__add", uri="note://three")
        await use(app, "one__say", method=LIST_CHANGED)
        await homes.eventually(lambda: app.hub.find("resource", "note://three") is not None)
        async with watched(app, "note://three") as told:
            await use(app, "one__say", method=UPDATED, params={"uri": "note://three"})
            await told.next()
        assert len(lines(asked)) < 40


async def test_a_server_that_cannot_tell_or_start_is_said_to(tmp_path: Path) -> None:
    server = tmp_path / "mute.py"
    server.write_text(Path(TELLER).read_text().replace('"subscribe": True, ', ""))
    asked = tmp_path / "one.asked"
    homes.write(tmp_path, "one", server="one", connect={"command": [sys.executable, str(server), str(asked)]})
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        with pytest.raises(InvalidParams, match="does not tell"):
            async with watched(app, "note://one"):
                pass
        server.write_text("raise SystemExit('gone')")
        with pytest.raises(UpstreamDown):
            await app.fleet.upstreams["one"].restart()
        with pytest.raises(UpstreamDown):
            async with watched(app, "note://one"):
                pass


@pytest.mark.parametrize("era", ERAS)
async def test_a_watched_resource_keeps_its_server_up_and_starts_it(tmp_path: Path, era: str) -> None:
    write(tmp_path, era, limits={"idle": "50ms"})
    async with hub_at(tmp_path) as app:
        upstream = await until(app, "one", "ready")
        await until(app, "one", "stopped")
        async with watched(app, "note://one"):
            with anyio.move_on_after(0.3):
                await until(app, "one", "stopped")
            assert upstream.state == "ready"
        await until(app, "one", "stopped")


@pytest.mark.parametrize("era", ERAS)
async def test_after_a_server_started_again_it_is_asked_again_and_what_was_missed_counts_as_changed(
    tmp_path: Path, era: str
) -> None:
    asked = write(tmp_path, era)
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        async with watched(app, "note://one") as told:
            assert told.notes == []
            with pytest.raises(Exception, match="broke off"):
                await use(app, "one__crash")
            assert await told.next() == ("note://one", {})
            assert len(subscriptions(asked, era)) == 2
            await use(app, "one__say", method=UPDATED, params={"uri": "note://one"})
            assert await told.next() == ("note://one", {"uri": "note://one"})


@pytest.mark.parametrize("era", ERAS)
async def test_a_changed_manifest_loses_no_watcher(tmp_path: Path, era: str) -> None:
    write(tmp_path, era)
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        async with watched(app, "note://one") as told:
            write(tmp_path, era, title="Another")
            await app.reload()
            assert await told.next() == ("note://one", {})
            (tmp_path / "manifests" / "one.yaml").unlink()
            await app.reload()
            write(tmp_path, era)
            await app.reload()
            assert await told.next() == ("note://one", {})


@pytest.mark.parametrize("era", ERAS)
async def test_while_watchers_come_and_go_nothing_is_lost_and_the_server_is_asked_a_few_times_only(
    tmp_path: Path, era: str
) -> None:
    asked = write(tmp_path, era)
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        for number in range(20):
            await use(app, "one__add", uri=f"note://n{number}")
        await use(app, "one__say", method=LIST_CHANGED)
        await homes.eventually(lambda: app.hub.find("resource", "note://n19") is not None)
        async with watched(app, "note://one") as told:
            before, began = len(subscriptions(asked, era)), app.env.monotonic()
            with anyio.move_on_after(1.0):
                while True:
                    for number in range(20):
                        watch(app, f"note://n{number}", Told()).stop()
                    kept = watch(app, "note://n0", Told())
                    await use(app, "one__say", method=UPDATED, params={"uri": "note://one"})
                    assert (await told.next())[0] == "note://one"
                    kept.stop()
            passes = (app.env.monotonic() - began) / PAUSE_SECONDS + 2
            assert len(subscriptions(asked, era)) - before <= passes


@pytest.mark.parametrize("era", ERAS)
async def test_many_resources_are_watched_at_once(tmp_path: Path, era: str) -> None:
    asked = write(tmp_path, era)
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        for number in range(200):
            await use(app, "one__add", uri=f"note://n{number}")
        await use(app, "one__say", method=LIST_CHANGED)
        await homes.eventually(lambda: app.hub.find("resource", "note://n199") is not None)
        watchings = [watch(app, f"note://n{number}", Told()) for number in range(200)]
        for watching in watchings:
            await watching.settled(SECONDS)
        assert len(subscriptions(asked, era)) <= (3 if era == "modern" else 200)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("method", [LIST_CHANGED, UPDATED])
async def test_a_storm_costs_one_refresh_a_second_and_no_call(tmp_path: Path, era: str, method: str) -> None:
    """Threat T8: 10,000 a second."""
    asked = write(tmp_path, era)
    write(tmp_path, "legacy", name="two")
    async with hub_at(tmp_path) as app:
        await until(app, "one", "ready")
        await until(app, "two", "ready")
        revision = app.hub.catalog.revision
        async with watched(app, "note://one") as told:
            about = {"uri": "note://one"}
            await use(app, "one__storm", method=method, params=about, seconds=1.5, each_second=10_000)
            before, rounds = lines(asked).count("resources/list"), 0
            began = app.env.monotonic()
            while "storm is over" not in lines(asked):
                for name in ("one__echo", "two__echo"):
                    await use(app, name)
                rounds += 1
                await anyio.sleep(0.02)
            assert rounds >= 2, "no call has to wait for the end of it"
            if method == UPDATED:
                assert len(told.notes) > 5_000
            await app.fleet.upstreams["one"].check()
            seconds = app.env.monotonic() - began
        assert lines(asked).count("resources/list") - before <= seconds + 4
        assert app.hub.catalog.revision == revision
