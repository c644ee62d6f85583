"""What agents of both eras are told of resources: only what they asked for and may read, and once."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from hub.model import Json
from hub.policy import Grants, Rule
from tests.house import (
    GRANTS,
    SUBSCRIPTION_KEY,
    House,
    error_of,
    events,
    headers_of,
    house,
    message,
    modern,
    post,
    tool,
)
from tests.hub_room import Room, room
from tests.test_server_stdio import Pipe, pipe

pytestmark = pytest.mark.anyio

TELLER = str(Path(__file__).parent / "servers" / "teller.py")
UPDATED = "notifications/resources/updated"
ONLY_TOOLS = Grants("me.yaml", may=(Rule("may[0]", ("box__echo",), 3),))
NOT_DEEP = Grants(
    "me.yaml", (Rule("may[0]", ("*",), 3),), (Rule("never[0]", ("box__note://one/secret*",), 4),)
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """As the hub runs."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as it:
        yield it


@pytest.fixture
async def http(hub: House) -> AsyncIterator[httpx.AsyncClient]:
    async with hub.http() as client:
        yield client


def listen(*uris: str, id: int | str = 1, **more: Any) -> Json:
    return modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": [*uris], **more}}, id)


@asynccontextmanager
async def listening(
    hub: House | Room, http: httpx.AsyncClient, body: Json
) -> AsyncIterator[AsyncIterator[Any]]:
    """What comes on a modern stream, the acknowledgement first."""
    async with http.stream("POST", hub.url, json=body, headers=headers_of(body)) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield events(answer)


@asynccontextmanager
async def hearing(
    hub: House | Room, http: httpx.AsyncClient, session: dict[str, str]
) -> AsyncIterator[AsyncIterator[Any]]:
    """What comes on a legacy session's own stream."""
    headers = {**session, "accept": "text/event-stream"}
    async with http.stream("GET", hub.url, headers=headers) as answer:
        assert answer.status_code == 200
        yield events(answer)


async def subscribe(
    hub: House | Room, http: httpx.AsyncClient, session: dict[str, str], uri: Any, un: str = ""
) -> Json:
    body = message(f"resources/{un}subscribe", {"uri": uri})
    found: Json = (await http.post(hub.url, json=body, headers=session)).json()
    return found


async def until(condition: Any) -> None:
    with anyio.fail_after(5):
        while not condition():
            await anyio.lowlevel.checkpoint()


def told(uri: str, **params: Any) -> Json:
    return {"jsonrpc": "2.0", "method": UPDATED, "params": {**params, "uri": uri}}


# The modern era


async def test_a_filter_is_acknowledged_as_far_as_the_agent_may_read(
    hub: House, http: httpx.AsyncClient
) -> None:
    """2026-07-28, subscriptions: the acknowledgement has the subset that is honoured."""
    body = listen(
        "note://one", "note://mute", "none://x", "note://one", "note://other", toolsListChanged=True
    )
    async with listening(hub, http, body) as stream:
        agreed = (await anext(stream))["params"]["notifications"]
        assert agreed == {"toolsListChanged": True, "resourceSubscriptions": ["note://one", "note://other"]}
        assert [each.uri for each in hub.server.watched] == ["note://one", "note://other"]
    await until(lambda: not hub.server.watched)
    async with hub.http("other") as other, listening(hub, other, body) as stream:
        assert (await anext(stream))["params"]["notifications"] == {"toolsListChanged": True}
        assert hub.server.watched == []


async def test_an_update_carries_the_subscription_and_all_that_the_server_said(
    hub: House, http: httpx.AsyncClient
) -> None:
    async with listening(hub, http, listen("note://one", id="sub")) as stream:
        await anext(stream)
        hub.server.update("note://one", title="One", _meta={"vendor/key": 1})
        meta = {"vendor/key": 1, SUBSCRIPTION_KEY: "sub"}
        assert await anext(stream) == told("note://one", title="One", _meta=meta)


async def test_updates_are_told_once_for_each_resource_and_only_where_they_were_asked_for(
    hub: House, http: httpx.AsyncClient
) -> None:
    async with (
        listening(hub, http, listen("note://one", "note://two", id=1)) as both,
        listening(hub, http, listen("note://two", id=2)) as second,
        listening(hub, http, modern("subscriptions/listen", {"notifications": {}}, 3)) as none,
    ):
        for stream in (both, second, none):
            await anext(stream)
        for number in range(500):
            hub.server.update("note://one", number=number)
            hub.server.update("note://two", number=number)
        found = [await anext(both), await anext(both)]
        assert found == [
            told(uri, number=499, _meta={SUBSCRIPTION_KEY: 1}) for uri in ("note://one", "note://two")
        ]
        assert await anext(second) == told("note://two", number=499, _meta={SUBSCRIPTION_KEY: 2})
        hub.front.close()
        for stream in (both, second, none):
            assert [list(each) async for each in stream] == [["jsonrpc", "id", "result"]]


