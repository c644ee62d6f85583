"""What agents of the older era are told of resources: what their sessions subscribed to."""

from __future__ import annotations

import anyio
import httpx
import pytest

from hub.policy import Grants, Rule
from tests.house import GRANTS, House, message, tool
from tests.listening import UPDATED, hearing, message_of, subscribe, told, until

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


ONLY_TOOLS = Grants("me.yaml", may=(Rule("may[0]", ("box__echo",), 3),))


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
