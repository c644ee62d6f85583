"""Questions that nobody answers, that nobody may put or answer, and those whose call ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import homes
from tests.hub_room import asker, received, room, text_of
from tests.question_room import FORM, call_of, stdio_agent

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("flags", [(), ("--modern",)])
async def test_a_question_that_nobody_answers_ends_the_call_in_time_and_its_server_is_told(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    log = tmp_path / "log"
    connect = {"connect": asker(log, *flags)}
    async with room(tmp_path, {"asker": connect}, question_seconds=0.1) as it, it.session(FORM) as agent:
        async with agent.asking("tools/call", {"name": "asker__ask"}) as stream:
            question = await anext(stream)
            withdrawn = await anext(stream)
            assert withdrawn["method"] == "notifications/cancelled"
            assert withdrawn["params"]["requestId"] == question["id"]
            final = await anext(stream)
        assert final["result"]["isError"] is True and "not answered within 0.1 s" in text_of(final)
        if not flags:
            await homes.eventually(lambda: len(received(log, "notifications/cancelled")) == 1)
        assert await agent.answer(question, result={"action": "decline"}) == 202
        assert it.front.questions.stray == 1 and len(it.front.questions) == 0


async def test_a_call_that_its_agent_cancels_while_the_question_is_out_is_cancelled_at_its_server(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    async with room(tmp_path, {"asker": {"connect": asker(log)}}) as it:
        async with it.session(FORM) as agent, agent.asking("tools/call", {"name": "asker__ask"}, 7) as stream:
            await anext(stream)
            await agent.cancel(7)
            assert [each async for each in stream if "result" in each or "error" in each] == []
        await homes.eventually(lambda: len(received(log, "notifications/cancelled")) == 1)
        async with stdio_agent(it, tmp_path, FORM) as client:
            await client.send(call_of(8))
            question = await client.receive()
            assert question["method"] == "elicitation/create"
            await client.send(
                {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 8}}
            )
            withdrawn = await client.receive()
            assert withdrawn["params"]["requestId"] == question["id"]
        await homes.eventually(lambda: len(received(log, "notifications/cancelled")) == 2)


async def test_a_question_ends_with_its_session(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with room(tmp_path, {"asker": {"connect": asker(log)}}) as it, it.session(FORM) as agent:
        async with agent.asking("tools/call", {"name": "asker__ask"}) as stream:
            await anext(stream)
            await agent.end()
            assert "session ended" in text_of(await anext(stream))
        await homes.eventually(lambda: len(received(log, "notifications/cancelled")) == 1)


async def test_a_hub_that_stops_waits_for_no_answers(tmp_path: Path) -> None:
    async with (
        room(tmp_path, {"asker": {"connect": asker(tmp_path / "log")}}) as it,
        it.session(FORM) as agent,
        agent.asking("tools/call", {"name": "asker__ask"}) as stream,
    ):
        await anext(stream)
        it.front.close()
        while "result" not in (answer := await anext(stream)):
            continue
        assert "hub stopped" in text_of(answer)


async def test_only_the_session_that_was_asked_can_answer_and_only_with_the_exact_id(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with (
        room(tmp_path, {"asker": {"connect": asker(log)}}) as it,
        it.session(FORM) as agent,
        it.session(FORM) as sibling,
        it.session(FORM, agent="other") as other,
        agent.asking("tools/call", {"name": "asker__ask"}) as stream,
    ):
        question = await anext(stream)
        lie = {"action": "accept", "content": {"name": "Mallory"}}
        assert await sibling.answer(question, result=lie) == 202
        assert await other.answer(question, result=lie) == 202
        for wrong in (question["id"].upper(), 1, "1"):
            assert await agent.answer({"id": wrong}, result=lie) == 202
        assert it.front.questions.stray == 5
        truth = {"action": "accept", "content": {"name": "Ada"}}
        assert await agent.answer(question, result=truth) == 202
        assert json.loads(text_of(await anext(stream))) == truth


async def test_a_kind_of_question_that_a_legacy_agent_did_not_declare_is_not_put_to_it(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"

    def asks(method: str, **params: Any) -> Any:
        return {"name": "asker__ask", "arguments": {"method": method, "params": params}}

    refused: list[tuple[Any, str, Any]] = [
        ({}, "2025-11-25", asks("roots/list")),
        (FORM, "2025-11-25", asks("sampling/createMessage")),
        ({"sampling": {}}, "2025-11-25", asks("sampling/createMessage", tools=[])),
        (FORM, "2025-11-25", asks("elicitation/create", mode="url", url="https://a.example")),
        ({"elicitation": {"url": {}}}, "2025-11-25", asks("elicitation/create", mode="form")),
        ({"elicitation": {"url": {}}}, "2025-06-18", asks("elicitation/create", mode="url")),
        ({"elicitation": {}}, "2025-03-26", asks("elicitation/create")),
    ]
    async with room(tmp_path, {"asker": {"connect": asker(log, "--modern")}}) as it:
        for capabilities, version, params in refused:
            async with it.session(capabilities, version) as agent:
                result = (await agent.request("tools/call", params))["result"]
                assert result["isError"] is True, (capabilities, version, params)
                assert "does not support" in result["content"][0]["text"]
        sent = received(log, "tools/call")[-1]["params"]["_meta"]
        assert sent["io.modelcontextprotocol/clientCapabilities"] == {}
        async with it.session({"roots": {"listChanged": True}}) as agent:
            await agent.request("tools/call", {"name": "asker__ask", "arguments": {"times": 0}})
        sent = received(log, "tools/call")[-1]["params"]["_meta"]
        assert sent["io.modelcontextprotocol/clientCapabilities"] == {"roots": {}}


async def test_an_agent_that_takes_no_stream_is_told_that_it_cannot_be_asked(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with (
        room(tmp_path, {"asker": {"connect": asker(log)}}) as it,
        it.session(FORM, accept="application/json") as agent,
    ):
        answer = await agent.request("tools/call", {"name": "asker__ask"})
        assert "text/event-stream" in text_of(answer)
        await homes.eventually(lambda: len(received(log, "notifications/cancelled")) == 1)
