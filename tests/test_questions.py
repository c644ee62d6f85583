"""What a server asks in the middle of a call reaches the agent that made it, in every crossing of eras."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client, MCPError
from mcp.client.client import ConnectMode
from mcp_types import ElicitRequestParams, ElicitResult, ErrorData

from hub.server import stdio as hub_stdio
from hub.store.calls import CallFilter, get_call, list_calls
from tests import homes
from tests.commands import SECONDS
from tests.hub_room import Room, asker, received, room, text_of
from tests.question_room import CAN_ALL, ERAS, EVERYTHING, FORM, MODES, SERVERS, call_of, say, stdio_agent
from tests.sources import ROOT

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def serving(everything: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[homes.Running]:
    """The real command, with one server of each era over each transport."""
    home = tmp_path_factory.mktemp("home")
    pipe = {"command": [*EVERYTHING, "--stdio"]}
    homes.write(home, "me", agent="me", may=["*"])
    for name in SERVERS:
        era, way = ERAS[name[:3]], name[4:]
        connect = pipe if way == "pipe" else {"url": everything}
        homes.write(home, name, server=name, era=era, connect=connect, cwd=str(ROOT))
    with homes.running(home) as hub:
        ready = hub.url.replace("/mcp", "/ready")
        with httpx.Client(trust_env=False) as http:
            end = time.monotonic() + SECONDS
            while http.get(ready).status_code != 200:
                assert time.monotonic() < end, hub.said
        yield hub


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", ["http", "stdio"])
async def test_every_kind_of_question_is_answered_by_the_agent_in_every_crossing(
    serving: homes.Running, way: str, mode: ConnectMode, server: str
) -> None:
    asking = f"{server}__test_input_required_result_"
    with anyio.fail_after(60):
        async with agent(serving, way, mode, **CAN_ALL) as client:
            assert await say(client, f"{asking}elicitation") == "Hello, Ada!"
            assert await say(client, f"{asking}sampling") == "The model said: Paris"
            assert await say(client, f"{asking}list_roots") == "You work in: file:///srv/reports"
            assert await say(client, f"{asking}multiple_inputs") == "Paris, Ada!"
            assert await say(client, f"{asking}multi_round") == "Ada likes blue."
            prompt = await client.get_prompt(f"{server}__test_input_required_result_prompt")
            assert "Ada" in prompt.model_dump_json()


@asynccontextmanager
async def agent(hub: homes.Running, way: str, mode: ConnectMode, **more: Any) -> AsyncIterator[Client]:
    if way == "stdio":
        async with Client(homes.stdio(hub.home), mode=mode, **more) as client:
            yield client
    else:
        token = (hub.home / ".hub" / "tokens" / "me").read_text().strip()
        async with homes.over_http(hub.url, token, mode, **more) as client:
            yield client


@asynccontextmanager
async def both(home: Path, everything: str, **more: Any) -> AsyncIterator[Room]:
    """A hub with the same server twice: reached in the newer era and in the older one."""
    connect = {"url": everything}
    servers = {era: {"era": era, "connect": connect} for era in ERAS.values()}
    async with room(home, servers, **more) as it:
        yield it


@pytest.mark.parametrize("server", ["modern", "legacy"])
@pytest.mark.parametrize("mode", MODES)
async def test_questions_of_calls_side_by_side_are_answered_each_by_its_own_call(
    tmp_path: Path, everything: str, mode: ConnectMode, server: str
) -> None:
    async def echo(context: Any, params: ElicitRequestParams) -> ElicitResult:
        return ElicitResult(action="accept", content={"username": params.message, "email": "a@b.c"})

    said: dict[int, str] = {}

    async def call(client: Client, number: int) -> None:
        said[number] = await say(client, f"{server}__test_elicitation", {"message": f"call {number}"})

    async with (
        both(tmp_path, everything) as it,
        it.client(mode, elicitation_callback=echo) as client,
        anyio.create_task_group() as tasks,
    ):
        for number in range(8):
            tasks.start_soon(call, client, number)
    assert len(said) == 8
    assert all(f'call {number}"' in text for number, text in said.items())


@pytest.mark.parametrize("server", ["modern", "legacy"])
async def test_a_state_is_worth_nothing_to_another_agent_or_once_it_was_changed(
    tmp_path: Path, everything: str, server: str
) -> None:
    params: dict[str, Any] = {"name": f"{server}__test_input_required_result_request_state"}
    async with both(tmp_path, everything) as it, it.http() as mine, it.http("other") as theirs:
        asked = (await it.ask(mine, "tools/call", params, FORM))["result"]
        assert asked["resultType"] == "input_required"
        (key,) = asked["inputRequests"]
        answers = {key: {"action": "accept", "content": {"ok": True}}}
        state = asked["requestState"]
        again = {**params, "inputResponses": answers, "requestState": state}
        refused = await it.ask(theirs, "tools/call", again, FORM)
        assert refused["error"]["code"] == -32602
        changed = state[:-2] + ("A" if state[-2] != "A" else "B") + state[-1]
        broken = {**again, "requestState": changed}
        assert (await it.ask(mine, "tools/call", broken, FORM))["error"] == refused["error"]
        other = {**again, "arguments": {"x": 1}}
        assert (await it.ask(mine, "tools/call", other, FORM))["error"] == refused["error"]
        assert text_of(await it.ask(mine, "tools/call", again, FORM)) == "state-ok: True"


@pytest.mark.parametrize("server", ["modern", "legacy"])
async def test_after_a_restart_of_the_hub_a_question_goes_on_or_is_cleanly_over(
    tmp_path: Path, everything: str, server: str
) -> None:
    params: dict[str, Any] = {"name": f"{server}__test_input_required_result_request_state"}
    async with both(tmp_path, everything) as it, it.http() as http:
        asked = (await it.ask(http, "tools/call", params, FORM))["result"]
    (key,) = asked["inputRequests"]
    answers = {key: {"action": "accept", "content": {"ok": True}}}
    again = {**params, "inputResponses": answers, "requestState": asked["requestState"]}
    async with both(tmp_path, everything) as it, it.http() as http:
        answer = await it.ask(http, "tools/call", again, FORM)
        if server == "modern":
            assert text_of(answer) == "state-ok: True"
        else:
            assert answer["error"]["code"] == -32602
            assert "call again" in answer["error"]["message"]


async def test_answers_without_a_state_pass(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with room(tmp_path, {"asker": {"connect": asker(log, "--modern")}}) as it, it.http() as http:
        params = {
            "name": "asker__ask",
            "arguments": {"times": 0},
            "inputResponses": {"it": {"action": "decline"}},
        }
        assert json.loads(text_of(await it.ask(http, "tools/call", params, FORM))) == {
            "it": {"action": "decline"}
        }
        sent = received(log, "tools/call")[0]["params"]
        assert sent["_meta"]["io.modelcontextprotocol/clientCapabilities"] == FORM


@pytest.mark.parametrize("server", ["modern", "legacy"])
async def test_a_question_that_the_agent_answers_with_an_error_is_over(
    tmp_path: Path, everything: str, server: str
) -> None:
    async def fail(context: Any, params: Any) -> ErrorData:
        return ErrorData(code=-1, message="The person said no")

    asking = f"{server}__test_input_required_result_"
    more: dict[str, Any] = {"elicitation_callback": fail, "sampling_callback": fail}
    async with both(tmp_path, everything) as it, it.client("legacy", **more) as client:
        if server == "legacy":
            assert "The person said no" in await say(client, f"{asking}elicitation")
            assert "The person said no" in await say(client, f"{asking}sampling")
            return
        # A modern server knows no failed answer: an elicitation was cancelled, any other ends the call.
        assert "cancel" in await say(client, "modern__test_elicitation", {"message": "?"})
        with pytest.raises(MCPError) as failure:
            await say(client, f"{asking}sampling")
        assert (failure.value.code, str(failure.value)) == (-1, "The person said no")


async def test_a_visit_gets_an_id_that_lasts_until_the_server_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    visit = {"mode": "url", "message": "Sign in", "url": "https://a.example/in"}
    params = {"name": "asker__ask", "arguments": {"params": visit, "times": 2}}
    async with (
        room(tmp_path, {"asker": {"connect": asker(log, "--modern")}}) as it,
        it.session({"elicitation": {"url": {}}}) as agent,
        agent.asking("tools/call", params) as stream,
    ):
        ids = []
        for _ in range(2):
            question = await anext(stream)
            ids.append(question["params"].pop("elicitationId"))
            assert question["params"] == visit
            await agent.answer(question, result={"action": "accept"})
        complete = await anext(stream)
        assert complete["method"] == "notifications/elicitation/complete"
        assert [complete["params"]["elicitationId"]] * 2 == ids
        assert json.loads(text_of(await anext(stream))) == {"it": {"action": "accept"}}


async def test_a_server_that_only_wants_to_be_called_again_is_and_one_that_never_ends_is_given_up(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    async with (
        room(tmp_path, {"asker": {"connect": asker(log, "--modern")}}) as it,
        it.session({"roots": {}}) as agent,
    ):
        patient = {"name": "asker__ask", "arguments": {"times": 3, "silent": True}}
        assert text_of(await agent.request("tools/call", patient)) == "null"
        endless = {"name": "asker__ask", "arguments": {"times": 1000, "method": "roots/list", "params": {}}}
        async with agent.asking("tools/call", endless) as stream:
            rounds = 0
            async for each in stream:
                if each.get("method") == "roots/list":
                    rounds += 1
                    await agent.answer(each, result={"roots": []})
                else:
                    assert "32 times" in text_of(each)
            assert rounds == 32


async def test_over_a_pipe_calls_that_wait_for_answers_do_not_keep_them_from_being_read(
    tmp_path: Path,
) -> None:
    count = hub_stdio.CALLS_MAX + 6
    async with (
        room(tmp_path, {"asker": {"connect": asker(tmp_path / "log", "--modern")}}) as it,
        stdio_agent(it, tmp_path, FORM) as client,
    ):
        await client.send(*(call_of(id) for id in range(count)))
        questions = [await client.receive() for _ in range(count)]
        assert {each["method"] for each in questions} == {"elicitation/create"}
        assert (await client.ask({"jsonrpc": "2.0", "id": "p", "method": "ping"}))["result"] == {}
        declined = [
            {"jsonrpc": "2.0", "id": each["id"], "result": {"action": "decline"}} for each in questions
        ]
        await client.send(*declined)
        answers = [await client.receive() for _ in range(count)]
        assert sorted(each["id"] for each in answers) == list(range(count))
        assert all("decline" in text_of(each) for each in answers)


async def test_every_round_of_a_call_is_recorded(tmp_path: Path) -> None:
    async with (
        room(tmp_path, {"asker": {"connect": asker(tmp_path / "log")}}) as it,
        it.session(FORM) as agent,
    ):
        async with agent.asking("tools/call", {"name": "asker__ask"}) as stream:
            error = {"code": -7, "message": "not today"}
            await agent.answer(await anext(stream), error=error)
            assert json.loads(text_of(await anext(stream))) == error
        rows = await it.app.store.read(lambda c: list_calls(c, CallFilter()))
        assert [(row.state, row.kind) for row in rows] == [("done", None), ("done", "input_required")]
        row = await it.app.store.read(lambda c: get_call(c, rows[0].id))
        assert row is not None
        answered = json.loads(row.params or "")["inputResponses"]
        assert list(answered.values()) == [{"error": error}]
