"""Threats T2, T5, T16, T17 from within: an agent with a good token wants more than it was given, or all."""

from __future__ import annotations

import json
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from connectors.jsonrpc import encode
from hub.catalog import Catalog, Offer, View
from hub.env import SystemEnv
from hub.errors import UpstreamTimeout
from hub.hub import Hub
from hub.model import Agent as AgentOf
from hub.policy import Grants, Rule
from hub.results.document import Document, NoSuchPlace
from hub.results.outline import from_json, outlined, to_json
from hub.results.views import Query, view
from hub.route import DEADLINE
from hub.server.bodies import OWN_BYTES_MAX, Bodies
from hub.server.lists import page
from hub.tasks import TASKS
from tests.builtin_room import Agent, agents
from tests.house import message
from tests.hub_room import SECONDS_MAX, nothing, unwatched
from tests.long_room import COUNT, id_of, long_room, refused, use
from tests.shop import hangs, house, said, says, shop, write

pytestmark = pytest.mark.anyio

WIDE = 2**70
WHOLE = (1.0, 1e300, WIDE, 2**63, -WIDE)


async def child_of(me: Agent, *may: Any) -> None:
    """From now on it comes with a child token that it has minted itself, with these rules."""
    minted = await me.use("token", action="mint", may=list(may))
    me._http.headers["authorization"] = f"Bearer {minted['structuredContent']['token']}"


async def test_t16_a_rule_that_an_agent_gives_its_own_child_token_allows_nothing_that_a_person_has_to_allow(
    tmp_path: Path,
) -> None:
    async with agents(tmp_path, "me", "sharer") as (_, me, sharer):
        with anyio.fail_after(SECONDS_MAX):
            await sharer.done("memory", action="put", key="plan", value="of others", scope="shared")
            await child_of(
                me,
                {"use": "hub__memory", "with": {"scope": {"const": "shared"}}},
                {"use": "hub__session", "with": {"with": {"type": "string"}}},
                "hub__memory",
                "hub__session",
            )
            for action in ("get", "put", "forget", "lease"):
                said = await me.refused("memory", action=action, key="plan", value="mine", scope="shared")
                assert "not granted" in said
            assert "not granted" in await me.refused("memory", action="search", scope="shared")
            await me.done("memory", action="put", key="own", value=1, scope="session")
            shared = {"action": "share", "with_": "sharer", "keys": ["own"]}
            assert "not granted" in await me.refused("session", **shared)
            # What its manifest allows, a child token may as well.
            await child_of(sharer, {"use": "hub__memory", "with": {"scope": {"const": "shared"}}})
            assert "of others" in await sharer.done("memory", action="get", key="plan", scope="shared")


async def test_a_number_in_any_spelling_and_of_any_size_is_taken_or_refused_by_the_hubs_own_tools(
    tmp_path: Path,
) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("memory", {"action": "search", "limit": 10.0}),
        ("memory", {"action": "search", "query": "a", "limit": 1e1}),
        ("context", {"tokens": 2e3}),
        *(("memory", {"action": "release", "key": "k", "fence": number}) for number in WHOLE),
        *(("memory", {"action": "lease", "key": "k", "fence": number}) for number in WHOLE),
        *(("token", {"action": "mint", "calls": number}) for number in WHOLE),
        *(("read", {"id": "x", "from": abs(number), "count": abs(number)}) for number in WHOLE),
    ]
    async with agents(tmp_path, "me") as (_, me):
        with anyio.fail_after(SECONDS_MAX):
            for tool, arguments in asked:
                answer = await me.ask("tools/call", {"name": f"hub__{tool}", "arguments": arguments})
                assert "result" in answer, (tool, arguments, json.dumps(answer))
            kept = {"digits": 1.50, "wide": WIDE}
            await me.done("memory", action="put", key="k", value=kept)
            assert json.dumps(WIDE) in await me.done("memory", action="get", key="k")


def test_t17_a_server_that_an_agent_may_know_nothing_of_keeps_it_from_no_resource() -> None:
    templates = {"aaa": "{+uri}", "files": "file:///{+path}"}
    offers = [
        Offer(server, definitions={"template": ({"uriTemplate": uri, "name": "any"},)})
        for server, uri in templates.items()
    ]
    hub = Hub(SystemEnv(), nothing, unwatched, Catalog.build(offers, 1))
    for pattern, server in (("files__*", "files"), ("*", "aaa"), ("git__*", "aaa")):
        agent = AgentOf("me", Grants("me.yaml", (Rule("may[0]", (pattern,), 1),)))
        entry = hub.new_call(agent, "s", "resources/read", {"uri": "file:///a"}).entry
        assert entry is not None and entry.server == server, pattern


