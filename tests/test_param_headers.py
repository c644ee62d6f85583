"""Arguments that a tool wants said again in headers: the hub says them to servers over HTTP.

Source: specification 2026-07-28, basic/transports/streamable-http, "Custom Headers from Tool Parameters".
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from jiter import LosslessFloat

from connectors.mirror import BadMark, mirrored, said
from hub.model import Json
from tests.house import tool
from tests.hub_room import Room, room, text_of
from tests.servers.dictated import Dictated

pytestmark = pytest.mark.anyio

MISMATCH = '"error":{"code":-32020,"message":"Header mismatch"}'
DONE = '"result":{"content":[{"type":"text","text":"done"}],"resultType":"complete"}'
MARK = "x-mcp-header"


def schema(**properties: Json) -> Json:
    return {"type": "object", "properties": properties}


def listed(*tools: Json) -> str:
    return f'"result":{json.dumps({"tools": tools, "resultType": "complete", "ttlMs": 0})}'


class Router(Dictated):
    """Refuses calls whose header does not say the region, as a server that routes by it would."""

    def __init__(self) -> None:
        super().__init__("modern", "router")
        self.wanted = "mcp-param-region: eu\r\n"
        self.calls = 0
        self.looks = 0
        self.offer(MARK, "Region")

    def offer(self, keyword: str, header: str) -> None:
        self.lists["tools/list"] = listed(
            tool("go", inputSchema=schema(region={"type": "string", keyword: header})), tool("plain")
        )

    def reply(self, body: bytes) -> str | None:
        method = json.loads(body)["method"]
        self.looks += method == "tools/list"
        if method == "tools/call":
            self.calls += 1
            self.answer = DONE if self.wanted in self.head else MISMATCH
        return super().reply(body)


@asynccontextmanager
async def behind(home: Path, *servers: Dictated, **more: Any) -> AsyncIterator[Room]:
    """A hub with these servers, each reached over HTTP in its own era; `more` is in their manifests."""
    manifests: dict[str, Json] = {}
    async with anyio.create_task_group() as tasks:

        async def serve(server: Dictated, *, task_status: anyio.abc.TaskStatus[str]) -> None:
            async with server.listening() as url:
                task_status.started(url)
                await anyio.sleep_forever()

        for server in servers:
            url = await tasks.start(serve, server)
            manifests[server.name] = {"connect": {"url": url}, "era": server.era, **more}
        async with room(home, manifests) as it:
            yield it
        tasks.cancel_scope.cancel()


async def go(it: Room, region: Any = "eu") -> Json:
    """Of an agent of the older era, which says nothing in headers itself."""
    async with it.session({}) as older:
        return await older.request("tools/call", {"name": "router__go", "arguments": {"region": region}})


async def test_what_a_tool_marks_is_said_in_a_header(tmp_path: Path) -> None:
    server = Router()
    async with behind(tmp_path, server) as it:
        assert text_of(await go(it)) == "done"
        assert "mcp-name: go\r\n" in server.head
        server.wanted = "mcp-param-region: =?base64?"
        assert text_of(await go(it, "eü")) == "done"
        assert (server.calls, server.looks) == (2, 1)


async def test_a_refused_header_is_a_reason_to_look_again_once(tmp_path: Path) -> None:
    """The specification's advice: call `tools/list` for changes, then retry."""
    server = Router()
    async with behind(tmp_path, server, tools={"changed": "serve"}) as it:
        server.offer(MARK, "Zone")
        server.wanted = "mcp-param-zone: eu\r\n"
        assert text_of(await go(it)) == "done"
        assert (server.calls, server.looks) == (2, 2)
        assert text_of(await go(it)) == "done"
        assert (server.calls, server.looks) == (3, 2)


async def test_a_call_is_not_sent_again_where_the_second_look_shows_another_tool(tmp_path: Path) -> None:
    """T20: what is quarantined by then is called no more."""
    server = Router()
    async with behind(tmp_path, server) as it:
        server.offer(MARK, "Zone")
        server.wanted = "mcp-param-zone: eu\r\n"
        assert "is quarantined" in text_of(await go(it))
        assert (server.calls, server.looks) == (1, 2)


async def test_a_refusal_that_a_second_look_does_not_explain_is_passed_on(tmp_path: Path) -> None:
    server = Router()
    async with behind(tmp_path, server) as it:
        server.wanted = "never"
        for _ in range(3):
            assert (await go(it))["error"] == {"code": -32020, "message": "Header mismatch"}
        # Each call is sent once, and the list is read once a second at most.
        assert (server.calls, server.looks) == (3, 2)


async def test_a_tool_whose_mark_breaks_the_rules_is_left_out_with_the_reason(tmp_path: Path) -> None:
    """ "Clients using the Streamable HTTP transport MUST reject tool definitions" such as this."""
    modern, older = Dictated("modern", "new"), Dictated("legacy", "old")
    bad = tool("bad", inputSchema=schema(x={"type": "number", MARK: "X"}))
    for server in (modern, older):
        server.lists["tools/list"] = listed(bad, tool("good"))
    async with behind(tmp_path, modern, older) as it:
        agent = it.app.identities.local("me")
        # To a server of the older era no such headers are sent, so there is nothing wrong.
        names = [entry.name for entry in it.app.hub.entries(agent, "tool")]
        assert names == ["new__good", "old__bad", "old__good"]
        (out,) = it.app.hub.catalog.left_out
        assert (out.server, out.name) == ("new", "bad") and "x-mcp-header of x" in out.why


@pytest.mark.parametrize(
    "broken",
    [
        schema(x={"type": "number", MARK: "X"}),
        schema(x={"type": ["string", "null"], MARK: "X"}),
        schema(x={"type": "string", MARK: ""}),
        schema(x={"type": "string", MARK: "a b"}),
        schema(x={"type": "string", MARK: "a\r\nb"}),
        schema(x={"type": "string", MARK: 1}),
        schema(x={"type": "string", MARK: "X"}, y={"type": "string", MARK: "x"}),
        schema(x={"type": "array", "items": {"type": "string", MARK: "X"}}),
        {"type": "object", MARK: "X"},
        {"type": "object", "anyOf": [schema(x={"type": "string", MARK: "X"})]},
        {"type": "object", "$defs": {"a": {"type": "string", MARK: "X"}}},
    ],
)
def test_a_mark_that_breaks_the_rules_is_found(broken: Json) -> None:
    with pytest.raises(BadMark):
        mirrored(broken)


def test_headers_say_what_the_arguments_say() -> None:
    """ "Value Encoding": decimal integers, lower-case booleans; nothing for what is not there."""
    marks = mirrored(
        schema(
            region={"type": "string", MARK: "Region"},
            deep=schema(count={"type": "integer", MARK: "Count"}),
            sure={"type": "boolean", MARK: "Sure"},
            plain={"type": "string", "default": {MARK: "no"}},
        )
    )
    given: Json = {"region": "eu", "deep": {"count": -7}, "sure": True, "plain": "x"}
    assert said(marks, given) == {
        "mcp-param-region": "eu", "mcp-param-count": "-7", "mcp-param-sure": "true",
    }  # fmt: skip
    assert said(marks, {"deep": {"count": LosslessFloat(b"4.0")}}) == {"mcp-param-count": "4"}
    nothings: tuple[Any, ...] = (
        {},
        None,
        [],
        {"deep": 1},
        {"deep": {"count": 2**53}},
        {"region": None},
        {"region": [1]},
    )
    for nothing in nothings:
        assert said(marks, nothing) == {}
