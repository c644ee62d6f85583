"""An agent gives a helper a token of its own that is for less, by `hub__token`; through the SDK's client."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.client import ConnectMode
from mcp.client.streamable_http import streamable_http_client

from hub.errors import Unauthorized
from hub.settings import Settings
from tests.hub_room import SECONDS_MAX, Room, room
from tests.sources import ROOT

pytestmark = pytest.mark.anyio

SHIFTING = str(ROOT / "tests" / "servers" / "shifting.py")
ASK = {"use": "s__wipe", "ask": "human"}
SENTENCE = "All the calls that this token was made for are used up"


@asynccontextmanager
async def parents(folder: Path) -> AsyncIterator[Room]:
    """`me` may do much and mint; `other` may mint."""
    tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("pay", "look", "wipe", "turn")]
    (folder / "tools.json").write_text(json.dumps(tools))
    connect = {"command": [sys.executable, SHIFTING, str(folder), "modern"]}
    agents: dict[str, Any] = {
        "me": ["s__pay", "s__look", ASK, "hub__token"],
        "other": ["s__turn", "hub__token"],
    }
    settings = Settings(approval_wait=0.05)
    async with room(folder / "home", {"s": {"connect": connect}}, agents=agents, settings=settings) as it:
        yield it


@asynccontextmanager
async def helper(it: Room, token: str, mode: ConnectMode = "auto") -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=SECONDS_MAX) as http,
        Client(streamable_http_client(it.url, http_client=http), mode=mode) as client,
    ):
        yield client


async def minted(client: Client, **terms: Any) -> dict[str, Any]:
    result = await client.call_tool("hub__token", {"action": "mint", **terms})
    assert not result.is_error, result
    found: dict[str, Any] = result.structured_content or {}
    return found


async def refused(client: Client, **arguments: Any) -> str:
    result = await client.call_tool("hub__token", arguments)
    assert result.is_error, result
    return text(result)


def text(result: Any) -> str:
    said: str = result.content[0].text
    return said


async def names(client: Client) -> list[str]:
    """What it sees, but for the right to read its own results, which needs no rule."""
    return [tool.name for tool in (await client.list_tools()).tools if tool.name != "hub__read"]


async def test_a_child_token_is_for_less_in_tools_arguments_and_calls(tmp_path: Path) -> None:
    rule = {"use": "s__pay", "with": {"to": {"const": "ann"}}, "only": True}
    async with parents(tmp_path) as it, it.client("auto") as me:
        child = await minted(me, may=["s__look", "s__turn", rule], calls=2, expires="10m")
        for mode in ("auto", "legacy"):
            async with helper(it, child["token"], mode) as client:
                assert await names(client) == ["s__pay", "s__look"], (
                    "not s__turn, which its parent may not use"
                )
                wrong = await client.call_tool("s__pay", {"to": "eve"})
                assert wrong.is_error and "to" in text(wrong)
                assert not (await client.call_tool("s__pay", {"to": "ann"})).is_error
        async with helper(it, child["token"]) as client:
            with pytest.raises(Exception, match=SENTENCE):
                await client.call_tool("s__look", {})
        assert (tmp_path / "receipts").read_text().split() == ["pay", "pay"]


async def test_a_child_may_mint_where_it_may_use_the_tool_and_never_more_than_it_may(tmp_path: Path) -> None:
    async with parents(tmp_path) as it, it.client("auto") as me:
        child = await minted(me, may=["s__look", "hub__token"], expires="10m")
        async with helper(it, child["token"]) as client:
            grandchild = await minted(client, may=["*"], expires="300d")
        assert grandchild["expires"] == child["expires"], "it ends with its parent"
        async with helper(it, grandchild["token"]) as client:
            assert await names(client) == ["hub__token", "s__look"]


async def test_revoking_the_parent_ends_the_tree_on_open_connections_too(tmp_path: Path) -> None:
    async with parents(tmp_path) as it, it.client("auto") as me:
        child = await minted(me, may=["s__look", "hub__token"])
        async with helper(it, child["token"]) as client:
            grandchild = await minted(client, may=["s__look"])
            async with helper(it, grandchild["token"]) as third:
                assert await names(third) == ["s__look"]
                assert "revoked" in text(
                    await me.call_tool("hub__token", {"action": "revoke", "id": child["id"]})
                )
                for dead in (client, third):
                    with pytest.raises(MCPError, match="error response"):
                        await dead.call_tool("s__look", {})
                for token in (child["token"], grandchild["token"]):
                    with pytest.raises(Unauthorized):
                        it.identities.identify(f"Bearer {token}")
        assert not (tmp_path / "receipts").exists()
        assert not (await me.call_tool("s__look", {})).is_error


async def test_nobody_revokes_what_is_not_below_them(tmp_path: Path) -> None:
    """Ours: another's token, one's own, and one's parent's are all as unknown as none."""
    async with parents(tmp_path) as it, it.client("auto") as me, it.client("auto", "other") as other:
        child = await minted(me, may=["hub__token"])
        own = it.identities.identify(f"Bearer {it.tokens['me']}").token
        async with helper(it, child["token"]) as client:
            for who, id in ((other, child["id"]), (me, own), (client, own), (client, child["id"])):
                said = await refused(who, action="revoke", id=id)
                assert said == f"You have no live child token {id!r}."


async def test_what_a_person_has_to_approve_a_child_cannot_do_without(tmp_path: Path) -> None:
    """Ours: the rules of all above it hold as well, so none is left out by minting."""
    async with parents(tmp_path) as it, it.client("auto") as me:
        child = await minted(me, may=["s__wipe"])
        async with helper(it, child["token"]) as client:
            result = await client.call_tool("s__wipe", {})
            assert result.is_error and text(result).startswith("Pending: a person has to approve")
        assert not (tmp_path / "receipts").exists()


def found_in(file: Path) -> set[str]:
    """All that has the shape of a token in a file."""
    return set(map(bytes.decode, re.findall(rb"hub_[\w-]{43}", file.read_bytes())))


async def test_a_token_is_in_its_answer_and_nowhere_else(tmp_path: Path) -> None:
    """T27: neither in the record, nor in the journal, nor in a kept answer."""
    seen: set[str] = set()
    async with parents(tmp_path) as it, it.client("auto") as me:
        token = (await minted(me, may=["s__look"]))["token"]
        keyed: Any = {"meta": {"hub/idempotency-key": "one"}}
        for _ in range(2):
            result = await me.call_tool("hub__token", {"action": "mint"}, **keyed)
            kept = (result.structured_content or {})["token"]
            seen.add(kept)
        assert len(seen) == 1, "what is asked for again with its key is answered again"
        await it.app.store.write(lambda connection: None)
        files = [file for file in (tmp_path / "home").rglob("*") if file.is_file()]
        assert [file.name for file in files if {token, *seen} & found_in(file)] == []
    files = [file for file in (tmp_path / "home").rglob("*") if file.is_file()]
    assert [file.name for file in files if {token, *seen} & found_in(file)] == []


async def test_what_cannot_be_minted_is_said(tmp_path: Path) -> None:
    async with parents(tmp_path) as it, it.client("auto") as me:
        assert "30d, 12h or 10m" in await refused(me, action="mint", expires="soon")
        assert "scope cannot be used" in await refused(me, action="mint", may=[{"use": "x", "wiht": {}}])
        assert "may: each is a name" in await refused(me, action="mint", may=[3])
        assert "needs the id" in await refused(me, action="revoke")
        local = it.app.identities.local("me")
        session = await it.app.sessions.current(local, {})
        params = {"name": "hub__token", "arguments": {"action": "mint"}}
        with anyio.fail_after(20):
            result = await it.app.hub.call(it.app.hub.new_call(local, session.id, "tools/call", params))
        assert result["isError"] and "needs a parent" in result["content"][0]["text"]
