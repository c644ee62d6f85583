"""What agents are told while something runs or changes, and how each stream ends."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from hub.policy import Grants, Rule
from hub.server.changes import PAUSE_SECONDS
from tests.house import (
    GRANTS,
    SUBSCRIPTION_KEY,
    TOOLS,
    House,
    error_of,
    events,
    headers_of,
    message,
    modern,
    post,
    raw,
    tool,
)

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_call_streams_from_its_first_note_on(hub: House, http: httpx.AsyncClient, era: str) -> None:
    async def ask(name: str, **meta: Any) -> httpx.Response:
        if era == "modern":
            body = modern("tools/call", {"name": name}, **meta)
            return await post(hub, http, body)
        body = message("tools/call", {"name": name, "_meta": meta})
        return await http.post(hub.url, json=body, headers=await hub.session(http))

    quiet = await ask("box__echo", progressToken="t")
    assert quiet.headers["content-type"] == "application/json"
    told = await ask("box__progress", progressToken="t")
    messages = [each async for each in events(told)]
    assert [each["params"]["progress"] for each in messages[:-1]] == [0, 1, 2]
    assert {each["params"]["progressToken"] for each in messages[:-1]} == {"t"}
    assert messages[-1]["id"] == 1 and "result" in messages[-1]
    flood = [each async for each in events(await ask("box__flood", progressToken=7))]
    assert [each["params"]["progress"] for each in flood[:-1]] == list(range(744, 1000))
    assert hub.server.calls[-1].params["_meta"]["progressToken"] == 7


async def test_without_a_token_and_without_a_stream_there_is_plain_json(
    hub: House, http: httpx.AsyncClient
) -> None:
    body = modern("tools/call", {"name": "box__progress"}, 1, progressToken=1)
    only_json = await post(hub, http, body, accept="application/json")
    assert error_of(only_json) == (200, -32603)  # the server behind wants to tell, and cannot
    no_level = await post(hub, http, modern("tools/call", {"name": "box__log"}, 1, progressToken=1))
    assert no_level.headers["content-type"] == "application/json"
    level = {"io.modelcontextprotocol/logLevel": "info"}
    with_level = await post(hub, http, modern("tools/call", {"name": "box__log"}, 1, **level))
    assert [each.get("method") async for each in events(with_level)] == ["notifications/message", None]


async def test_a_modern_client_that_leaves_has_cancelled(hub: House) -> None:
    for meta in ({}, {"progressToken": 1}):
        async with hub.http() as http, anyio.create_task_group() as tasks:
            tasks.start_soon(post, hub, http, modern("tools/call", {"name": "box__hang"}, 1, **meta))
            await hub.server.until(running=1)
            tasks.cancel_scope.cancel()
        await hub.server.until(running=0)
    assert hub.server.cancelled == ["box__hang"] * 2
    while len(hub.front.running):
        await anyio.lowlevel.checkpoint()


async def test_a_legacy_client_that_leaves_has_not_cancelled(hub: House) -> None:
    """2025-11-25, basic/transports: disconnection SHOULD NOT be interpreted as cancelling."""
    async with hub.http() as http:
        session = await hub.session(http)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_post_legacy, hub, http, message("tools/call", {"name": "box__gate"}), session)
            await hub.server.until(running=1)
            tasks.cancel_scope.cancel()
    async with hub.http() as http:
        with anyio.move_on_after(0.2):
            await hub.server.until(running=0)
        assert hub.server.running == 1
        hub.server.gate.set()
        await hub.server.until(running=0)
    assert hub.server.cancelled == []


async def _post_legacy(
    hub: House, http: httpx.AsyncClient, body: Any, session: dict[str, str]
) -> httpx.Response:
    return await http.post(hub.url, json=body, headers=session)


@pytest.mark.parametrize(
    ("id", "wrong"), [(7, ["7", 7.0, 8, None, [7]]), ("seven", ["Seven", 7]), (1, [True, "1"])]
)
async def test_a_cancelled_notification_ends_the_call_of_its_session_with_that_very_id(
    hub: House, http: httpx.AsyncClient, id: int | str, wrong: list[Any]
) -> None:
    mine, second = await hub.session(http), await hub.session(http)

    async def cancel(request: Any, session: dict[str, str]) -> None:
        body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": request}}
        assert (await http.post(hub.url, json=body, headers=session)).status_code == 202

    answers: list[httpx.Response] = []

    async def call() -> None:
        body = message("tools/call", {"name": "box__hang"}, id)
        answers.append(await http.post(hub.url, json=body, headers=mine))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await hub.server.until(running=1)
        for each in wrong:
            await cancel(each, mine)
        await cancel(id, second)
        assert hub.server.running == 1
        await cancel(id, mine)
    # No answer to a cancelled request: a stream that ends without one.
    assert answers[0].headers["content-type"] == "text/event-stream"
    assert answers[0].content == b""


LISTEN = {
    "notifications": {"toolsListChanged": True, "resourcesListChanged": False, "resourceSubscriptions": ["x"]}
}


async def test_a_subscription_is_acknowledged_first_and_each_message_is_stamped(
    hub: House, http: httpx.AsyncClient
) -> None:
    body = modern("subscriptions/listen", LISTEN, "sub")
    async with http.stream("POST", hub.url, json=body, headers=headers_of(body)) as answer:
        stream = events(answer)
        stamp = {SUBSCRIPTION_KEY: "sub"}
        assert await anext(stream) == {
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": {"_meta": stamp, "notifications": {"toolsListChanged": True}},
        }
        hub.offer(*TOOLS, tool("new"), resources=[])
        assert await anext(stream) == {
            "jsonrpc": "2.0",
            "method": "notifications/tools/list_changed",
            "params": {"_meta": stamp},
        }
        hub.front.close()
        end = await anext(stream)
        assert end["id"] == "sub"
        assert end["result"]["resultType"] == "complete"
        assert end["result"]["_meta"][SUBSCRIPTION_KEY] == "sub"
        assert [each async for each in stream] == []


async def test_a_burst_of_changes_is_told_a_few_times_only(hub: House, http: httpx.AsyncClient) -> None:
    body = modern("subscriptions/listen", LISTEN)
    async with http.stream("POST", hub.url, json=body, headers=headers_of(body)) as answer:
        stream = events(answer)
        await anext(stream)
        began = anyio.current_time()
        for number in range(500):
            hub.offer(tool(f"t{number}"))
            if number % 100 == 0:
                await anyio.sleep(0.01)
        pauses = (anyio.current_time() - began) / PAUSE_SECONDS
        hub.front.close()
        told = [each async for each in stream][:-1]
    assert 1 <= len(told) <= 2 + pauses


async def test_changed_grants_are_changes_of_what_an_agent_may_use(
    hub: House, http: httpx.AsyncClient
) -> None:
    body = modern("subscriptions/listen", LISTEN)
    async with http.stream("POST", hub.url, json=body, headers=headers_of(body)) as answer:
        stream = events(answer)
        await anext(stream)
        hub.identities.replace({**GRANTS, "me": Grants("me.yaml", (Rule("may[0]", ("box__echo",), 3),))})
        assert (await anext(stream))["method"] == "notifications/tools/list_changed"
    tools = (await post(hub, http, modern("tools/list"))).json()["result"]["tools"]
    assert [each["name"] for each in tools] == ["box__echo"]


async def test_of_a_sessions_streams_one_only_is_told(hub: House, http: httpx.AsyncClient) -> None:
    session = {**await hub.session(http), "accept": "text/event-stream"}
    me = hub.identities.local("me")
    async with http.stream("GET", hub.url, headers=session) as first:
        async with http.stream("GET", hub.url, headers=session) as second:
            assert hub.front.changes.streams(me) == 2
            hub.offer(*TOOLS, tool("new"))
            assert await anext(events(second)) == {
                "jsonrpc": "2.0",
                "method": "notifications/tools/list_changed",
                "params": {},
            }
        while hub.front.changes.streams(me) > 1:
            await anyio.lowlevel.checkpoint()
        hub.offer(*TOOLS, tool("new"), resources=[])
        assert (await anext(events(first)))["method"] == "notifications/resources/list_changed"


async def test_an_agent_has_a_bounded_number_of_streams(hub: House, http: httpx.AsyncClient) -> None:
    async with anyio.create_task_group() as tasks:
        body = modern("subscriptions/listen", LISTEN)

        async def listen(*, task_status: Any) -> None:
            async with http.stream("POST", hub.url, json=body, headers=headers_of(body)) as answer:
                stream = events(answer)  # held: a generator that nobody holds closes its connection
                await anext(stream)
                task_status.started()
                await anyio.sleep_forever()

        for _ in range(8):
            await tasks.start(listen)
        assert error_of(await post(hub, http, body)) == (429, -32603)
        session = {**await hub.session(http), "accept": "text/event-stream"}
        assert (await http.get(hub.url, headers=session)).status_code == 429
        async with (
            hub.http(agent="other") as other,
            other.stream("POST", hub.url, json=body, headers=headers_of(body)) as answer,
        ):
            assert answer.status_code == 200
        tasks.cancel_scope.cancel()
    while hub.front.changes.streams(hub.identities.local("me")):
        await anyio.lowlevel.checkpoint()


async def test_a_revoked_token_ends_what_is_open_at_once(hub: House, http: httpx.AsyncClient) -> None:
    body = modern("subscriptions/listen", LISTEN)
    calls: list[httpx.Response] = []

    async def call(meta: dict[str, Any]) -> None:
        calls.append(await post(hub, http, modern("tools/call", {"name": "box__hang"}, 1, **meta)))

    async with hub.http(agent="other") as other, anyio.create_task_group() as tasks:
        tasks.start_soon(call, {})
        tasks.start_soon(call, {"progressToken": 1})
        async with (
            http.stream("POST", hub.url, json=body, headers=headers_of(body)) as mine,
            other.stream("POST", hub.url, json=body, headers=headers_of(body)) as theirs,
        ):
            stream, their_stream = events(mine), events(theirs)
            await anext(stream)
            await anext(their_stream)
            await hub.server.until(running=2)
            assert await hub.identities.revoke(hub.ids["me"])
            assert [each async for each in stream] == []
            await hub.server.until(running=0)
            hub.offer()
            assert (await anext(their_stream))["method"] == "notifications/tools/list_changed"
    assert [each.status_code for each in calls] == [401, 401]
    assert (await post(hub, http, body)).status_code == 401


# Time: what waits for the other side has a bound, and what is quiet stays open.


async def test_a_client_that_does_not_say_all_in_time_is_told_so(
    hub: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.server.running.WIRE_TICKS_MAX", 1)
    token = b"authorization: Bearer " + hub.tokens["me"].encode()
    head = [b"POST /mcp HTTP/1.1", b"host: localhost", b"content-type: application/json", token]
    status, answer = await raw(hub, b"\r\n".join(head), b"", declared=100)
    assert (status, answer["error"]["message"]) == (408, "Request timeout")
    assert len(hub.front.running) == 0


async def test_a_client_that_does_not_read_is_cut_and_its_call_ends(
    hub: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.server.running.WIRE_TICKS_MAX", 2)
    body = modern("tools/call", {"name": "box__torrent"}, 1, progressToken=1)
    async with hub.http() as http, http.stream("POST", hub.url, json=body, headers=headers_of(body)):
        await hub.server.until(cancelled=1)
    assert hub.server.cancelled == ["box__torrent"]


async def test_a_quiet_stream_says_now_and_then_that_it_lives(
    hub: House, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.server.streams.KEEP_ALIVE_SECONDS", 0.01)
    call = modern("tools/call", {"name": "box__hang"}, 1, progressToken=1)
    for body in (call, modern("subscriptions/listen", LISTEN)):
        async with http.stream("POST", hub.url, json=body, headers=headers_of(body)) as answer:
            lines = answer.aiter_lines()
            while await anext(lines) != ": keep-alive":
                pass