def test_t2_a_uri_that_an_agent_makes_up_costs_little_time_and_is_not_remembered() -> None:
    templates = ({"uriTemplate": "file:///{+path}", "name": "any"},)
    hub = Hub(
        SystemEnv(),
        nothing,
        unwatched,
        Catalog.build([Offer("files", definitions={"template": templates})], 1),
    )
    rules = tuple(Rule(f"may[{n}]", ("files__*a*b*c", "files__file:///*"), 1) for n in range(10))
    agent = AgentOf("me", Grants("me.yaml", rules, (Rule("never[0]", ("files__*x*y*z",), 1),)))
    for n in range(200):
        for length in (600, 8000, 4_000_000 if not n else 9000):
            uri = f"file:///{n}/{'a' * length}"
            entry = hub.new_call(agent, "s", "resources/read", {"uri": uri}).entry
            assert (entry is None) is (length > 8000)
    kept = sum(len(grant) for _, grant, *_ in agent.grants.kept)
    assert kept < 10_000


async def test_t2_what_a_client_says_of_itself_is_remembered_within_bounds(tmp_path: Path) -> None:
    picture = {"src": "data:image/png;base64," + "A" * 100_000}
    about = {"name": "big", "version": "1", "title": "t" * 1000, "icons": [picture]}
    many: dict[str, Any] = {"experimental": {f"x{n}": {} for n in range(2000)}}
    async with agents(tmp_path, "me") as (it, me):
        with anyio.fail_after(SECONDS_MAX):
            for capabilities, opened in (({}, True), (many, False)):
                params = {"protocolVersion": "2025-11-25", "clientInfo": about, "capabilities": capabilities}
                answer = await me._http.post(it.url, json=message("initialize", params))
                assert ("result" in answer.json()) is opened, answer.text[:300]
            sessions = it.app.sessions._remembered.values()
            assert [each.client for each in sessions] == [{"name": "big", "version": "1", "title": "t" * 256}]


@pytest.mark.parametrize("key", ["resourceSubscriptions", "taskIds"])
async def test_t5_one_wish_to_hear_of_more_than_there_may_be_is_refused(tmp_path: Path, key: str) -> None:
    async with agents(tmp_path, "me") as (_, me):
        me.meta = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}}}
        wanted = {"notifications": {key: [f"note://{n}" for n in range(1001)]}}
        with anyio.fail_after(SECONDS_MAX):
            answer = await me.ask("subscriptions/listen", wanted)
        assert "at most 1000" in answer["error"]["message"]


async def test_t2_bodies_that_an_agent_begins_and_never_ends_take_so_much_memory_and_no_ones_turn(
    tmp_path: Path,
) -> None:
    length = 4 * 1024 * 1024
    async with agents(tmp_path, "me", "other") as (it, me, other), AsyncExitStack() as stack:
        with anyio.fail_after(SECONDS_MAX):
            where = it.url.removeprefix("http://").partition("/")[0]
            host, _, port = where.partition(":")
            for n in range(20 + 17):
                stream = await stack.enter_async_context(await anyio.connect_tcp(host, int(port)))
                # However it spells its token, it is the same agent.
                credential = f"{'Bearer' if n % 2 else 'bearer'} {it.tokens['me']}{' ' * n}"
                how = f"content-length: {length if n >= 20 else 100}"
                how = "transfer-encoding: chunked" if n % 3 else how
                await stream.send(
                    f"POST /mcp HTTP/1.1\r\nhost: {where}\r\nauthorization: {credential}\r\ncontent-type: "
                    f"application/json\r\n{how}\r\n\r\n".encode()
                )
                if n < 20 and n % 3:
                    await stream.send(b"5\r\nshort\r\n")  # not counted: few bytes have come
                elif n >= 20:
                    await stream.send(b"20000\r\n" + b" " * 0x20000 if n % 3 else b" ")
            said = await stream.receive()
            assert said.startswith(b"HTTP/1.1 429 ") and b"retry-after: 1\r\n" in said and b"busy" in said
            for agent in (me, other):
                await agent.done("memory", action="put", key="small", value=1)
            long = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"x": "x" * 2_000_000}}
            answers = [await each._http.post(it.url, json=long) for each in (me, other)]
            assert [each.status_code for each in answers] == [429, 400]
        await stack.aclose()
        with anyio.fail_after(SECONDS_MAX):
            while (await me._http.post(it.url, json=long)).status_code == 429:
                await anyio.lowlevel.checkpoint()


def test_t2_what_is_counted_of_long_bodies_is_forgotten_with_them() -> None:
    bodies = Bodies()
    most = OWN_BYTES_MAX
    assert bodies.take(b"a", most) and not bodies.take(b"a", 1)
    for n in range(7):
        assert bodies.take(b"%d" % n, most)
    assert not bodies.take(b"b", 1)  # twice as much as there should be
    bodies.leave(b"a", most)
    assert bodies.take(b"b", 1) and not bodies.take(b"b", 1)
    for owner, size in ((b"b", 1), *((b"%d" % n, most) for n in range(7))):
        bodies.leave(owner, size)
    assert bodies.take(b"a", 1) and bodies.take(b"a", 1)


