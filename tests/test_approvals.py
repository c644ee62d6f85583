"""`ask: human`: a call waits for a person, is made once, and is bound to what the person saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from connectors.base import CLIENT_CAPABILITIES_KEY
from hub import chain
from hub.approvals.approvals import PENDING_MAX, Approvals
from hub.audit.redact import Redactor
from hub.canonical import canonical
from hub.catalog import Catalog, Offer, View
from hub.env import SystemEnv
from hub.errors import Unapproved
from hub.hub import Hub
from hub.middleware.approve import Approve
from hub.middleware.authorize import Authorize
from hub.middleware.deadline import Deadline
from hub.model import Agent
from hub.policy import Grants, Rule
from hub.seal import Seal
from hub.server.errors import fault_of
from hub.settings import Settings
from hub.store.db import Store
from hub.store.reading import CallFilter, list_calls
from hub.tasks import TASKS, TaskIds
from tests.approving import (
    LONG,
    SHORT,
    URL_CAPABLE,
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
from tests.house import PROMPTS, RESOURCES, Server, headers_of, modern
from tests.hub_room import Room, text_of

pytestmark = pytest.mark.anyio


async def test_a_call_is_held_until_a_person_approves_it(tmp_path: Path) -> None:
    """Ours: whoever asks waits; nothing reaches the server before."""
    async with approving(tmp_path, LONG) as it, it.http() as http, anyio.create_task_group() as tasks:
        results: list[Any] = []
        answered = anyio.Event()

        async def call() -> None:
            results.append(await append(it, http))
            answered.set()

        tasks.start_soon(call)
        row = await pending(it)
        assert (row.agent, row.tool, json.loads(row.params)["arguments"]) == (
            "me",
            "ledger__append",
            {"key": "k"},
        )
        assert row.rule.endswith("me.yaml:1: may[0]") and receipts(tmp_path) == []
        await approve(it)
        await answered.wait()
        assert said(results[0]) == "k" and receipts(tmp_path) == ["k"]
        (row,) = await rows(it)
        assert (row.state, row.decider) == ("used", "ann (uid 7)") and row.decided is not None
        calls = await it.app.store.read(lambda db: list_calls(db, CallFilter()))
        assert [(call.id, call.state) for call in calls] == [(row.call, "done")]


async def test_a_legacy_call_is_held_too(tmp_path: Path) -> None:
    async with approving(tmp_path, LONG) as it, it.session({}) as agent, anyio.create_task_group() as tasks:
        tasks.start_soon(approve, it)
        params = {"name": "ledger__append", "arguments": {"key": "k"}}
        assert text_of(await agent.request("tools/call", params)) == "k"
        assert receipts(tmp_path) == ["k"]


@pytest.mark.parametrize("modern", [True, False])
async def test_a_call_that_is_still_pending_finds_its_approval_when_it_is_repeated(
    tmp_path: Path, modern: bool
) -> None:
    """Ours: no id is needed; each step is a row of its own."""
    params = {"name": "ledger__append", "arguments": {"key": "k", "b": 1}}
    again = {"arguments": {"b": 1, "key": "k"}, "name": "ledger__append"}
    async with approving(tmp_path) as it, it.http() as http, it.session({}) as older:

        async def call(params: Any) -> Any:
            if modern:
                return await result_of(it, http, {**params, "_meta": {"progressToken": len(params)}})
            return (await older.request("tools/call", params))["result"]

        first = await call(params)
        row = await pending(it)
        assert first["isError"] and row.id in said(first) and "Nothing was done" in said(first)
        assert first["_meta"]["hub/approval"]["id"] == row.id
        assert said(await call(again)) == said(first)
        await approve(it)
        assert said(await call(again)) == "k" and receipts(tmp_path) == ["k"]
        # It is for one call: the next one needs a person again.
        assert (await call(params))["isError"] and (await pending(it)).id != row.id
        calls = await it.app.store.read(lambda db: list_calls(db, CallFilter()))
        assert [(call.state, call.reason) for call in reversed(calls)] == [
            ("refused", "pending"),
            ("refused", "pending"),
            ("done", None),
            ("refused", "pending"),
        ]


async def test_a_denial_gives_the_reason_and_holds(tmp_path: Path) -> None:
    """Ours: asking again and again is of no use until the denial ends."""
    env = Clock()
    async with approving(tmp_path, LONG, env) as it, it.http() as http:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(deny, it, "Not on a Saturday.")
            first = await append(it, http)
        assert first["isError"] and said(first).startswith("Denied") and "Not on a Saturday." in said(first)
        assert said(await append(it, http)) == said(first)
        assert len(await rows(it)) == 1 and receipts(tmp_path) == []
        env.ahead = 3601
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(approve, it)
            assert said(await append(it, http)) == "k"


@pytest.mark.parametrize("settings", [SHORT, LONG], ids=["repeated", "held"])
async def test_of_many_concurrent_calls_one_approval_lets_one_through(tmp_path: Path, settings: Any) -> None:
    """Ours: claimed in one statement."""
    results: list[Any] = []
    async with approving(tmp_path, settings) as it, it.http() as http:
        if settings is SHORT:
            await append(it, http)
            await approve(it)

        async def call() -> None:
            results.append(await append(it, http))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(call)
            if settings is LONG:
                await held(it, 20)
                await approve(it)
    assert receipts(tmp_path) == ["k"]
    assert sorted(result.get("isError", False) for result in results) == [False] + [True] * 19


async def held(it: Room, calls: int) -> None:
    """Return once so many calls wait for a decision."""
    while it.app.approvals.waiting < calls:  # noqa: ASYNC110
        await anyio.sleep(0.01)


async def test_other_arguments_need_another_approval(tmp_path: Path) -> None:
    """Ours: also where the first one's id is named."""
    async with approving(tmp_path) as it, it.http() as http:
        await append(it, http, "one")
        id = await approve(it)
        named = {"_meta": {"hub/approval": id}}
        other = await append(it, http, "two", **named)
        assert other["isError"] and "for another call" in said(other)
        assert (await append(it, http, "two"))["isError"] and receipts(tmp_path) == []
        assert said(await append(it, http, "one", **named)) == "one"
        assert receipts(tmp_path) == ["one"]
        used = await append(it, http, "one", **named)
        assert used["isError"] and "used already" in said(used)


