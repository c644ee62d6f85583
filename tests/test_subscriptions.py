"""What agents are told of resources on a modern stream: only what they asked for and may read, and once."""

from __future__ import annotations

import httpx
import pytest

from hub.policy import Grants, Rule
from tests.house import GRANTS, SUBSCRIPTION_KEY, House, error_of, modern, post
from tests.listening import UPDATED, listen, listening, message_of, subscribe, told, until

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


ONLY_TOOLS = Grants("me.yaml", may=(Rule("may[0]", ("box__echo",), 3),))
NOT_DEEP = Grants(
    "me.yaml", (Rule("may[0]", ("*",), 3),), (Rule("never[0]", ("box__note://one/secret*",), 4),)
)


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