async def test_t2_a_child_token_has_no_rule_that_takes_long_to_make_ready(tmp_path: Path) -> None:
    def rules(*patterns: str) -> list[Any]:
        return [{"use": "hub__memory", "with": {"key": {"pattern": pattern}}} for pattern in patterns]

    async with agents(tmp_path, "me") as (_, me):
        with anyio.fail_after(SECONDS_MAX):
            for wrong in (rules(r"^\pL{100}$"), rules(*(f"^{n}" for n in range(17)))):
                assert "pattern" in await me.refused("token", action="mint", may=wrong)
            nested = {
                "use": "hub__memory",
                "with": {"value": {"items": {"patternProperties": {r"^\pL{99}$": {}}}}},
            }
            assert "pattern" in await me.refused("token", action="mint", may=[nested])
            await me.done("token", action="mint", may=rules(r"^https://[^/]+\.example\.com/\w{1,40}$"))


def test_t2_what_many_views_of_a_catalog_look_like_is_kept_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub.hub._TEXTS_BYTES_MAX", 1000)
    tools = tuple({"name": f"t{n}", "inputSchema": {"type": "object"}} for n in range(2))
    hub = Hub(SystemEnv(), nothing, unwatched, Catalog.build([Offer("s", definitions={"tool": tools})], 1))
    views = [hub.sight(AgentOf("me", Grants(f"token {n}", (Rule("may[0]", ("*",), n),)))) for n in range(50)]
    for each in views:
        assert page(each, "tools/list", True, None) == page(each, "tools/list", True, None)
        assert sum(len(text) for one in views for text in one.cached.values()) <= 1000
    assert views[-1].cached
    hub.swap(Catalog.build([], 2))
    for each in views:
        assert not hub.sight(each.agent).cached


def test_t17_a_tool_that_an_agent_may_not_know_of_keeps_its_pages_from_none_of_theirs() -> None:
    ui = {"resourceUri": "ui://shop/page"}
    shop = ({"name": "buy", "inputSchema": {"type": "object"}, "_meta": {"ui": ui}},)
    other = ({"name": "buy", "inputSchema": {"type": "object"}},)
    offers = [
        Offer("shop", definitions={"tool": shop}),
        Offer("x", View(bare=True), definitions={"tool": other}),
    ]
    hub = Hub(SystemEnv(), nothing, unwatched, Catalog.build(offers, 1))
    for pattern, server in (("shop__*", "shop"), ("*", "x"), ("git__*", "x")):
        agent = AgentOf("me", Grants("me.yaml", (Rule("may[0]", (pattern,), 1),)))
        entry = hub.new_call(agent, "s", "tools/call", {"name": "buy"}).entry
        assert entry is not None and entry.server == server, pattern


async def test_t5_calls_that_an_agent_wants_answered_too_soon_have_no_server_left_alone(
    tmp_path: Path,
) -> None:
    async with shop() as one:
        one.does("look", hangs)
        write(tmp_path, "one", one, breaker={"failures": 2, "wait": "10s"})
        async with house(tmp_path) as hub:
            for _ in range(3):
                with pytest.raises(UpstreamTimeout):
                    await hub.use("one__look", meta={DEADLINE: 0.05})
            assert not hub.app.fleet.upstreams["one"].breaker.held
            one.does("look", says("ok"))
            assert said(await hub.use("one__look")) == "ok"


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (Query(search="a", start=10_001), "at most 10000 places"),
        (Query(search="a" * 257), "at most 256 characters"),
        (Query("/0", columns=tuple(f"c{n}" for n in range(65))), "at most 64 columns"),
        (Query("/1/" + "k" * 3000), "nothing"),
    ],
)
def test_t2_no_question_about_a_stored_result_takes_long(query: Query, why: str) -> None:
    keys = {f"{'k' * 2990}{n:010d}": n for n in range(300)}
    text = encode([[{"a": n} for n in range(1000)], keys, "a" * 1_000_000]).decode()
    document = Document(from_json(to_json(outlined(text))), len(text), lambda start, end: text[start:end])
    began = time.thread_time()
    with pytest.raises(NoSuchPlace, match=why):
        view(document, query, 1000)
    assert time.thread_time() - began < 2


async def test_t2_a_token_that_an_agent_mints_has_nobody_looked_at_anew(tmp_path: Path) -> None:
    async with agents(tmp_path, "me") as (it, me):
        heard: list[bool] = []
        it.identities.on_change(lambda: heard.append(True))
        with anyio.fail_after(SECONDS_MAX):
            minted = await me.use("token", action="mint", may=["hub__memory"])
            assert heard == []
            await me.done("token", action="revoke", id=minted["structuredContent"]["id"])
            assert heard == [True]


async def test_t2_what_is_filled_into_calls_that_are_under_way_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        with anyio.fail_after(SECONDS_MAX):
            id = id_of(await use(client, "long__rows", count=COUNT))
            sent = {"one": {"$result": id, "at": "/items/3"}, "two": {"$result": id, "at": "/items/4"}}
            monkeypatch.setattr("hub.middleware.refer._OWN_BYTES_MAX", 10)
            assert "Too much is being filled" in await refused(client, "long__take", **sent)
            monkeypatch.undo()
            monkeypatch.setattr("hub.middleware.refer._OWN_BYTES_MAX", 10_000)
            for _ in range(100):
                await use(client, "long__take", **sent)
