"""The tasks extension through the hub: ids of its own, whose tasks they are, and what is told of them.

Source: SEP-2663, the extension `io.modelcontextprotocol/tasks`.
"""

from __future__ import annotations

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
from hub.tasks import TASKS, TaskIds
from tests.conformance import REPOSITORY, running_everything
from tests.house import events, headers_of, modern
from tests.hub_room import Room, room

pytestmark = pytest.mark.anyio

SECONDS_MAX = 30
CAPABILITIES: Json = {"elicitation": {}, "extensions": {TASKS: {}}}
CLIENT_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
STDIO = {
    "connect": {"command": [sys.executable, "-m", "tests.servers.everything", "--stdio"]},
    "cwd": str(REPOSITORY),
}


@pytest.fixture(params=["http", "stdio"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Json]:
    """The manifest of a server that makes tasks."""
    if request.param == "stdio":
        yield STDIO
    else:
        async with running_everything() as url:
            yield {"connect": {"url": url}}


@asynccontextmanager
async def agent_of(
    home: Path, server: Json, name: str = "me"
) -> AsyncIterator[tuple[Room, httpx.AsyncClient]]:
    with anyio.fail_after(SECONDS_MAX):
        async with room(home, {"everything": server}) as it, it.http(name) as http:
            yield it, http


async def ask(
    it: Room, http: httpx.AsyncClient, method: str, params: Json, capabilities: Json = CAPABILITIES
) -> Json:
    body = modern(method, params, **{CLIENT_CAPABILITIES: capabilities})
    headers = {**headers_of(body), **({"mcp-name": params["taskId"]} if "taskId" in params else {})}
    answer: Json = (await http.post(it.url, json=body, headers=headers)).json()
    return answer


async def made(it: Room, http: httpx.AsyncClient, name: str, **arguments: Any) -> Json:
    """A task of a tool."""
    answer = await ask(it, http, "tools/call", {"name": f"everything__{name}", "arguments": arguments})
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


async def test_a_task_is_asked_answered_and_finished_by_an_id_of_the_hubs_own(
    tmp_path: Path, server: Json
) -> None:
    """SEP-2663: `tasks/get`, `tasks/update`; the result is the one that the tool would have given."""
    async with agent_of(tmp_path, server) as (it, http):
        task = await made(it, http, "confirm_delete", filename="a.txt")
        waiting = await until(it, http, task, "input_required")
        assert waiting["taskId"] == task["taskId"] and waiting["resultType"] == "complete"
        (key,) = waiting["inputRequests"]
        answers = {key: {"action": "accept", "content": {"confirm": True}}}
        update = {"taskId": task["taskId"], "inputResponses": answers}
        assert (await ask(it, http, "tasks/update", update))["result"]["resultType"] == "complete"
        done = await until(it, http, task, "completed", "failed")
        assert done["status"] == "completed" and "a.txt" in done["result"]["content"][0]["text"]
        calls = await it.app.store.read(lambda db: list_calls(db, CallFilter(limit=50)))
        # Each is recorded as a use of the tool, by the sealed id: the server's own is the server's.
        assert {(call.method, call.tool) for call in calls} == {
            (method, "everything__confirm_delete") for method in ("tools/call", "tasks/get", "tasks/update")
        }


async def test_a_task_is_cancelled(tmp_path: Path, server: Json) -> None:
    async with agent_of(tmp_path, server) as (it, http):
        task = await made(it, http, "slow_compute", seconds=60, label="x")
        cancelled = await ask(it, http, "tasks/cancel", {"taskId": task["taskId"]})
        assert cancelled["result"]["resultType"] == "complete"
        await until(it, http, task, "cancelled")


async def test_a_task_is_found_again_after_a_restart_of_the_hub(tmp_path: Path) -> None:
    """Ours: the id says it all; a list of tasks would be one more thing to lose."""
    async with running_everything() as url:
        server = {"connect": {"url": url}}
        async with agent_of(tmp_path, server) as (it, http):
            task = await made(it, http, "slow_compute", seconds=60, label="x")
        async with agent_of(tmp_path, server) as (it, http):
            assert (await until(it, http, task, "working"))["taskId"] == task["taskId"]


async def test_anothers_task_is_as_unknown_as_any(tmp_path: Path) -> None:
    """SEP-2663: "to ensure that the client has permission to access a task"."""
    async with agent_of(tmp_path, STDIO) as (it, http), it.http("other") as others:
        task = await made(it, http, "slow_compute", seconds=60, label="x")
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            made_up = f"{task['taskId'][:-4]}AAAA"
            for who, id in ((others, task["taskId"]), (http, made_up), (http, "none"), (http, "")):
                error = (await ask(it, who, method, {"taskId": id, "inputResponses": {}}))["error"]
                assert error == {"code": -32602, "message": f"Unknown task: {id}"}
        assert (await until(it, http, task, "working"))["status"] == "working"


async def test_a_task_is_unknown_once_its_tool_is_no_longer_granted(tmp_path: Path) -> None:
    """Ours: a task is a use of the tool that made it, whenever it is asked for."""
    async with agent_of(tmp_path, STDIO) as (it, http):
        task = await made(it, http, "slow_compute", seconds=60, label="x")
        manifest = tmp_path / "manifests" / "me.yaml"
        manifest.write_text('{"agent": "me", "may": ["*"], "never": ["*__slow_compute"]}')
        await it.app.reload()
        error = (await ask(it, http, "tasks/get", {"taskId": task["taskId"]}))["error"]
        assert error == {"code": -32602, "message": f"Unknown task: {task['taskId']}"}


async def test_only_clients_that_know_tasks_get_and_ask_for_them(tmp_path: Path) -> None:
    """SEP-2663: -32021 names the extension, before the id is looked at; `tasks/list` is no method."""
    async with agent_of(tmp_path, STDIO) as (it, http):
        needed = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            error = (await ask(it, http, method, {"taskId": "none"}, {}))["error"]
            assert (error["code"], error["data"]) == (-32021, needed)
        call = {"name": "everything__failing_job", "arguments": {}}
        error = (await ask(it, http, "tools/call", call, {}))["error"]
        assert (error["code"], error["data"]) == (-32021, needed)
        for method in ("tasks/list", "tasks/result"):
            assert (await ask(it, http, method, {}))["error"]["code"] == -32601
        async with it.session({}) as older:
            assert (await older.request("tasks/get", {"taskId": "x"}))["error"]["code"] == -32601
            now = await older.request(
                "tools/call", {"name": "everything__slow_compute", "arguments": {"seconds": 0, "label": "x"}}
            )
            assert now["result"]["content"]


async def test_a_header_that_names_another_task_is_refused(tmp_path: Path) -> None:
    """SEP-2663, "Routing Headers": `Mcp-Name` is `params.taskId`."""
    async with agent_of(tmp_path, STDIO) as (it, http):
        body = modern("tasks/get", {"taskId": "one"}, **{CLIENT_CAPABILITIES: CAPABILITIES})
        for name in ({"mcp-name": "two"}, {}):
            answer = await http.post(it.url, json=body, headers={**headers_of(body), **name})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


async def test_a_listener_hears_of_its_own_tasks_only(tmp_path: Path, server: Json) -> None:
    """SEP-2663: `taskIds` of `subscriptions/listen`; each notification is the whole task."""
    async with agent_of(tmp_path, server) as (it, http), it.http("other") as others:
        mine = await made(it, http, "slow_compute", seconds=60, label="x")
        silent = await made(it, http, "slow_compute", seconds=60, label="x")
        other = await made(it, others, "slow_compute", seconds=60, label="x")
        wanted = {"taskIds": [mine["taskId"], other["taskId"], "none"]}
        body = modern(
            "subscriptions/listen", {"notifications": wanted}, **{CLIENT_CAPABILITIES: CAPABILITIES}
        )
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


async def test_listening_to_tasks_without_the_extension_is_refused(tmp_path: Path) -> None:
    async with agent_of(tmp_path, STDIO) as (it, http):
        error = (await ask(it, http, "subscriptions/listen", {"notifications": {"taskIds": ["x"]}}, {}))[
            "error"
        ]
        assert error["code"] == -32021


async def test_a_listener_is_told_what_it_missed_while_its_server_was_away(tmp_path: Path) -> None:
    """Ours: a stream that only listens must not wait for ever for an end that it did not see."""
    async with running_everything() as url, agent_of(tmp_path, {"connect": {"url": url}}) as (it, http):
        task = await made(it, http, "slow_compute", seconds=60, label="x")
        wanted = {"taskIds": [task["taskId"]]}
        body = modern(
            "subscriptions/listen", {"notifications": wanted}, **{CLIENT_CAPABILITIES: CAPABILITIES}
        )
        async with http.stream("POST", it.url, json=body, headers=headers_of(body)) as stream:
            told = events(stream)
            await anext(told)
            # The same server by another manifest: the stream there is left, and opened anew.
            server = {"server": "everything", "connect": {"url": url}, "limits": {"call": "1s"}}
            (tmp_path / "manifests" / "everything.yaml").write_text(str(server).replace("'", '"'))
            await it.app.reload()
            assert (await anext(told))["params"]["status"] == "working"


def test_an_id_opens_for_its_agent_alone() -> None:
    """Ours: sealed for the agent, with a key that outlives the hub's process."""
    env = SystemEnv()
    entry = Entry("tool", "shop", "buy", "shop__buy", "shop__buy", {})
    id = TaskIds(Seal(b"k" * 32, env)).give("me", entry, "own-1")
    again = TaskIds(Seal(b"k" * 32, env))
    task = again.open("me", id)
    assert task is not None and (task.server, task.tool, task.own) == (entry.server, "buy", "own-1")
    assert again.open("other", id) is None
    assert TaskIds(Seal(b"x" * 32, env)).open("me", id) is None
    assert "own-1" not in id and len(id) < 250