async def test_t20_a_changed_definition_voids_what_was_approved(tmp_path: Path) -> None:
    """T20: what a person approved is the tool that they saw."""
    async with approving(tmp_path) as it, it.http() as http:
        await append(it, http)
        id = await approve(it)
        manifest = tmp_path / "home" / "manifests" / "ledger.yaml"
        changed = {
            **json.loads(manifest.read_text()),
            "tools": {"override": {"append": {"description": "New"}}},
        }
        manifest.write_text(json.dumps(changed))
        await it.app.reload()
        named = await append(it, http, _meta={"hub/approval": id})
        assert named["isError"] and "has changed" in said(named)
        again = await append(it, http)
        assert again["isError"] and (await pending(it)).id != id and receipts(tmp_path) == []
        assert {row.id: row.state for row in await rows(it)}[id] == "void"


async def test_what_nobody_decides_and_what_nobody_uses_ends(tmp_path: Path) -> None:
    """Ours: an hour to decide, ten minutes to use."""
    env = Clock()
    async with approving(tmp_path, SHORT, env) as it, it.http() as http:
        await append(it, http)
        first = await pending(it)
        env.ahead = 3601
        with pytest.raises(Exception, match="is expired, no longer pending"):
            await approve(it, first.id)
        await append(it, http)
        second = await approve(it)
        assert second != first.id
        env.ahead += 601
        late = await append(it, http, _meta={"hub/approval": second})
        assert late["isError"] and "has ended" in said(late)
        assert (await append(it, http))["isError"] and receipts(tmp_path) == []
        await approve(it)
        env.ahead += 540
        assert said(await append(it, http)) == "k"


async def test_anothers_approval_is_as_unknown_as_one_that_was_made_up(tmp_path: Path) -> None:
    """Ours: an id alone is worth nothing; it has 160 random bits all the same."""
    async with approving(tmp_path) as it, it.http() as http, it.http("other") as others:
        await append(it, http)
        id = await approve(it)
        assert len(id) == 32
        for given in (id, "a" * 32, ""):
            answer = await append(it, others, _meta={"hub/approval": given})
            assert said(answer) == f"Unknown approval: {given}. Call again without it to ask a person."
        assert (await append(it, others))["isError"] and receipts(tmp_path) == []
        state = (await append(it, http, "mine", URL_CAPABLE))["requestState"]
        refused = await it.ask(
            others, "tools/call",
            {"name": "ledger__append", "arguments": {"key": "mine"}, "requestState": state}, {},
        )  # fmt: skip
        assert refused["error"]["code"] == -32602


async def test_an_agent_cannot_approve(tmp_path: Path) -> None:
    """Ours: the agents' port has nothing of the admin plane, whatever is asked there."""
    async with approving(tmp_path) as it, it.http() as http:
        id = (await append(it, http))["_meta"]["hub/approval"]["id"]
        port = it.url.removesuffix("/mcp")
        for path in ("/v1/approval_approve", f"/approvals/{id}", f"/mcp/approvals/{id}"):
            answer = await http.post(port + path, json={"id": id, "peer": "ann"})
            assert answer.status_code == 404
        for method in ("approvals/approve", "hub/approve"):
            assert (await it.ask(http, method, {"id": id}, {}))["error"]["code"] == -32601
        assert (await pending(it)).id == id


async def test_how_many_calls_of_an_agent_wait_is_bounded(tmp_path: Path) -> None:
    async with approving(tmp_path) as it, it.http() as http, it.http("other") as others:
        async with anyio.create_task_group() as tasks:
            for number in range(PENDING_MAX):
                tasks.start_soon(append, it, http, str(number))
        refused = await append(it, http, "one more")
        assert refused["isError"] and said(refused).startswith(f"{PENDING_MAX} calls of yours wait")
        assert len(await rows(it)) == PENDING_MAX
        # What waits already is still found, and another agent is not in its way.
        assert said(await append(it, http, "0")).startswith("Pending")
        assert said(await append(it, others)).startswith("Pending")


