"""A client that knows tasks gets one for a call that waits for a person: a task of the hub's own.

Source: SEP-2663, the extension `io.modelcontextprotocol/tasks`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from connectors.base import CLIENT_CAPABILITIES_KEY
from hub.model import Json
from hub.store.reading import CallFilter, list_calls
from hub.tasks import TASKS
from tests.approving import (
    SHORT,
    append,
    approve,
    approving,
    deny,
    pending,
    receipts,
    result_of,
    rows,
    said,
)
from tests.clocks import Clock
from tests.house import events, headers_of, modern
from tests.hub_room import Room, asker

pytestmark = pytest.mark.anyio

CAPABLE: Json = {"extensions": {TASKS: {}}, "elicitation": {"url": {}, "form": {}}}

META: Any = {CLIENT_CAPABILITIES_KEY: CAPABLE}


async def ask(it: Room, http: httpx.AsyncClient, method: str, task: Json, **more: Any) -> Json:
    body = modern(method, {"taskId": task["taskId"], **more}, **META)
    answer = await http.post(it.url, json=body, headers={**headers_of(body), "mcp-name": task["taskId"]})
    found: Json = answer.json()
    return found


async def look(it: Room, http: httpx.AsyncClient, task: Json) -> Json:
    result: Json = (await ask(it, http, "tasks/get", task))["result"]
    assert result["taskId"] == task["taskId"] and result["resultType"] == "complete"
    return result


async def until(it: Room, http: httpx.AsyncClient, task: Json, *states: str) -> Json:
    while (shown := await look(it, http, task))["status"] not in states:  # noqa: ASYNC110
        await anyio.sleep(0.01)
    return shown


@asynccontextmanager
async def listening(it: Room, http: httpx.AsyncClient, *tasks: Json) -> AsyncIterator[AsyncIterator[Json]]:
    """What is told of these tasks."""
    wanted = {"taskIds": [task["taskId"] for task in tasks]}
    body = modern("subscriptions/listen", {"notifications": wanted}, **META)
    async with http.stream("POST", it.url, json=body, headers=headers_of(body)) as stream:
        told = events(stream)
        assert (await anext(told))["params"]["notifications"] == wanted
        yield told


async def test_a_task_waits_for_its_person_and_then_has_the_result(tmp_path: Path) -> None:
    async with approving(tmp_path) as it, it.http() as http:
        task = await append(it, http, capabilities=CAPABLE)
        row = await pending(it)
        assert (task["resultType"], task["status"]) == ("task", "working")
        assert row.id in task["statusMessage"] and task["_meta"]["hub/approval"]["id"] == row.id
        assert row.id not in task["taskId"]
        assert (await look(it, http, task))["status"] == "working" and receipts(tmp_path) == []
        await approve(it)
        done = await until(it, http, task, "completed", "failed")
        assert said(done["result"]) == "k" and receipts(tmp_path) == ["k"]
        assert (await look(it, http, task))["result"] == done["result"]
        calls = await it.app.store.read(lambda db: list_calls(db, CallFilter()))
        made = [call for call in calls if call.method == "tools/call"]
        assert [(call.state, call.kind) for call in reversed(made)] == [("done", None), ("done", None)]
        assert (await rows(it))[0].call == made[0].id


async def test_concurrent_looks_at_an_approved_task_make_the_call_once(tmp_path: Path) -> None:
    async with approving(tmp_path) as it, it.http() as http:
        task = await append(it, http, capabilities=CAPABLE)
        await approve(it)
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(until, it, http, task, "completed")
        assert receipts(tmp_path) == ["k"]


async def test_whoever_listens_to_a_task_is_told_and_need_not_look(tmp_path: Path) -> None:
    async with approving(tmp_path) as it, it.http() as http:
        task = await append(it, http, capabilities=CAPABLE)
        denied = await append(it, http, "other", capabilities=CAPABLE)
        async with listening(it, http, task, denied) as told:
            of = {json.loads(row.params)["arguments"]["key"]: row for row in await rows(it)}
            first, other = of["k"], of["other"]
            await it.app.approvals.decide(other.id, approve=False, decider="ann", reason="No.")
            heard = await anext(told)
            assert heard["method"] == "notifications/tasks" and heard["params"]["taskId"] == denied["taskId"]
            assert "No." in said(heard["params"]["result"])
            await it.app.approvals.decide(first.id, approve=True, decider="ann", reason=None)
            params = (await anext(told))["params"]
            assert (params["taskId"], params["status"]) == (task["taskId"], "completed")
            assert said(params["result"]) == "k" and receipts(tmp_path) == ["k"]


async def test_a_denied_task_ends_with_the_reason(tmp_path: Path) -> None:
    async with approving(tmp_path) as it, it.http() as http:
        task = await append(it, http, capabilities=CAPABLE)
        await deny(it, "Too late.")
        done = await look(it, http, task)
        assert done["status"] == "completed" and done["result"]["isError"]
        assert "Too late." in said(done["result"]) and receipts(tmp_path) == []


async def test_a_task_that_nobody_approves_ends(tmp_path: Path) -> None:
    env = Clock()
    async with approving(tmp_path, SHORT, env) as it, it.http() as http:
        task = await append(it, http, capabilities=CAPABLE)
        env.ahead = 3601
        done = await look(it, http, task)
        assert done["status"] == "completed" and "has ended" in said(done["result"])


async def test_a_denial_holds_though_its_agent_cancels_the_task(tmp_path: Path) -> None:
    async with approving(tmp_path) as it, it.http() as http:
        task = await append(it, http, capabilities=CAPABLE)
        await deny(it, "No.")
        for _ in range(2):
            assert (await ask(it, http, "tasks/cancel", task))["result"]["resultType"] == "complete"
            assert "Denied" in said((await look(it, http, task))["result"])
            again = await append(it, http, capabilities=CAPABLE)
            assert again["isError"] is True and "Denied" in said(again)
        assert [row.state for row in await rows(it)] == ["denied"]


async def test_a_cancelled_task_can_be_approved_no_longer(tmp_path: Path) -> None:
    async with approving(tmp_path) as it, it.http() as http:
        task = await append(it, http, capabilities=CAPABLE)
        row = await pending(it)
        assert (await ask(it, http, "tasks/cancel", task))["result"]["resultType"] == "complete"
        assert (await look(it, http, task))["status"] == "cancelled"
        with pytest.raises(Exception, match="is withdrawn"):
            await approve(it, row.id)


async def test_a_server_asks_in_the_middle_of_an_approved_task(tmp_path: Path) -> None:
    """SEP-2663: `input_required`, answered by `tasks/update`."""
    servers = {"box": {"connect": asker(tmp_path / "log", "--modern")}}
    rule = {"use": ["box__ask"], "ask": "human"}
    async with approving(tmp_path, rule=rule, servers=servers) as it, it.http() as http:
        task = await result_of(it, http, {"name": "box__ask", "arguments": {}}, CAPABLE)
        await approve(it)
        asked = await until(it, http, task, "input_required", "completed", "failed")
        assert asked["inputRequests"]["it"]["method"] == "elicitation/create"
        answers = {"it": {"action": "accept", "content": {"name": "n"}}}
        await ask(it, http, "tasks/update", task, inputResponses=answers)
        done = await until(it, http, task, "completed", "failed")
        assert done["status"] == "completed", done
        assert json.loads(said(done["result"])) == answers
        sent = (tmp_path / "log").read_text()
        assert "hub/approval" not in sent and TASKS not in sent


async def test_a_task_is_found_again_after_a_restart(tmp_path: Path) -> None:
    """Ours: approved before, made after; and its result outlives the hub as well."""
    async with approving(tmp_path) as it, it.http() as http:
        task = await append(it, http, capabilities=CAPABLE)
        await approve(it)
    async with approving(tmp_path) as it, it.http() as http:
        assert said((await until(it, http, task, "completed"))["result"]) == "k"
    async with approving(tmp_path) as it, it.http() as http:
        assert said((await look(it, http, task))["result"]) == "k" and receipts(tmp_path) == ["k"]


async def test_anothers_task_that_waits_is_as_unknown_as_any(tmp_path: Path) -> None:
    async with approving(tmp_path) as it, it.http() as http, it.http("other") as others:
        task = await append(it, http, capabilities=CAPABLE)
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            error = (await ask(it, others, method, task, inputResponses={}))["error"]
            assert error == {"code": -32602, "message": f"Unknown task: {task['taskId']}"}
        assert (await pending(it)).agent == "me"


async def test_an_approved_task_whose_tool_is_granted_no_longer_is_not_made(tmp_path: Path) -> None:
    """Ours: a person's word opens nothing that the agent may not use."""
    async with approving(tmp_path) as it, it.http() as http:
        task = await append(it, http, capabilities=CAPABLE)
        manifest = tmp_path / "home" / "manifests" / "me.yaml"
        manifest.write_text('{"agent": "me", "may": ["ledger__look"]}')
        await it.app.reload()
        await approve(it)
        assert (await ask(it, http, "tasks/get", task))["error"]["code"] == -32602
        assert receipts(tmp_path) == []
