"""Lists that changed outside of any call change again where a session is played."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.client import ConnectMode

from hub.env import SystemEnv
from hub.store import forgetting, parts, servers
from hub.store.db import Store
from hub.store.parts import UPDATES_MAX, UpdateRow
from hub.store.servers import BEFORE_MAX, ServerRow
from tests.homes import Running, done, over_http, running, token, write
from tests.sources import ROOT

pytestmark = pytest.mark.anyio

SIZE = "grower://size"
GROWER = [sys.executable, str(ROOT / "tests" / "servers" / "grower.py")]


@asynccontextmanager
async def told(hub: Running, mode: ConnectMode) -> AsyncIterator[tuple[Client, Any]]:
    """A client, and a stream of what it hears of changes."""
    credential = await anyio.to_thread.run_sync(token, hub.home)
    async with (
        over_http(hub.url, credential, mode) as client,
        client.listen(tools_list_changed=True, resource_subscriptions=[SIZE]) as stream,
    ):
        yield client, stream


async def tools(client: Client) -> list[str]:
    return sorted(tool.name for tool in (await client.list_tools()).tools if tool.name.startswith("grower"))


async def said(client: Client, name: str) -> str:
    result = await client.call_tool(name, {})
    assert not result.is_error
    text: str = result.content[0].text  # type: ignore[union-attr]
    return text


async def size(client: Client) -> str:
    text: str = (await client.read_resource(SIZE)).contents[0].text  # type: ignore[union-attr]
    return text


async def use(hub: Running) -> None:
    """What an agent does: twice it is told of another tool and of a resource, and then uses those."""
    with anyio.fail_after(60):
        async with told(hub, "auto") as (client, stream):
            assert (await tools(client), await size(client)) == (["grower__later"], "1")
            for number in (1, 2):
                assert await said(client, "grower__later") == "later"
                heard = {type(await anext(stream)).__name__ for _ in range(2)}
                assert heard == {"ToolsListChanged", "ResourceUpdated"}
                assert await size(client) == str(number + 1)
                assert f"grower__grown{number}" in await tools(client)
                assert await said(client, f"grower__grown{number}") == f"grown{number}"


async def test_an_agent_is_told_of_them_where_it_was_and_finds_the_lists_that_it_found(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    write(home, "grower", server="grower", connect={"command": GROWER})
    write(home, "me", agent="me", may=["grower__*"])
    tape = tmp_path / "tape.jsonl"
    with running(home) as hub:
        hub.until("grower: ready")
        await use(hub)
        (session,) = {row["session"] for row in done(home, "calls", "list", "--json").json}
        assert done(home, "record", session, "-o", str(tape), "--json").json["changes"] == 4
    lines = [json.loads(line) for line in tape.read_text().splitlines()][1:]
    assert [[tool["name"] for tool in line["tools"]] for line in lines if "tools" in line] == [
        ["later"], ["later", "grown1"], ["later", "grown1", "grown2"],
    ]  # fmt: skip
    assert [line["updated"] for line in lines if "updated" in line] == [SIZE] * 2
    kinds = ["offers" if "offers" in line else "changes" if "changes" in line else "call" for line in lines]
    once = ["call", "changes", "changes", "call", "call"]
    assert kinds == ["offers", "call", *once, *once]
    # With nothing behind it, an agent that does the same hears and finds the same.
    write(home, "grower", server="grower", connect={"cassette": str(tape)})
    with running(home) as hub:
        hub.until("grower: ready")
        await use(hub)
        async with over_http(hub.url, token(home), "auto") as client:
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("grower__grown3", {})


async def test_what_a_server_said_before_is_remembered_in_part(tmp_path: Path) -> None:
    def row(number: int, moment: int) -> ServerRow:
        return ServerRow(
            "box", "f", "v", "{}", "{}", None, json.dumps({"tool": [{"name": str(number)}]}), moment
        )

    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        for number in range(BEFORE_MAX + 50):
            for late in (0, 4):  # what says the same is no other
                await store.write(partial(servers.save, row=row(number, 10 * number + late)))
        last = 10 * (BEFORE_MAX + 49)
        found = await store.read(lambda db: servers.known_since(db, "box", last - 15))
        assert [(since, json.loads(each.definitions)["tool"][0]["name"][-1]) for since, each in found] == [
            (0, "7"),
            (last - 10, "8"),
            (last, "9"),
        ]
        assert len(await store.read(lambda db: servers.known_since(db, "box", 0))) == BEFORE_MAX + 1
        assert await store.read(lambda db: servers.known_since(db, "other", 0)) == []


async def test_updates_go_with_what_calls_were_told_and_with_their_session(tmp_path: Path) -> None:
    def rows(session: str, *moments: int) -> list[UpdateRow]:
        return [UpdateRow(session, at, "box", "box://one") for at in moments]

    async with Store.open(tmp_path / "hub.db", SystemEnv()) as store:
        await store.write(partial(parts.insert_updates, rows=rows("s1", 1, 2, 2, 3) + rows("s2", 2)))
        await store.write(partial(parts.insert_updates, rows=rows("s3", *range(UPDATES_MAX + 5))))

        async def kept(session: str) -> list[int]:
            found = await store.read(partial(parts.updates_of, session=session))
            return [row.at for row in found]

        assert [await kept("s1"), await kept("s2"), len(await kept("s3"))] == [[1, 2, 3], [2], UPDATES_MAX]
        await store.write(lambda db: forgetting.forget_session(db, "s2", 1, {}, "ann (uid 501)"))
        assert [await kept("s1"), await kept("s2")] == [[1, 2, 3], []]
        assert await store.write(partial(parts.delete_updates, before=3)) == 5
        assert [await kept("s1"), (await kept("s3"))[0]] == [[3], 3]