async def test_what_a_call_waits_for_a_person_takes_none_of_its_servers_time(tmp_path: Path) -> None:
    """Ours: its server may take 100 ms; a person took longer."""
    limits = {"limits": {"call": "100ms"}}
    async with approving(tmp_path, Settings(approval_wait=0.5), more=limits) as it, it.http() as http:
        assert said(await append(it, http)).startswith("Pending")


async def test_a_server_that_was_not_reached_uses_no_approval_up(tmp_path: Path) -> None:
    """Ours: what never left the hub was not done; that person is not asked again."""
    async with approving(tmp_path) as it, it.http() as http:
        await append(it, http)
        await approve(it)
        manifest = tmp_path / "home" / "manifests" / "ledger.yaml"
        whole = manifest.read_text()
        manifest.write_text(
            json.dumps({**json.loads(whole), "connect": {"command": ["/nowhere/to/be/found"]}})
        )
        await it.app.reload()
        params = {"name": "ledger__append", "arguments": {"key": "k"}}
        assert "error" in await it.ask(http, "tools/call", params, {})
        assert [row.state for row in await rows(it)] == ["approved"]
        manifest.write_text(whole)
        await it.app.reload()
        assert said(await append(it, http)) == "k"


async def test_what_looks_like_a_secret_is_kept_from_the_database(tmp_path: Path) -> None:
    """Ours: as in the record; the call itself is made with what was sent."""
    secret = "ghp_" + "a1B2" * 9
    async with approving(tmp_path) as it, it.http() as http:
        task = await append(it, http, secret, {"extensions": {TASKS: {}}})
        row = await pending(it)
        assert secret not in row.params and "redacted" in row.params
        await approve(it)
        body = {"taskId": task["taskId"]}
        meta: Any = {CLIENT_CAPABILITIES_KEY: {"extensions": {TASKS: {}}}}
        asked = modern("tasks/get", body, **meta)
        headers = {**headers_of(asked), "mcp-name": task["taskId"]}
        status = ""
        while status != "completed":
            status = (await http.post(it.url, json=asked, headers=headers)).json()["result"]["status"]
        assert receipts(tmp_path) == [secret]
        files = [file.read_bytes() for file in (tmp_path / "home" / ".hub").glob("hub.db*")]
        assert not any(secret.encode() in data for data in files)


def test_the_same_arguments_are_the_same_text_and_others_are_not() -> None:
    """RFC 8785, 3.2.3: keys by UTF-16 code units; but numbers keep their digits."""
    assert canonical({"b": 1, "a": {"d": [1, {"z": 0, "y": 0}], "c": "é"}}) == (
        '{"a":{"c":"é","d":[1,{"y":0,"z":0}]},"b":1}'.encode()
    )
    assert canonical({"\U0001f600": 1, "\ufb33": 2}) == '{"\U0001f600":1,"\ufb33":2}'.encode()
    assert len({canonical([value]) for value in (1, 1.5, True, "1", None, 2**53, 2**53 + 1)}) == 7


async def test_resources_and_prompts_need_their_approval_and_completions_are_empty(tmp_path: Path) -> None:
    """Ours: the same for all that a rule may match; nothing of it reaches the server before."""
    env = SystemEnv()
    async with Store.open(tmp_path / "hub.db", env) as store:
        seal, server = Seal(b"k" * 32, env), Server()
        approvals = Approvals(store, env, seal, Redactor(), wait_seconds=0.01)
        approve = Approve(
            approvals, TaskIds(seal), seal, Deadline(env, lambda server: 1.0).paused, lambda call: None
        )
        hub = Hub(env, chain.build([Authorize(env), approve], server), server.watch)
        hub.swap(Catalog.build([Offer("box", View(), {"resource": RESOURCES, "prompt": PROMPTS})], 1))
        agent = Agent("me", Grants("me.yaml", may=(Rule("may[0]", ("*",), 3, ask="human"),)))
        for method, params in (
            ("resources/read", {"uri": "note://one"}),
            ("prompts/get", {"name": "box__greet"}),
        ):
            with pytest.raises(Unapproved, match="Pending") as refused:
                await hub.call(hub.new_call(agent, "s", method, params))
            assert fault_of(refused.value, modern=True).data["reason"] == "pending" and server.calls == []
            assert refused.value.about is not None
            await approvals.decide(refused.value.about["id"], approve=True, decider="ann", reason=None)
            assert await hub.call(hub.new_call(agent, "s", method, params))
            assert [call.method for call in server.calls] == [method]
            server.calls.clear()
        reference = {
            "ref": {"type": "ref/prompt", "name": "box__greet"},
            "argument": {"name": "a", "value": ""},
        }
        completed = await hub.call(hub.new_call(agent, "s", "completion/complete", reference))
        assert completed == {"completion": {"values": []}} and server.calls == []
