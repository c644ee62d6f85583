"""What stands in for a tool whose server does not answer, and what a tool's result has to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError
from mcp.client.client import ConnectMode

from hub.errors import Denied, UpstreamFailed, UpstreamTimeout
from hub.model import Json
from hub.store.calls import get_call
from tests.hub_room import room
from tests.servers.fault_http import nobody_at
from tests.shop import ACT, LOOK, breaks, hangs, house, said, save, says, shop, text, tool, write

pytestmark = pytest.mark.anyio

TRUST = {"trust": "annotations"}
OUTPUT: Json = {
    "type": "object",
    "properties": {"price": {"type": "number", "minimum": 0}},
    "required": ["price"],
}


def falls(*candidates: Any, **more: Any) -> Json:
    """The manifest of a server whose `look` has these fallbacks."""
    return {**TRUST, "breaker": "off", "tools": {"override": {"look": {"fallback": [*candidates], **more}}}}


def structured(value: Any) -> Json:
    return {"resultType": "complete", "content": [], "structuredContent": value}


# Fallback


async def test_another_tool_stands_in_with_its_arguments_mapped_and_the_answer_says_so(
    tmp_path: Path,
) -> None:
    async with shop() as one, shop(tool("find", readOnlyHint=True)) as two:
        one.does("look", breaks)
        two.does("find", says("found"))
        mapped = {"tool": "two__find", "arguments": {"query": "q"}, "fixed": {"most": 3}}
        write(tmp_path, "one", one, **falls(mapped))
        write(tmp_path, "two", two)
        async with house(tmp_path) as hub:
            answer = await hub.use("one__look", {"q": "tea", "page": 1})
            assert said(answer) == "found"
            about = {"tool": "two__find", "degraded": True, "why": "upstream_failed"}
            assert answer["_meta"]["hub/route"] == about
            assert two.calls[0]["arguments"] == {"query": "tea", "most": 3}
            first, second = await hub.rows()
            assert (first.tool, first.state) == ("one__look", "failed")
            assert (second.tool, second.server, second.state) == ("two__find", "two", "done")
            row = await hub.app.store.read(lambda connection: get_call(connection, second.id))
            assert row is not None
            assert f'"hub/stands-in":{{"for":"one__look","call":"{first.id}"}}' in str(row.params)
            assert "hub/stands-in" not in two.calls[0]["_meta"]


async def test_a_healthy_server_s_answer_says_nothing_of_a_route(tmp_path: Path) -> None:
    async with shop() as one:
        write(tmp_path, "one", one, **falls({"value": "nothing"}))
        async with house(tmp_path) as hub:
            assert await hub.use("one__look") == text("ok")


async def test_each_candidate_passes_the_policy_anew_and_one_that_is_refused_is_passed_over(
    tmp_path: Path,
) -> None:
    async with shop() as one, shop() as two, shop() as three:
        one.does("look", breaks)
        write(tmp_path, "one", one, **falls("two__look", "three__look"))
        write(tmp_path, "two", two)
        write(tmp_path, "three", three)
        async with house(tmp_path, ["one__*", {"use": "three__*", "with": {"q": {"const": "tea"}}}]) as hub:
            answer = await hub.use("one__look", {"q": "tea"})
            assert answer["_meta"]["hub/route"]["tool"] == "three__look"
            assert "two" not in str(answer)
            assert two.calls == []
            assert [row.state for row in await hub.rows()] == ["failed", "refused", "done"]
            # Where all are refused, it is what it was: nothing says that there is more.
            with pytest.raises(UpstreamFailed, match="'one' broke off"):
                await hub.use("one__look", {"q": "coffee"})


async def test_a_refusal_never_falls_back(tmp_path: Path) -> None:
    async with shop() as one:
        write(tmp_path, "one", one, **falls({"value": "nothing"}))
        rule = {"use": "one__look", "with": {"q": {"const": "tea"}}}
        async with house(tmp_path, [rule]) as hub:
            with pytest.raises(Denied):
                await hub.use("one__look", {"q": "coffee"})
            assert len(await hub.rows()) == 1


async def test_a_tool_s_own_failure_is_its_answer(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", says({**text("no such thing"), "isError": True}))
        write(tmp_path, "one", one, **falls({"value": "nothing"}))
        async with house(tmp_path) as hub:
            assert said(await hub.use("one__look")) == "no such thing"


async def test_a_call_that_may_have_done_something_is_not_done_elsewhere(tmp_path: Path) -> None:
    async with shop() as one, shop() as two:
        one.does("act", breaks)
        override = {"override": {"act": {"fallback": ["two__act", {"value": "done"}]}}}
        write(tmp_path, "one", one, tools=override)
        write(tmp_path, "two", two)
        async with house(tmp_path) as hub:
            with pytest.raises(UpstreamFailed, match="not known"):
                await hub.use("one__act")
            assert two.calls == []
            assert [row.state for row in await hub.rows()] == ["unknown"]


async def test_what_never_left_may_be_done_elsewhere_whatever_it_does(tmp_path: Path) -> None:
    async with shop() as two:
        async with shop() as one:
            override = {"override": {"act": {"fallback": ["two__act"]}}}
            write(tmp_path, "one", one, tools=override)
            write(tmp_path, "two", two)
            async with house(tmp_path) as hub:
                await hub.use("one__act")
        async with nobody_at(one.at.port), house(tmp_path) as hub:
            assert (await hub.use("one__act"))["_meta"]["hub/route"]["tool"] == "two__act"
            assert two.count("act") == 1


async def test_where_what_stood_in_may_have_done_something_nothing_else_is_done(tmp_path: Path) -> None:
    async with shop() as two, shop() as three:
        async with shop() as one:
            write(tmp_path, "one", one, tools={"override": {"act": {"fallback": ["two__act", "three__act"]}}})
            write(tmp_path, "two", two)
            write(tmp_path, "three", three)
            async with house(tmp_path) as hub:
                await hub.use("one__act")
        two.does("act", breaks)
        async with nobody_at(one.at.port), house(tmp_path) as hub:
            with pytest.raises(UpstreamFailed, match="two__act stood in for one__act") as failed:
                await hub.use("one__act")
            assert failed.value.sent
            assert (two.count("act"), three.count("act")) == (1, 0)


async def test_a_call_with_a_key_is_stood_in_for_only_by_what_may_be_done_twice(tmp_path: Path) -> None:
    async with shop() as two:
        async with shop() as one:
            write(tmp_path, "one", one, tools={"override": {"act": {"fallback": ["two__act", "two__look"]}}})
            write(tmp_path, "two", two, **TRUST)
            async with house(tmp_path) as hub:
                await hub.use("one__act")
        async with nobody_at(one.at.port), house(tmp_path) as hub:
            answer = await hub.use("one__act", meta={"hub/idempotency-key": "k"})
            assert answer["_meta"]["hub/route"]["tool"] == "two__look"
            assert two.count("act") == 0


async def test_the_last_answer_to_the_same_call_of_the_same_agent_stands_in_until_it_is_too_old(
    tmp_path: Path,
) -> None:
    async with shop() as one:
        one.does("look", says("fresh"), breaks)
        write(tmp_path, "one", one, **falls({"cached": "10m"}))
        save(tmp_path, "other", {"agent": "other", "may": ["*"]})
        async with house(tmp_path) as hub:
            await hub.use("one__look", {"a": 1, "b": 2})
            hub.clock.ahead += 60
            answer = await hub.use("one__look", {"b": 2, "a": 1})
            assert said(answer) == "fresh"
            about = answer["_meta"]["hub/route"]
            assert (about["tool"], about["degraded"]) == ("cached", True)
            assert 60 <= about["age_seconds"] < 70
            assert [row.state for row in await hub.rows()] == ["done", "failed", "done"]
            for agent, arguments in (("me", {"a": 2, "b": 2}), ("other", {"a": 1, "b": 2})):
                with pytest.raises(UpstreamFailed):
                    await hub.use("one__look", arguments, agent=agent)
            hub.clock.ahead += 600
            with pytest.raises(UpstreamFailed):
                await hub.use("one__look", {"a": 1, "b": 2})


async def test_a_fixed_answer_stands_in_last(tmp_path: Path) -> None:
    async with shop() as one, shop() as two:
        one.does("look", breaks)
        two.does("look", breaks)
        write(tmp_path, "one", one, **falls("two__look", {"cached": "1m"}, {"value": {"price": None}}))
        write(tmp_path, "two", two, **TRUST)
        async with house(tmp_path) as hub:
            answer = await hub.use("one__look")
            assert answer["structuredContent"] == {"price": None}
            assert said(answer) == '{"price":null}'
            assert answer["_meta"]["hub/route"]["tool"] == "value"


async def test_what_stands_in_may_have_a_fallback_of_its_own(tmp_path: Path) -> None:
    async with shop() as one, shop() as two, shop() as three:
        one.does("look", breaks)
        two.does("look", breaks)
        write(tmp_path, "one", one, **falls("two__look"))
        write(tmp_path, "two", two, **falls("three__look"))
        write(tmp_path, "three", three)
        async with house(tmp_path) as hub:
            answer = await hub.use("one__look")
            assert answer["_meta"]["hub/route"]["tool"] == "three__look"
            assert [row.tool for row in await hub.rows()] == ["one__look", "two__look", "three__look"]


async def test_a_repetition_with_its_key_is_answered_as_the_first_was_though_that_was_a_fallback(
    tmp_path: Path,
) -> None:
    async with shop() as one, shop() as two:
        one.does("look", breaks)
        write(tmp_path, "one", one, **falls("two__look"))
        write(tmp_path, "two", two, **TRUST)
        async with house(tmp_path) as hub:
            first = await hub.use("one__look", meta={"hub/idempotency-key": "k"})
            again = await hub.use("one__look", meta={"hub/idempotency-key": "k"})
            assert again["_meta"]["hub/route"] == first["_meta"]["hub/route"]
            assert two.count("look") == 1


async def test_nothing_stands_in_when_its_agent_wants_no_answer_any_more(tmp_path: Path) -> None:
    async with shop() as one:
        one.does("look", breaks, hangs)
        write(tmp_path, "one", one, **falls({"value": "late"}))
        async with house(tmp_path) as hub:
            assert said(await hub.use("one__look", meta={"hub/deadline-seconds": 5})) == "late"
            with pytest.raises(UpstreamTimeout):
                await hub.use("one__look", meta={"hub/deadline-seconds": 0.01})


# The output


def wants(on_invalid: str | None = None, **more: Any) -> Json:
    asked = {} if on_invalid is None else {"on_invalid": on_invalid}
    return {**TRUST, "tools": {"override": {"look": {"output": OUTPUT, **asked, **more}}}}


async def test_agents_see_the_schema_of_the_manifest_and_results_that_fit_pass(tmp_path: Path) -> None:
    async with shop(LOOK, ACT) as one:
        one.does("look", says(structured({"price": 1})), says('{"price": 2}'))
        write(tmp_path, "one", one, **wants())
        async with house(tmp_path) as hub:
            entries = hub.app.hub.entries(hub.app.identities.local("me"), "tool")
            shown = {each.name: each.definition.get("outputSchema") for each in entries}
            assert shown == {"one__look": OUTPUT, "one__act": None}
            assert await hub.use("one__look") == structured({"price": 1})
            # A server that answers with JSON as text: as agents were promised.
            assert (await hub.use("one__look"))["structuredContent"] == {"price": 2}


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (structured({"price": -1}), "price: -1 is less than the minimum of 0"),
        (structured({}), '"price" is a required property'),
        (text("no JSON"), "it has no structured content"),
    ],
)
async def test_a_result_that_does_not_fit_is_a_tool_s_failure_that_says_what_is_wrong(
    tmp_path: Path, answer: Json, wrong: str
) -> None:
    async with shop() as one:
        one.does("look", says(answer))
        write(tmp_path, "one", one, **wants())
        async with house(tmp_path) as hub:
            found = await hub.use("one__look")
            assert found["isError"] is True
            assert wrong in said(found)
            assert found["_meta"]["hub/contract"] == {"wrong": [wrong]}
            assert [(row.state, row.kind) for row in await hub.rows()] == [("failed", "tool_error")]


async def test_a_result_that_does_not_fit_is_asked_for_again_where_the_manifest_says_so(
    tmp_path: Path,
) -> None:
    async with shop() as one:
        one.does("look", says(structured({})), says(structured({"price": 3})))
        write(tmp_path, "one", one, **wants("retry"))
        async with house(tmp_path) as hub:
            assert (await hub.use("one__look"))["structuredContent"] == {"price": 3}
            assert [row.attempts for row in await hub.rows()] == [2]


async def test_a_result_that_does_not_fit_falls_back_where_the_manifest_says_so(tmp_path: Path) -> None:
    async with shop() as one, shop() as two:
        one.does("look", says(structured({})))
        two.does("look", says(structured({"price": 4})))
        write(tmp_path, "one", one, **wants("fallback", fallback=["two__look"]))
        write(tmp_path, "two", two)
        async with house(tmp_path) as hub:
            answer = await hub.use("one__look")
            assert answer["structuredContent"] == {"price": 4}
            assert answer["_meta"]["hub/route"]["why"] == "contract"


async def test_a_tool_that_may_have_acted_is_not_done_elsewhere_when_its_result_does_not_fit(
    tmp_path: Path,
) -> None:
    async with shop() as one, shop() as two:
        one.does("act", says(structured({})))
        override = {"output": OUTPUT, "on_invalid": "fallback", "fallback": ["two__act", {"value": "sorry"}]}
        write(tmp_path, "one", one, tools={"override": {"act": override}})
        write(tmp_path, "two", two)
        async with house(tmp_path) as hub:
            answer = await hub.use("one__act")
            assert (said(answer), answer["_meta"]["hub/route"]["tool"]) == ("sorry", "value")
            assert two.calls == []


# On the wire


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_of_either_era_reads_what_stood_in_and_may_say_by_when(
    tmp_path: Path, mode: ConnectMode
) -> None:
    async with shop() as one:
        one.does("look", breaks, hangs)
        connect = {"url": one.url, "allow_private": True}
        manifest = {"connect": connect, **falls({"value": {"price": None}})}
        async with room(tmp_path, {"one": manifest}) as hub, hub.client(mode) as client:
            answer = await client.call_tool("one__look", {})
            assert answer.structured_content == {"price": None}
            assert answer.meta is not None
            about = {"tool": "value", "degraded": True, "why": "upstream_failed"}
            assert answer.meta["hub/route"] == about
            soon: Any = {"hub/deadline-seconds": 0.1}
            with pytest.raises(MCPError, match=r"within 0\.1 s"):
                await client.call_tool("one__look", {}, meta=soon)
