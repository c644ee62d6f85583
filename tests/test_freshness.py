"""For how long agents may keep lists and contents: what the servers said of them, put together.

Source: specification 2026-07-28, server/utilities/caching.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.catalog import Catalog, Offer
from hub.hub import Sight
from hub.model import KINDS, Agent, Json, Kind
from hub.policy import Grants, Rule, decide, may_reach
from hub.server.lists import LISTS, PAGE_SIZE, TTL_MS_MAX, page
from hub.upstreams.learn import whole_ms
from tests.conformance import running_everything
from tests.house import headers_of, modern
from tests.hub_room import Room, room

pytestmark = pytest.mark.anyio

PAGED = """
import json, sys
TTLS = json.loads(sys.argv[1])
CAPABILITIES = {"tools": {}, "resources": {}}
for line in sys.stdin:
    message = json.loads(line)
    method, params = message["method"], message.get("params", {})
    answer = {"result": {"supportedVersions": ["2026-07-28"], "capabilities": CAPABILITIES}}
    if method == "tools/list":
        at = int(params.get("cursor", 0))
        answer["result"] = {"tools": [{"name": f"t{at}", "inputSchema": {"type": "object"}}], **TTLS[at]}
        if at + 1 < len(TTLS):
            answer["result"]["nextCursor"] = str(at + 1)
    elif method == "resources/list":
        answer["result"] = {"resources": [{"uri": "note://one", "name": "one"}], "ttlMs": 9000}
    elif method == "resources/read":
        ttl = json.loads(params["_meta"]["ttl"])
        answer["result"] = {"contents": [], "cacheScope": "public", **ttl}
    elif method != "server/discover":
        answer = {"error": {"code": -32601, "message": "Method not found"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
"""


def paged(home: Path, *ttls: Json) -> Json:
    """A server whose pages of tools say this of themselves."""
    server = home / "paged.py"
    server.write_text(PAGED)
    return {"connect": {"command": [sys.executable, str(server), json.dumps(ttls)]}, "era": "modern"}


async def said(it: Room, http: httpx.AsyncClient, method: str, **params: Any) -> tuple[int, str]:
    result = (await it.ask(http, method, params, {}))["result"]
    return result["ttlMs"], result["cacheScope"]


async def test_a_server_on_the_sdk_is_believed_but_never_shared(tmp_path: Path) -> None:
    """It says 60 s and public; who may see what is decided for each agent, so for others it is private."""
    agents = {"me": ("*",), "other": ("all__*",)}
    async with running_everything() as url:
        servers: dict[str, Json] = {"all": {"connect": {"url": url}}, "paged": paged(tmp_path, {})}
        async with room(tmp_path, servers, agents=agents) as it:
            async with it.http("other") as http:
                for method in LISTS:
                    assert await said(it, http, method) == (60_000, "private")
                read = await said(it, http, "resources/read", uri="test://static-text")
                assert read == (60_000, "private")
                assert (await said(it, http, "server/discover"))[1] == "private"
            async with it.http("me") as http:
                # The other server says nothing of its tools, and has neither prompts nor templates.
                assert await said(it, http, "tools/list") == (0, "private")
                assert await said(it, http, "resources/list") == (9000, "private")
                for method in ("prompts/list", "resources/templates/list"):
                    assert await said(it, http, method) == (60_000, "private")


@pytest.mark.parametrize(
    ("ttls", "expected"),
    [
        ([{"ttlMs": 5000}, {"ttlMs": 3000}, {"ttlMs": 4000}], 3000),
        ([{"ttlMs": 5000}, {}], 0),
        ([{"ttlMs": 5000}, {"ttlMs": -1}], 0),
        ([{"ttlMs": 10**12}], TTL_MS_MAX),
    ],
)
async def test_the_shortest_of_a_lists_pages_counts(tmp_path: Path, ttls: list[Json], expected: int) -> None:
    async with room(tmp_path, {"paged": paged(tmp_path, *ttls)}) as it, it.http() as http:
        assert await said(it, http, "tools/list") == (expected, "private")


async def test_contents_keep_what_their_server_says_of_them_where_it_can_be_said(tmp_path: Path) -> None:
    async with room(tmp_path, {"paged": paged(tmp_path, {})}) as it, it.http() as http:
        for given, expected in (({"ttlMs": 7}, 7), ({}, 0), ({"ttlMs": -5}, 0), ({"ttlMs": "7"}, 0)):
            params: Json = {"uri": "note://one", "_meta": {"ttl": json.dumps(given)}}
            body = await _read(it, http, params)
            assert (body["ttlMs"], body["cacheScope"]) == (expected, "private")
    async with room(tmp_path, {"paged": paged(tmp_path, {})}) as it, it.session({}) as legacy:
        read = await legacy.request("resources/read", {"uri": "note://one", "_meta": {"ttl": '{"ttlMs": 7}'}})
        assert read["result"] == {"contents": []}


async def _read(it: Room, http: httpx.AsyncClient, params: Json) -> Json:
    body = modern("resources/read", params, **params["_meta"])
    answer = await http.post(it.url, json=body, headers=headers_of(body))
    found: Json = answer.json()["result"]
    return found


async def test_a_list_that_a_server_may_still_join_is_not_kept(tmp_path: Path) -> None:
    agents = {"me": ("*",), "other": ("paged__*",)}
    servers = {"paged": paged(tmp_path, {"ttlMs": 5000})}
    async with room(tmp_path, servers, agents=agents) as it:
        mute = {"server": "mute", "connect": {"command": ["sleep", "60"]}}
        (tmp_path / "manifests" / "mute.yaml").write_text(json.dumps(mute))
        await it.app.reload()
        async with it.http("me") as me, it.http("other") as other:
            assert await said(it, me, "tools/list") == (0, "private")
            assert await said(it, other, "tools/list") == (5000, "private")


# Pages


def tool(name: str) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}}


def sight(*offers: Offer, agent: str = "me", may: str = "*") -> Sight:
    catalog = Catalog.build(offers, 1)
    grants = Grants("me.yaml", (Rule("may[0]", (may,), 1),))
    entries: dict[Kind, Any] = {
        kind: tuple(e for e in catalog.entries[kind] if decide(grants, e).allowed) for kind in KINDS
    }
    return Sight(catalog, Agent(agent, grants), entries)


def pages(seen: Sight) -> list[Json]:
    found: list[Json] = []
    cursor = None
    while True:
        found.append(json.loads(page(seen, "tools/list", True, cursor)))
        cursor = found[-1].get("nextCursor")
        if cursor is None:
            return found


def test_all_pages_of_a_list_say_the_same_and_have_each_entry_once_in_a_fixed_order() -> None:
    offers = [
        Offer(name, definitions={"tool": tuple(tool(f"t{n}") for n in range(1500))}, ttl_ms={"tool": ttl})
        for name, ttl in (("b", 700), ("a", 900))
    ]
    found = pages(sight(*offers))
    assert [len(each["tools"]) for each in found] == [PAGE_SIZE, PAGE_SIZE, PAGE_SIZE]
    assert {(each["ttlMs"], each["cacheScope"]) for each in found} == {(700, "private")}
    names = [entry["name"] for each in found for entry in each["tools"]]
    assert names == [f"{server}__t{n}" for server in "ab" for n in range(1500)]
    assert pages(sight(*reversed(offers))) == found


def test_a_server_of_which_an_agent_may_have_nothing_does_not_count() -> None:
    offers = [Offer(name, ttl_ms={"tool": ttl}) for name, ttl in (("one", 500), ("two", 0), ("three", 400))]
    for may, expected in (
        ("*", 0),
        ("one__*", 500),
        ("t*", 0),
        ("three__x", 400),
        ("none__*", 0),
        ("?ne*", 0),
    ):
        assert pages(sight(*offers, may=may))[0]["ttlMs"] == expected, may


@pytest.mark.parametrize(
    ("pattern", "reached"),
    [
        ("*", True), ("git*", True), ("git__*", True), ("git__git_log", True), ("g?t__log", True),
        ("gi", False), ("git_", False), ("github__*", False), ("github*", False), ("", False), ("x*", False),
    ],
)  # fmt: skip
def test_what_may_be_reached_is_told_by_the_head_of_a_pattern(pattern: str, reached: bool) -> None:
    grants = Grants("me.yaml", (Rule("may[0]", (pattern,), 1),))
    assert may_reach(grants, "git") is reached
    assert not may_reach(Grants("me.yaml"), "git")


def test_only_whole_numbers_count() -> None:
    assert [whole_ms(each) for each in (0, 7, -1, True, 7.5, "7", None)] == [0, 7, 0, 0, 0, 0, 0]
