"""MCP Apps through the hub: pages are found, readable and followed, and what they call is called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hub.catalog import Catalog, Offer
from hub.model import Json
from hub.upstreams.moved import outward
from tests.homes import installed, link_packages, need_node
from tests.house import house
from tests.hub_room import Room, room, text_of

pytestmark = pytest.mark.anyio

MONITOR = {
    "package": {"npm": "@modelcontextprotocol/server-system-monitor", "version": "2.0.3", "args": ["--stdio"]}
}
PAGE = "ui://system-monitor/mcp-app.html"


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    """A folder whose packages have the official example of an app."""
    need_node()
    await installed(**MONITOR["package"])
    link_packages(tmp_path)
    return tmp_path


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_an_app_of_two_servers_works_through_the_hub(home: Path, era: str) -> None:
    """The official example: its page is one URI, so the second server's is moved, and its tools say so."""
    agents = {"me": ("*",), "other": ("two__*",)}
    servers: Mapping[str, Json] = {name: {"connect": MONITOR} for name in ("one", "two")}
    async with room(home, servers, agents=agents) as it, it.client(_mode(era)) as client:
        tools = {tool.name: tool.meta or {} for tool in (await client.list_tools()).tools}
        moved = f"hub+two:{PAGE}"
        for server, uri in (("one", PAGE), ("two", moved)):
            about = tools[f"{server}__get-system-info"]
            assert (about["ui"]["resourceUri"], about["ui/resourceUri"]) == (uri, uri)
            assert tools[f"{server}__poll-system-stats"] == {"ui": {"visibility": ["app"]}}
            (page,) = (await client.read_resource(uri)).contents
            assert (page.uri, page.mime_type) == (uri, "text/html;profile=mcp-app")
            assert "<html" in getattr(page, "text", "")
            called = await client.call_tool(f"{server}__poll-system-stats")
            assert not called.is_error
        await _call_as_a_page(it)


def _mode(era: str) -> str:
    return "2026-07-28" if era == "modern" else "legacy"


async def _call_as_a_page(it: Room) -> None:
    """A page says a tool's own name: that counts where it can mean one tool only."""
    async with it.http("me") as me, it.http("other") as other:
        call = {"name": "poll-system-stats", "arguments": {}}
        both = await it.ask(me, "tools/call", call, {})
        assert both["error"] == {"code": -32602, "message": "Unknown tool: poll-system-stats"}
        assert "cpu" in text_of(await it.ask(other, "tools/call", call, {}))


def tool(name: str, **ui: object) -> Json:
    about = {"_meta": {"ui": ui, "vendor/key": 1}} if ui else {}
    return {"name": name, "inputSchema": {"type": "object"}, **about}


def built(**offers: Any) -> Catalog:
    return Catalog.build([Offer(name, definitions=offer) for name, offer in offers.items()], 1)


def test_a_page_that_its_server_does_not_list_is_found_and_not_listed() -> None:
    """SEP-1865: servers may omit UI-only resources from their list."""
    shop = {"tool": (tool("buy", resourceUri="ui://shop/page"), tool("again", resourceUri="ui://shop/page"))}
    catalog = built(shop=shop)
    assert catalog.entries["resource"] == ()
    entry = catalog.find("resource", "ui://shop/page")
    assert entry is not None
    assert (entry.server, entry.own, entry.grant) == ("shop", "ui://shop/page", "shop__ui://shop/page")


def test_of_one_page_uri_who_lists_it_is_the_first_and_the_others_are_moved() -> None:
    page = "ui://page"
    listed = {"resource": ({"uri": page, "name": "page"},), "tool": (tool("buy", resourceUri=page),)}
    unlisted = {"tool": (tool("buy", resourceUri=page, visibility=["model"]),)}
    catalog = built(a=unlisted, b=listed, c=unlisted)
    known = {"a": f"hub+a:{page}", "b": page, "c": f"hub+c:{page}"}
    for server, uri in known.items():
        found = catalog.find("resource", uri)
        assert found is not None and (found.server, found.own) == (server, page)
        meta = catalog.by_name["tool"][f"{server}__buy"].definition["_meta"]
        assert meta["ui"]["resourceUri"] == uri
        assert meta["vendor/key"] == 1
    assert [entry.name for entry in catalog.entries["resource"]] == [page]
    assert catalog.entries["tool"] == tuple(catalog.by_name["tool"].values())
    result = {"content": [], "_meta": {"ui": {"resourceUri": page}, "ui/resourceUri": page, "x": 1}}
    assert outward(result, catalog.moved["c"])["_meta"] == {
        "ui": {"resourceUri": known["c"]},
        "ui/resourceUri": known["c"],
        "x": 1,
    }


def test_pages_call_what_is_for_them_only() -> None:
    app = {
        "tool": (
            tool("show", resourceUri="ui://page"),
            tool("poll", visibility=["app"]),
            tool("think", visibility=["model"]),
            tool("plain"),
        )
    }
    catalog = built(app=app, other={"tool": (tool("poll"), tool("elsewhere"))})
    assert {own: [entry.server for entry in found] for own, found in catalog.for_pages.items()} == {
        "show": ["app"],
        "poll": ["app"],
        "plain": ["app"],
    }


@pytest.mark.parametrize(
    "meta", [None, 7, {"ui": 7}, {"ui": {"resourceUri": 7}}, {"ui": {"resourceUri": "x://"}}]
)
def test_what_is_no_page_is_left_as_it_is(meta: object) -> None:
    definition = {"name": "buy", "inputSchema": {"type": "object"}, "_meta": meta}
    if meta is not None and not isinstance(meta, dict):
        return
    if meta is None:
        del definition["_meta"]
    catalog = built(shop={"tool": (definition,)})
    assert catalog.entries["tool"][0].definition == {**definition, "name": "shop__buy"}
    assert catalog.for_pages == {}


async def test_a_name_that_is_not_granted_is_as_unknown_to_a_page_as_one_that_is_not_there(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, tools=[tool("echo", resourceUri="ui://page"), tool("secret")]) as hub:
        me, other = hub.identities.local("me"), hub.identities.local("other")
        found = {
            (agent.name, name): hub.hub.new_call(agent, "s", "tools/call", {"name": name}).entry
            for agent in (me, other)
            for name in ("echo", "secret", "none")
        }
        names = {key: None if entry is None else entry.name for key, entry in found.items()}
        assert names == {
            ("me", "echo"): "box__echo",
            ("me", "secret"): None,
            ("me", "none"): None,
            ("other", "echo"): "box__echo",
            ("other", "secret"): "box__secret",
            ("other", "none"): None,
        }
