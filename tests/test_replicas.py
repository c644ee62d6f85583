"""Several links to one server: the least busy takes a call, a session stays where it must, the ill rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from hub.admin.admin import Admin
from hub.errors import UpstreamDown, UpstreamError, UpstreamFailed
from hub.manifests import manifest
from hub.model import Json
from tests.homes import eventually
from tests.servers.fault_http import nobody_at
from tests.shop import ACT, LOOK, House, Shop, breaks, hangs, house, said, save, says, shop, tool, write

pytestmark = pytest.mark.anyio

LEDGER = str(Path(__file__).parent / "servers" / "ledger.py")


def of(*more: Shop) -> list[Json]:
    return [{"url": each.url, "allow_private": True} for each in more]


def notes(hub: House, server: str = "one") -> list[Any]:
    return [each["note"] for each in hub.app.fleet.replicas(hub.app.fleet.upstreams[server])]


async def ready(hub: House, *wanted: str | None) -> None:
    """Return once the further ones are as is wanted."""
    await eventually(
        lambda: [note if note is None else str(note) for note in notes(hub)] == [*wanted] or not wanted
    )


async def test_a_call_goes_to_the_least_busy(tmp_path: Path) -> None:
    async with shop() as one, shop() as two:
        one.does("look", hangs)
        two.does("look", hangs)
        write(tmp_path, "one", one, replicas=of(two))
        async with house(tmp_path) as hub:
            await ready(hub, None)
            async with anyio.create_task_group() as tasks:
                for count in range(1, 5):
                    tasks.start_soon(hub.use, "one__look")
                    await eventually(lambda count=count: len(one.calls) + len(two.calls) == count)  # type: ignore[misc]
                assert (len(one.calls), len(two.calls)) == (2, 2)
                tasks.cancel_scope.cancel()


async def test_calls_one_after_the_other_are_shared_out(tmp_path: Path) -> None:
    async with shop() as one, shop() as two:
        write(tmp_path, "one", one, replicas=of(two))
        async with house(tmp_path) as hub:
            await ready(hub, None)
            for _ in range(6):
                await hub.use("one__act")
            assert (len(one.calls), len(two.calls)) == (3, 3)


async def test_what_cannot_be_sent_to_one_is_sent_to_the_next_and_nothing_is_sent_twice(
    tmp_path: Path,
) -> None:
    async with shop() as two:
        async with shop() as one:
            write(tmp_path, "one", one, replicas=of(two))
            async with house(tmp_path) as hub:
                await ready(hub, None)
        async with nobody_at(one.at.port), house(tmp_path) as hub:
            await ready(hub, None)
            for count in range(1, 4):
                assert said(await hub.use("one__act")) == "ok"
                assert two.count("act") == count
            two.does("act", breaks)
            with pytest.raises(UpstreamFailed) as failed:
                await hub.use("one__act")
            assert failed.value.sent
            assert two.count("act") == 4


async def test_one_that_is_left_alone_gets_no_call_while_another_is_well(tmp_path: Path) -> None:
    async with shop() as one, shop() as two:
        one.does("look", breaks)
        write(tmp_path, "one", one, replicas=of(two), breaker={"failures": 1, "wait": "10s"})
        async with house(tmp_path) as hub:
            await ready(hub, None)
            failures = 0
            for _ in range(6):
                try:
                    await hub.use("one__look")
                except UpstreamError:
                    failures += 1
            assert (failures, len(one.calls), len(two.calls)) == (1, 1, 5)
            two.does("look", breaks)
            with pytest.raises(UpstreamFailed):
                await hub.use("one__look")
            with pytest.raises(UpstreamDown):
                await hub.use("one__look")


async def test_one_with_other_tools_gets_no_call_and_people_see_why(tmp_path: Path) -> None:
    async with shop(LOOK, ACT) as one, shop(LOOK, tool("burn")) as two:
        write(tmp_path, "one", one, replicas=of(two))
        async with house(tmp_path) as hub:
            why = "offers other tools, so it gets no calls: lacks act; adds burn"
            await ready(hub, why)
            for _ in range(4):
                await hub.use("one__look")
            assert two.calls == []
            shown = (await Admin(hub.app).server("one"))["replicas"]
            assert [(each["note"], each["connects_to"]) for each in shown] == [(why, two.url)]
            names = {each.name for each in hub.app.hub.entries(hub.app.identities.local("me"), "tool")}
            assert names == {"one__look", "one__act"}


async def test_a_session_stays_with_one_where_it_has_something_of_its_own(tmp_path: Path) -> None:
    async with shop() as one, shop() as two:
        write(tmp_path, "one", one, replicas=of(two), share="session")
        save(tmp_path, "other", {"agent": "other", "may": ["*"]})
        async with house(tmp_path) as hub:
            await ready(hub, None)
            agent = hub.app.identities.local("me")
            about: Json = {"kind": "local", "version": "2026-07-28", "client": {}, "capabilities": {}}
            where: set[int] = set()
            # Which one is a session's is chance: they come until both have had some.
            while len(where) < 2:
                session = (await hub.app.sessions.open(agent, **about)).id
                before = len(one.calls)
                for _ in range(3):
                    params = {"name": "one__look", "arguments": {}}
                    await hub.app.hub.call(hub.app.hub.new_call(agent, session, "tools/call", params))
                assert len(one.calls) - before in (0, 3)
                where.add(len(one.calls) - before)


async def test_an_answer_goes_to_the_one_that_asked(tmp_path: Path) -> None:
    async with shop() as one, shop() as two:
        for each in (one, two):
            question = {"method": "elicitation/create", "params": {"message": "sure?"}}
            asks = {
                "resultType": "input_required",
                "inputRequests": {"q": question},
                "requestState": each.url,
            }
            each.does("look", says(asks), says("thanks"))
        write(tmp_path, "one", one, replicas=of(two))
        async with house(tmp_path) as hub:
            await ready(hub, None)
            for _ in range(2):
                state = (await hub.use("one__look", capabilities={"elicitation": {}}))["requestState"]
                more = {"requestState": state, "inputResponses": {"q": {"action": "accept"}}}
                assert said(await hub.use("one__look", more=more)) == "thanks"
            for each in (one, two):
                assert [params.get("requestState") for params in each.calls] == [None, each.url]


async def test_what_is_asked_of_a_task_goes_to_the_one_that_made_it_after_a_restart_too(
    tmp_path: Path,
) -> None:
    async with shop() as one, shop() as two:
        for each in (one, two):
            made = {"resultType": "task", "taskId": each.url, "status": "working"}
            each.does("look", says({**made, "createdAt": "2026-01-01T00:00:00Z", "ttlMs": None}))
            each.knows = {each.url}
        write(tmp_path, "one", one, replicas=of(two))
        given: list[str] = []
        for _ in range(2):
            async with house(tmp_path) as hub:
                await ready(hub, None)
                if not given:
                    tasks: Json = {"capabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}
                    given = [(await hub.use("one__look", **tasks))["taskId"] for _ in range(2)]
                for id in given:
                    agent = hub.app.identities.local("me")
                    session = await hub.app.sessions.current(agent, {})
                    call = hub.app.hub.new_call(agent, session.id, "tasks/get", {"taskId": id})
                    assert (await hub.app.hub.call(call))["taskId"] == id
        assert [len(each.calls) for each in (one, two)] == [1, 1]


async def test_a_command_runs_as_often_as_is_asked_and_all_of_it_ends_with_the_hub(tmp_path: Path) -> None:
    connect = {"command": [sys.executable, LEDGER, str(tmp_path)]}
    save(tmp_path, "one", {"server": "one", "connect": connect, "replicas": 3})
    async with house(tmp_path) as hub:
        await ready(hub, None, None)
        for key in "abc":
            await hub.use("one__append", {"key": key})
        starts = (tmp_path / "starts").read_text().split()
        assert len(starts) == 3
        assert sorted((tmp_path / "receipts").read_text().split()) == ["a", "b", "c"]
    await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in starts))


WRONG = {
    "another-package": (
        "connect: {package: {pypi: tea-server, version: 1.0.0}}\n"
        "replicas:\n  - {package: {pypi: coffee-server, version: 1.0.0}}",
        "tea.yaml:4: replicas[0]: is another package, or another version of it, so its tools are others. "
        "Write the same one, or make it a server of its own.",
    ),
    "another-version": (
        "connect: {package: {pypi: tea-server, version: 1.0.0}}\n"
        "replicas:\n  - {package: {pypi: tea-server, version: 1.0.1}}",
        "tea.yaml:4: replicas[0]: is another package, or another version of it, so its tools are others. "
        "Write the same one, or make it a server of its own.",
    ),
    "another-kind": (
        "connect: {url: https://tea.example.com/mcp}\nreplicas:\n  - {command: [tea-server]}",
        "tea.yaml:4: replicas[0]: is of another kind (command, not url), so it is another server. "
        "Make it one of its own.",
    ),
    "in-the-hub-itself": (
        "connect: {python: 'tea:pot'}\nreplicas: 2",
        "tea.yaml:3: replicas[0]: runs in the hub's own process, where one is enough. Remove it.",
    ),
    "none": (
        "connect: {url: https://tea.example.com/mcp}\nreplicas: 0",
        "tea.yaml:3: replicas: must be from 1 to 16, the first one counted.",
    ),
    "no-way-at-all": (
        "connect: {url: https://tea.example.com/mcp}\nreplicas:\n  - {urls: x}",
        "tea.yaml:4: replicas[0].urls: is not known here. Did you mean 'url'?",
    ),
}


@pytest.mark.parametrize(("lines", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_replicas_that_cannot_have_the_same_tools_are_refused(lines: str, sentence: str) -> None:
    found = manifest.load_text(Path("tea.yaml"), f"server: tea\n{lines}\n")
    assert [str(problem) for problem in found.problems] == [sentence]
    assert found.servers == {}
