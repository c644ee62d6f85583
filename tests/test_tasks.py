"""The tasks extension through the hub: ids of its own, whose tasks they are, and what is told of them.

Source: SEP-2663, the extension `io.modelcontextprotocol/tasks`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from hub.env import SystemEnv
from hub.model import Entry, Json
from hub.seal import Seal
from hub.store.reading import CallFilter, list_calls
from hub.tasks import TASKS, TaskIds, with_ids
from tests.conformance import REPOSITORY, running_everything
from tests.house import events, headers_of, modern
from tests.hub_room import Room, room

pytestmark = pytest.mark.anyio

SECONDS_MAX = 60
MODULE_SECONDS_MAX = 300
CAPABILITIES: Json = {"elicitation": {}, "extensions": {TASKS: {}}}
CLIENT_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
PIPE = {
    "connect": {"command": [sys.executable, "-m", "tests.servers.everything", "--stdio"]},
    "cwd": str(REPOSITORY),
}


SERVERS = ("net", "pipe")
"""The same server, over HTTP and over a pipe."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module: its hub lives as long."""
    return "asyncio"


@pytest.fixture(scope="module")
async def it(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    async with running_everything() as url:
        servers: dict[str, Json] = {"net": {"connect": {"url": url}}, "pipe": PIPE}
        async with room(tmp_path_factory.mktemp("tasks"), servers, seconds=MODULE_SECONDS_MAX) as it:
            yield it


@asynccontextmanager
async def agent_of(it: Room, name: str = "me") -> AsyncIterator[httpx.AsyncClient]:
    with anyio.fail_after(SECONDS_MAX):
        async with it.http(name) as http:
            yield http


def request(method: str, params: Json, capabilities: Json | None = None) -> Json:
    """The body of a modern request; by default its client can handle tasks."""
    meta: Json = {CLIENT_CAPABILITIES: CAPABILITIES if capabilities is None else capabilities}
    return modern(method, params, **meta)


async def ask(
    it: Room, http: httpx.AsyncClient, method: str, params: Json, capabilities: Json | None = None
) -> Json:
    body = request(method, params, capabilities)
    headers = {**headers_of(body), **({"mcp-name": params["taskId"]} if "taskId" in params else {})}
    answer: Json = (await http.post(it.url, json=body, headers=headers)).json()
    return answer


async def made(it: Room, http: httpx.AsyncClient, name: str, **arguments: Any) -> Json:
    """A task of a tool."""
    answer = await ask(it, http, "tools/call", {"name": name, "arguments": arguments})
    result: Json = answer["result"]
    assert result["resultType"] == "task", result
    return result


async def until(it: Room, http: httpx.AsyncClient, task: Json, *states: str) -> Json:
    """The task, once it is in one of these states."""
    while True:
        result: Json = (await ask(it, http, "tasks/get", {"taskId": task["taskId"]}))["result"]
        if result["status"] in states:
            return result
        await anyio.sleep(result["pollIntervalMs"] / 1000)


async def slow(it: Room, http: httpx.AsyncClient, server: str = "pipe") -> Json:
    """A task that goes on for longer than any test."""
    return await made(it, http, f"{server}__slow_compute", seconds=60, label="x")


@pytest.mark.parametrize("server", SERVERS)
async def test_a_task_is_asked_answered_and_finished_by_an_id_of_the_hubs_own(it: Room, server: str) -> None:
    """SEP-2663: `tasks/get`, `tasks/update`; the result is the one that the tool would have given."""
    async with agent_of(it) as http:
        task = await made(it, http, f"{server}__confirm_delete", filename="a.txt")
        waiting = await until(it, http, task, "input_required")
        assert waiting["taskId"] == task["taskId"] and waiting["resultType"] == "complete"
        (key,) = waiting["inputRequests"]
        answers = {key: {"action": "accept", "content": {"confirm": True}}}
        update = {"taskId": task["taskId"], "inputResponses": answers}
        assert (await ask(it, http, "tasks/update", update))["result"]["resultType"] == "complete"
        done = await until(it, http, task, "completed", "failed")
        assert done["status"] == "completed" and "a.txt" in done["result"]["content"][0]["text"]
        calls = await it.app.store.read(lambda db: list_calls(db, CallFilter(limit=100)))
        name = f"{server}__confirm_delete"
        # Each is recorded as a use of the tool.
        assert {call.method for call in calls if call.tool == name} == {
            "tools/call",
            "tasks/get",
            "tasks/update",
        }


@pytest.mark.parametrize("server", SERVERS)
async def test_a_task_is_cancelled(it: Room, server: str) -> None:
    async with agent_of(it) as http:
        task = await slow(it, http, server)
        cancelled = await ask(it, http, "tasks/cancel", {"taskId": task["taskId"]})
        assert cancelled["result"]["resultType"] == "complete"
        await until(it, http, task, "cancelled")


async def test_a_task_is_found_again_after_a_restart_of_the_hub(tmp_path: Path) -> None:
    """Ours: the id says it all; a list of tasks would be one more thing to lose."""
    async with running_everything() as url:
        servers = {"net": {"connect": {"url": url}}}
        async with room(tmp_path, servers) as it, agent_of(it) as http:
            task = await slow(it, http, "net")
        async with room(tmp_path, servers) as it, agent_of(it) as http:
            assert (await until(it, http, task, "working"))["taskId"] == task["taskId"]


async def test_anothers_task_is_as_unknown_as_any(it: Room) -> None:
    """SEP-2663: "to ensure that the client has permission to access a task"."""
    async with agent_of(it) as http, it.http("other") as others:
        task = await slow(it, http)
        made_up = f"{task['taskId'][:-4]}AAAA"
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            for who, id in ((others, task["taskId"]), (http, made_up), (http, "none"), (http, "")):
                error = (await ask(it, who, method, {"taskId": id, "inputResponses": {}}))["error"]
                assert error == {"code": -32602, "message": f"Unknown task: {id}"}
        assert (await until(it, http, task, "working"))["status"] == "working"


async def test_what_the_server_no_longer_knows_is_said_with_the_id_that_the_agent_knows(it: Room) -> None:
    """Ours: the server's own id is the server's, in errors too."""
    async with agent_of(it) as http:
        entry = it.app.hub.find("tool", "pipe__slow_compute")
        assert entry is not None
        gone = TaskIds(it.app.seal).give("me", entry, "own-id")
        error = (await ask(it, http, "tasks/get", {"taskId": gone}))["error"]
        assert error == {"code": -32602, "message": "Unknown task", "data": {"taskId": gone}}


async def test_a_task_is_unknown_once_its_tool_is_no_longer_granted(tmp_path: Path) -> None:
    """Ours: a task is a use of the tool that made it, whenever it is asked for or told of."""
    async with room(tmp_path, {"pipe": PIPE}) as it, agent_of(it) as http:
        lost = await made(it, http, "pipe__slow_compute", seconds=3, label="x")
        kept = await made(it, http, "pipe__confirm_delete", filename="a")
        wanted = {"taskIds": [lost["taskId"], kept["taskId"]]}
        body = request("subscriptions/listen", {"notifications": wanted})
        async with http.stream("POST", it.url, json=body, headers=headers_of(body)) as stream:
            told = events(stream)
            assert (await anext(told))["params"]["notifications"] == wanted
            manifest = tmp_path / "manifests" / "me.yaml"
            manifest.write_text('{"agent": "me", "may": ["*"], "never": ["*__slow_compute"]}')
            await it.app.reload()
            error = (await ask(it, http, "tasks/get", {"taskId": lost["taskId"]}))["error"]
            assert error == {"code": -32602, "message": f"Unknown task: {lost['taskId']}"}
            # It has ended by the time that this has run for as long.
            await made_and_done(it, "other", seconds=3)
            await ask(it, http, "tasks/cancel", {"taskId": kept["taskId"]})
            assert {(await anext(told))["params"]["taskId"]} == {kept["taskId"]}


async def made_and_done(it: Room, agent: str, seconds: int) -> None:
    """Another agent's task, from its start to its end."""
    async with agent_of(it, agent) as http:
        task = await made(it, http, "pipe__slow_compute", seconds=seconds, label="x")
        await until(it, http, task, "completed")


async def test_only_clients_that_know_tasks_get_and_ask_for_them(it: Room) -> None:
    """SEP-2663: -32021 names the extension, before the id is looked at; `tasks/list` is no method."""
    needed: Json = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    async with agent_of(it) as http:
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            error = (await ask(it, http, method, {"taskId": "none"}, {}))["error"]
            assert (error["code"], error["data"]) == (-32021, needed)
        listening = {"notifications": {"taskIds": ["none"]}}
        error = (await ask(it, http, "subscriptions/listen", listening, {}))["error"]
        assert (error["code"], error["data"]) == (-32021, needed)
        call = {"name": "pipe__failing_job", "arguments": {}}
        error = (await ask(it, http, "tools/call", call, {}))["error"]
        assert (error["code"], error["data"]) == (-32021, needed)
        for method in ("tasks/list", "tasks/result"):
            assert (await ask(it, http, method, {}))["error"]["code"] == -32601


async def test_an_older_agent_gets_results_not_tasks(it: Room) -> None:
    """SEP-2663, "Backward Compatibility": the extension is not defined for its protocol, whatever it says."""
    async with it.session({"extensions": {TASKS: {}}}) as older:
        assert (await older.request("tasks/get", {"taskId": "x"}))["error"]["code"] == -32601
        call = {"name": "pipe__slow_compute", "arguments": {"seconds": 0, "label": "x"}}
        assert (await older.request("tools/call", call))["result"]["content"]


async def test_a_header_that_names_another_task_is_refused(it: Room) -> None:
    """SEP-2663, "Routing Headers": `Mcp-Name` is `params.taskId`."""
    async with agent_of(it) as http:
        body = request("tasks/get", {"taskId": "one"})
        for name in ({"mcp-name": "two"}, {}):
            answer = await http.post(it.url, json=body, headers={**headers_of(body), **name})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


@pytest.mark.parametrize("server", SERVERS)
async def test_a_listener_hears_of_its_own_tasks_only(it: Room, server: str) -> None:
    """SEP-2663: `taskIds` of `subscriptions/listen`; each notification is the whole task."""
    async with agent_of(it) as http, it.http("other") as others:
        mine, silent = await slow(it, http, server), await slow(it, http, server)
        other = await slow(it, others, server)
        wanted = {"taskIds": [mine["taskId"], other["taskId"], "none"]}
        body = request("subscriptions/listen", {"notifications": wanted})
        async with http.stream("POST", it.url, json=body, headers=headers_of(body)) as stream:
            told = events(stream)
            acknowledged = (await anext(told))["params"]
            assert acknowledged["notifications"] == {"taskIds": [mine["taskId"]]}
            await ask(it, others, "tasks/cancel", {"taskId": other["taskId"]})
            for task in (silent, mine):
                await ask(it, http, "tasks/cancel", {"taskId": task["taskId"]})
            heard = await anext(told)
        assert heard["method"] == "notifications/tasks"
        assert (heard["params"]["taskId"], heard["params"]["status"]) == (mine["taskId"], "cancelled")
        assert heard["params"]["_meta"] == acknowledged["_meta"]


async def test_a_listener_is_told_what_it_missed_while_its_server_was_away(tmp_path: Path) -> None:
    """Ours: a stream that only listens must not wait for ever for an end that it did not see."""
    async with running_everything() as url:
        server: Json = {"connect": {"url": url}}
        async with room(tmp_path, {"net": server}) as it, agent_of(it) as http:
            task = await slow(it, http, "net")
            body = request("subscriptions/listen", {"notifications": {"taskIds": [task["taskId"]]}})
            async with http.stream("POST", it.url, json=body, headers=headers_of(body)) as stream:
                told = events(stream)
                await anext(told)
                # The same server by another manifest: its stream is left, and opened anew.
                manifest = {"server": "net", **server, "limits": {"call": "1s"}}
                (tmp_path / "manifests" / "net.yaml").write_text(json.dumps(manifest))
                await it.app.reload()
                missed = (await anext(told))["params"]
                assert (missed["taskId"], missed["status"]) == (task["taskId"], "working")
                assert "resultType" not in missed


def test_an_id_opens_for_its_agent_alone() -> None:
    """Ours: sealed for the agent, with a key that outlives the hub's process."""
    env = SystemEnv()
    entry = Entry("tool", "shop", "buy", "shop__buy", "shop__buy", {})
    id = TaskIds(Seal(b"k" * 32, env)).give("me", entry, "own-1")
    again = TaskIds(Seal(b"k" * 32, env))
    task = again.open("me", id)
    assert task is not None and (task.server, task.tool, task.own) == ("shop", "buy", "own-1")
    assert again.open("other", id) is None
    assert TaskIds(Seal(b"x" * 32, env)).open("me", id) is None
    assert "own-1" not in id and len(id) < 250


def test_every_id_of_a_task_is_renamed() -> None:
    """Ours: what the server knows it by appears nowhere, and nothing else changes."""
    related = "io.modelcontextprotocol/related-task"
    raw: Json = {
        "taskId": "a",
        "task": {"taskId": "a", "x": None},
        "result": {"_meta": {related: {"taskId": "b", "y": 1}, "v/k": 2}, "content": [{"taskId": "a"}]},
    }
    shown = with_ids(raw, str.upper)
    assert shown == {
        "taskId": "A",
        "task": {"taskId": "A", "x": None},
        "result": {"_meta": {related: {"taskId": "B", "y": 1}, "v/k": 2}, "content": [{"taskId": "a"}]},
    }
    assert raw["taskId"] == "a" and list(shown) == list(raw)