async def test_a_filter_that_is_none_is_refused(hub: House, http: httpx.AsyncClient) -> None:
    for wrong in ("note://one", [1], {"note://one": True}, None):
        body = modern("subscriptions/listen", {"notifications": {"resourceSubscriptions": wrong}})
        assert error_of(await post(hub, http, body)) == (400, -32602)


async def test_a_server_that_takes_its_time_delays_a_stream_for_a_while_only(
    hub: House, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.server.listening.AGREE_SECONDS", 0.1)
    async with listening(hub, http, listen("note://slow")) as stream:
        assert (await anext(stream))["params"]["notifications"] == {"resourceSubscriptions": ["note://slow"]}
        # It may have changed before its server began to tell.
        hub.server.watched[0].confirm()
        assert (await anext(stream))["params"]["uri"] == "note://slow"


async def test_changed_grants_end_what_an_agent_is_told_and_begin_it_again(
    hub: House, http: httpx.AsyncClient
) -> None:
    async with listening(hub, http, listen("note://one", toolsListChanged=True)) as stream:
        await anext(stream)
        hub.server.update("note://one")
        hub.identities.replace({**GRANTS, "me": ONLY_TOOLS})
        assert hub.server.watched == []
        assert (await anext(stream))["method"] == "notifications/tools/list_changed"
        hub.identities.replace(GRANTS)
        assert [each.uri for each in hub.server.watched] == ["note://one"]
        assert {(await anext(stream))["method"] for _ in range(2)} == {
            "notifications/tools/list_changed",
            UPDATED,
        }


async def test_what_is_below_a_resource_is_told_of_only_if_the_agent_may_know_of_it(
    hub: House, http: httpx.AsyncClient
) -> None:
    hub.identities.replace({**GRANTS, "me": NOT_DEEP})
    async with listening(hub, http, listen("note://one")) as stream:
        await anext(stream)
        hub.server.update("note://one/secret")
        hub.server.update("note://one/open")
        assert (await anext(stream))["params"]["uri"] == "note://one/open"
        hub.server.update("note://one/late")
        hub.identities.replace({**GRANTS, "me": ONLY_TOOLS})
        hub.identities.replace(GRANTS)
        assert (await anext(stream))["params"]["uri"] == "note://one"


async def test_an_agents_subscriptions_are_bounded(
    hub: House, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.server.subscriptions.SUBSCRIPTIONS_MAX", 3)
    session = await hub.session(http)
    async with listening(hub, http, listen("note://1", "note://2", id=1)) as stream:
        await anext(stream)
        assert await subscribe(hub, http, session, "note://1") == message_of({})
        async with listening(hub, http, listen("note://3", id=2)) as other:
            assert (await anext(other))["params"]["notifications"] == {}
        refused = await subscribe(hub, http, session, "note://4")
        assert refused["error"]["data"] == {"reason": "too_many_subscriptions"}
        async with hub.http("other") as another:
            hub.identities.replace({**GRANTS, "other": Grants("other.yaml", GRANTS["me"].may)})
            async with listening(hub, another, listen("note://1")) as theirs:
                assert (await anext(theirs))["params"]["notifications"] != {}
    await until(lambda: len(hub.server.watched) == 1)
    assert await subscribe(hub, http, session, "note://4") == message_of({})


def message_of(result: Json) -> Json:
    return {"jsonrpc": "2.0", "id": 1, "result": result}


# The older era


async def test_a_session_hears_of_what_it_subscribed_to_until_it_unsubscribes(
    hub: House, http: httpx.AsyncClient
) -> None:
    session, second = await hub.session(http), await hub.session(http)
    for _ in range(2):
        assert await subscribe(hub, http, session, "note://one") == message_of({})
    assert len(hub.server.watched) == 1
    async with hearing(hub, http, session) as mine, hearing(hub, http, second) as theirs:
        hub.server.update("note://one", _meta={"vendor/key": 1})
        assert await anext(mine) == told("note://one", _meta={"vendor/key": 1})
        for _ in range(2):
            assert await subscribe(hub, http, session, "note://one", "un") == message_of({})
        assert hub.server.watched == []
        hub.server.update("note://one")
        hub.offer(tool("new"))
        for stream in (mine, theirs):
            assert (await anext(stream))["method"] == "notifications/tools/list_changed"


async def test_what_a_session_may_not_read_is_as_unknown_as_what_there_is_not(hub: House) -> None:
    async with hub.http("other") as http:
        session = await hub.session(http)
        for un in ("", "un"):
            for uri in ("note://one", "none://x"):
                error = {"code": -32002, "message": "Resource not found", "data": {"uri": uri}}
                refused = await subscribe(hub, http, session, uri, un)
                assert refused == {"jsonrpc": "2.0", "id": 1, "error": error}
            assert (await subscribe(hub, http, session, 7, un))["error"]["code"] == -32602
    assert hub.server.watched == []


async def test_a_servers_refusal_reaches_the_agent(hub: House, http: httpx.AsyncClient) -> None:
    session = await hub.session(http)
    refused = await subscribe(hub, http, session, "note://mute")
    assert refused["error"] == {"code": -31000, "message": "I say nothing of this"}
    assert hub.server.watched == []


async def test_what_happens_while_no_stream_is_open_is_told_on_the_next(
    hub: House, http: httpx.AsyncClient
) -> None:
    session = await hub.session(http)
    await subscribe(hub, http, session, "note://one")
    hub.server.update("note://one")
    hub.offer(tool("new"))
    async with hearing(hub, http, session) as stream:
        assert [(await anext(stream))["method"] for _ in range(2)] == [
            "notifications/tools/list_changed",
            UPDATED,
        ]
    while hub.front.changes.streams(hub.identities.local("me")):
        await anyio.lowlevel.checkpoint()
    hub.server.update("note://one")
    async with hearing(hub, http, session) as stream:
        assert (await anext(stream))["method"] == UPDATED


@pytest.mark.parametrize("how", ["delete", "revoke", "grants"])
async def test_a_sessions_subscriptions_end_with_its_right_to_them(
    hub: House, http: httpx.AsyncClient, how: str
) -> None:
    session = await hub.session(http)
    await subscribe(hub, http, session, "note://one")
    assert len(hub.server.watched) == 1
    if how == "delete":
        assert (await http.delete(hub.url, headers=session)).status_code == 204
        assert len(hub.front.voices) == 0
    elif how == "revoke":
        await hub.identities.revoke(hub.ids["me"])
    else:
        hub.identities.replace({**GRANTS, "me": ONLY_TOOLS})
    assert hub.server.watched == []


async def test_another_agents_session_cannot_be_subscribed_in(hub: House, http: httpx.AsyncClient) -> None:
    session = await hub.session(http)
    async with hub.http("other") as other:
        answer = await other.post(
            hub.url, json=message("resources/subscribe", {"uri": "note://one"}), headers=session
        )
        assert answer.status_code == 404
    assert hub.server.watched == []


async def test_a_session_that_is_silent_for_long_is_forgotten_and_told_so_when_it_comes_back(
    hub: House, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.server.voices._LOOK_SECONDS", 0.01)
    session = await hub.session(http)
    await subscribe(hub, http, session, "note://one")
    async with hearing(hub, http, session):
        monkeypatch.setattr("hub.server.voices.SILENT_SECONDS", 0.05)
        await anyio.sleep(0.2)
        assert len(hub.server.watched) == 1
    await until(lambda: not hub.server.watched)
    assert len(hub.front.voices) == 0
    monkeypatch.setattr("hub.server.voices.SILENT_SECONDS", 60)
    async with hearing(hub, http, session) as stream:
        assert {(await anext(stream))["method"] for _ in range(3)} == {
            f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")
        }


async def test_an_agents_sessions_give_way_to_its_own_only(
    hub: House, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.server.voices.VOICES_OF_AGENT_MAX", 2)
    hub.identities.replace({**GRANTS, "other": Grants("other.yaml", GRANTS["me"].may)})
    async with hub.http("other") as other:
        await subscribe(hub, other, await hub.session(other), "note://theirs")
        sessions = [await hub.session(http) for _ in range(2)]
        for number, session in enumerate(sessions):
            await subscribe(hub, http, session, f"note://{number}")
        await hub.session(http)
        assert [each.uri for each in hub.server.watched] == ["note://theirs", "note://1"]
        monkeypatch.setattr("hub.server.voices.VOICES_MAX", 3)
        await hub.session(other)
        assert [each.uri for each in hub.server.watched] == ["note://1"]
        assert len(hub.front.voices) == 3


# Over a pipe


async def test_over_a_pipe_a_legacy_client_subscribes(hub: House, tmp_path: Path) -> None:
    async with pipe(hub, tmp_path) as client:
        before = await client.ask(message("resources/subscribe", {"uri": "note://one"}))
        assert "error" in before
        await client.initialize()
        for method, uri, outcome in (
            ("resources/subscribe", "none://x", "error"),
            ("resources/subscribe", "note://one", "result"),
            ("resources/subscribe", "note://two", "result"),
            ("resources/unsubscribe", "note://two", "result"),
        ):
            assert outcome in await client.ask(message(method, {"uri": uri}))
        hub.server.update("note://two")
        hub.server.update("note://one", _meta={"vendor/key": 1})
        assert await client.receive() == told("note://one", _meta={"vendor/key": 1})
        await handshake_again(client)
        assert hub.server.watched == []
        assert "result" in await client.ask(message("resources/subscribe", {"uri": "note://two"}))
        hub.server.update("note://two")
        assert await client.receive() == told("note://two")
    await until(lambda: not hub.server.watched)


async def handshake_again(client: Pipe) -> None:
    await client.initialize()


async def test_over_a_pipe_a_slow_server_keeps_nothing_else_waiting(hub: House, tmp_path: Path) -> None:
    async with pipe(hub, tmp_path) as client:
        await client.initialize()
        await client.send(message("resources/subscribe", {"uri": "note://slow"}, 7))
        assert (await client.ask(message("ping", id=8)))["id"] == 8
        hub.server.watched[0].confirm()
        assert (await client.receive())["id"] == 7


async def test_over_a_pipe_a_modern_client_listens(hub: House, tmp_path: Path) -> None:
    async with pipe(hub, tmp_path) as client:
        acknowledged = await client.ask(listen("note://one", "none://x", id="a"))
        assert acknowledged["params"] == {
            "_meta": {SUBSCRIPTION_KEY: "a"},
            "notifications": {"resourceSubscriptions": ["note://one"]},
        }
        hub.server.update("note://one")
        assert await client.receive() == told("note://one", _meta={SUBSCRIPTION_KEY: "a"})
        cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "a"}}
        await client.send(cancelled)
        await client.ask(modern("tools/list", id=9))
        await until(lambda: not hub.server.watched)


# Through the whole hub, with real servers


async def test_a_moved_resource_is_told_of_by_the_uri_that_the_agent_knows(tmp_path: Path) -> None:
    servers = {
        name: {
            "connect": {"command": [sys.executable, TELLER, str(tmp_path / name), *flags]},
            "era": "modern" if flags else "legacy",
        }
        for name, flags in (("one", ["--modern"]), ("two", []), ("three", ["--modern"]))
    }
    async with room(tmp_path, servers) as it, it.http() as http:
        moved = ["note://one", "hub+two:note://one", "hub+three:note://one"]
        async with listening(it, http, listen(*moved)) as stream:
            agreed = (await anext(stream))["params"]["notifications"]["resourceSubscriptions"]
            assert agreed == moved
            for server, uri in (("one", moved[0]), ("two", moved[1]), ("three", moved[2])):
                arguments = {"method": UPDATED, "params": {"uri": "note://one"}}
                call = {"name": f"{server}__say", "arguments": arguments}
                assert "result" in await it.ask(http, "tools/call", call, {})
                assert (await anext(stream))["params"]["uri"] == uri
            # Who had the URI is gone: it is the next one's now.
            (tmp_path / "manifests" / "one.yaml").unlink()
            await it.app.reload()
            assert (await anext(stream))["params"]["uri"] == "note://one"
            arguments = {"method": UPDATED, "params": {"uri": "note://one"}}
            await it.ask(http, "tools/call", {"name": "three__say", "arguments": arguments}, {})
            assert (await anext(stream))["params"]["uri"] == "note://one"


async def test_a_session_with_a_process_of_its_own_hears_of_what_happens_there(tmp_path: Path) -> None:
    """Its client can be asked, so a server of the older era runs for it alone, and it reads there."""
    command = [sys.executable, TELLER, str(tmp_path / "one")]
    servers = {"one": {"connect": {"command": command}, "era": "legacy"}}
    arguments = {"method": UPDATED, "params": {"uri": "note://one"}}
    async with room(tmp_path, servers) as it, it.http() as http:
        sessions = []
        declared: list[Json] = [{"elicitation": {}}, {}]
        for capabilities in declared:
            about = {
                "protocolVersion": "2025-11-25",
                "capabilities": capabilities,
                "clientInfo": {"name": "x"},
            }
            opened = await http.post(it.url, json=message("initialize", about))
            sessions.append({"mcp-session-id": opened.headers["mcp-session-id"]})
        for session in sessions:
            assert await subscribe(it, http, session, "note://one") == message_of({})
        async with hearing(it, http, sessions[0]) as own, hearing(it, http, sessions[1]) as shared:
            for session, stream in zip(sessions, (own, shared), strict=True):
                call = message("tools/call", {"name": "one__say", "arguments": arguments})
                await http.post(it.url, json=call, headers=session)
                assert await anext(stream) == told("note://one")
            with anyio.move_on_after(0.3):
                pytest.fail(f"nothing more is told, but: {await anext(own)}")
    assert (tmp_path / "one").read_text().count("start") == 2
