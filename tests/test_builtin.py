"""The hub's own tools: what they say of themselves, who may use them, and what agents keep with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connectors.jsonrpc import encode
from hub.builtin import definitions
from hub.catalog import Catalog
from hub.manifests import manifest
from hub.results.count import tokens
from tests.builtin_room import agents

pytestmark = pytest.mark.anyio


def test_all_definitions_together_are_at_most_900_tokens() -> None:
    catalog = Catalog.build([definitions.offer(definitions.ALL)], 1)
    assert not catalog.left_out
    listed = [entry.definition for entry in catalog.entries["tool"]]
    assert len(listed) == len(definitions.ALL)
    assert sum(tokens(encode(each).decode()) for each in listed) <= definitions.TOKENS_MAX


async def test_the_hubs_own_tools_are_listed_for_whom_they_are_granted(tmp_path: Path) -> None:
    async with agents(tmp_path, "me", "nobody") as (_, me, nobody):
        listed = (await me.ask("tools/list", {}))["result"]["tools"]
        assert {tool["name"] for tool in listed} >= {"hub__context", "hub__memory", "hub__session"}
        assert (await nobody.ask("tools/list", {}))["result"]["tools"] == []
        refused = await nobody.ask("tools/call", {"name": "hub__memory", "arguments": {"action": "search"}})
        unknown = await nobody.ask("tools/call", {"name": "hub__mammary", "arguments": {"action": "search"}})
        assert encode(refused).replace(b"memory", b"X") == encode(unknown).replace(b"mammary", b"X")


async def test_rules_may_be_about_the_server_hub_and_no_manifest_can_be_it(tmp_path: Path) -> None:
    grants: Any = {"me": ({"server": "hub", "readOnly": True},)}
    async with agents(tmp_path, "me", grants=grants) as (_, me):
        listed = {tool["name"] for tool in (await me.ask("tools/list", {}))["result"]["tools"]}
        assert "hub__context" in listed and not listed & {"hub__memory", "hub__session"}
        assert (await me.done("context")).startswith("# Session ")
    found = manifest.load_text(Path("x.yaml"), "server: hub\nconnect: {command: [x]}\n")
    assert "the hub's own tools" in str(found.problems[0]) and not found.servers


async def test_arguments_that_do_not_fit_are_said_so_and_nothing_is_done(tmp_path: Path) -> None:
    async with agents(tmp_path, "me") as (_, me):
        assert "action" in await me.refused("memory", action="drop")
        assert "needs a key" in await me.refused("memory", action="put", value=1)
        assert "needs a value" in await me.refused("memory", action="put", key="k")
        assert "at most 65536" in await me.refused("memory", action="put", key="k", value="x" * 70_000)
        assert "ttl" in await me.refused("memory", action="put", key="k", value=1, ttl="soon")
        assert await me.done("memory", action="search") == "Nothing found."


async def test_what_was_put_is_got_again_with_where_it_is_from(tmp_path: Path) -> None:
    async with agents(tmp_path, "me") as (_, me):
        await me.done("memory", action="put", key="plan", value={"steps": [1, 2.50, "ž"]})
        got = (await me.use("memory", action="get", key="plan"))["structuredContent"]
        assert got["value"] == {"steps": [1, 2.5, "ž"]}
        assert got["agent"] == "me"
        assert len(got["call"]) == len(got["session"]) == 26
        assert got["until"] is None
        await me.done("memory", action="put", key="plan", value="another")
        assert (await me.done("memory", action="get", key="plan")).startswith("another\n")
        await me.done("memory", action="forget", key="plan")
        assert "no 'plan'" in await me.refused("memory", action="get", key="plan")
        assert "no 'plan'" in await me.refused("memory", action="forget", key="plan")


async def test_search_finds_by_words_those_with_most_of_them_first(tmp_path: Path) -> None:
    async with agents(tmp_path, "me") as (_, me):
        await me.done("memory", action="put", key="one", value="the release of the hub", scope="agent")
        await me.done("memory", action="put", key="two", value="release notes for the hub in Brno")
        await me.done("memory", action="put", key="three", value="something else")
        result = await me.use("memory", action="search", query='Brno rel" OR NEAR(')
        assert [each["key"] for each in result["structuredContent"]["found"]] == ["two", "one"]
        result = await me.use("memory", action="search", query="rel", scope="agent")
        assert [each["key"] for each in result["structuredContent"]["found"]] == ["one"]
        result = await me.use("memory", action="search", limit=2)
        assert [each["key"] for each in result["structuredContent"]["found"]] == ["three", "two"]
        await me.done("memory", action="put", key="two", value="nothing")
        assert await me.done("memory", action="search", query="Brno") == "Nothing found."


async def test_what_agents_share_needs_a_rule_about_the_scope(tmp_path: Path) -> None:
    async with agents(tmp_path, "me", "sharer", "reader") as (_, me, sharer, reader):
        assert "not granted" in await me.refused("memory", action="put", key="k", value=1, scope="shared")
        assert "not granted" in await me.refused("memory", action="search", scope="shared")
        await sharer.done("memory", action="put", key="k", value="for all", scope="shared")
        assert (await reader.done("memory", action="get", key="k", scope="shared")).startswith("for all")
        assert await me.done("memory", action="search", query="all") == "Nothing found."
        assert await sharer.done("memory", action="search", query="all") == "Nothing found."
