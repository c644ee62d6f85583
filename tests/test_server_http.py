"""What passes through the hub over HTTP, and what stays behind: results, lists, sessions, errors."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

from hub.env import SystemEnv
from hub.server import Front, HttpApp
from hub.sessions import Sessions
from hub.settings import Settings
from tests.house import (
    CALL,
    INITIALIZE,
    VERSION,
    House,
    error_of,
    listening,
    message,
    modern,
    post,
)

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


async def test_a_modern_result_passes_whole_with_the_hubs_own_stamp(
    hub: House, http: httpx.AsyncClient
) -> None:
    traced = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01", "vendor/x": [None]}
    answer = await post(hub, http, modern("tools/call", {**CALL, "odd": 2**70}, "a", **traced))
    result = answer.json()["result"]
    assert answer.json()["id"] == "a"
    assert result["structuredContent"]["params"] == {**CALL, "odd": 2**70, "_meta": traced}
    assert result["resultType"] == "complete"
    assert result["_meta"]["vendor/key"] == 1
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "hub"
    shapes = (await post(hub, http, modern("tools/call", {"name": "box__shapes"}))).json()["result"]
    assert shapes["structuredContent"] == [1, None] and shapes["extra"] == {"kept": 2**70}
    assert shapes["resultType"] == "complete"


async def test_a_legacy_result_has_what_its_era_can_say(hub: House, http: httpx.AsyncClient) -> None:
    session = await hub.session(http)

    async def ask(method: str, params: Any) -> Any:
        answer = await http.post(hub.url, json=message(method, params), headers=session)
        assert answer.status_code == 200
        return answer.json()["result"]

    shapes = await ask("tools/call", {"name": "box__shapes"})
    assert shapes == {"content": [{"type": "text", "text": "[1,null]"}], "extra": {"kept": 2**70}}
    echo = await ask("tools/call", CALL)
    assert set(echo) == {"content", "structuredContent", "_meta"} and echo["_meta"] == {"vendor/key": 1}
    tools = await ask("tools/list", {})
    assert set(tools) == {"tools"} and not any("outputSchema" in each for each in tools["tools"])
    assert await ask("ping", {}) == {}


async def test_what_may_be_cached_says_so_and_is_private(hub: House, http: httpx.AsyncClient) -> None:
    for method, params in (
        ("server/discover", {}),
        ("tools/list", {}),
        ("prompts/list", {}),
        ("resources/list", {}),
        ("resources/templates/list", {}),
        ("resources/read", {"uri": "note://one"}),
    ):
        result = (await post(hub, http, modern(method, params))).json()["result"]
        assert result["ttlMs"] >= 0 and result["cacheScope"] == "private", method
        assert result["resultType"] == "complete"
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "hub"


async def test_lists_are_the_same_bytes_each_time(hub: House, http: httpx.AsyncClient) -> None:
    first, second = [(await post(hub, http, modern("tools/list"))).content for _ in range(2)]
    assert first == second and hub.server.calls == []


async def test_a_notification_is_accepted_without_a_body(hub: House, http: httpx.AsyncClient) -> None:
    body = {"jsonrpc": "2.0", "method": "notifications/whatever"}
    answer = await http.post(hub.url, json=body, headers={"mcp-protocol-version": VERSION})
    assert (answer.status_code, answer.content) == (202, b"")
    session = await hub.session(http)
    for each in (body, {"jsonrpc": "2.0", "id": 5, "result": {}}):
        answer = await http.post(hub.url, json=each, headers=session)
        assert (answer.status_code, answer.content) == (202, b"")


async def test_unknown_and_not_granted_are_the_same_bytes(hub: House, http: httpx.AsyncClient) -> None:
    session = await hub.session(http)
    kinds = [("tools/call", "name", "box__secret"), ("resources/read", "uri", "note://one")]
    async with hub.http(agent="nobody") as other:
        session_of_other = await hub.session(other)
        for method, key, name in kinds:
            for client, legacy in ((other, session_of_other), (http, session)):
                unknown = name[:-3] + "zzz"
                for send in ("modern", "legacy"):
                    answers = []
                    for asked in (name, unknown):
                        params = {key: asked, "arguments": {}}
                        if send == "modern":
                            answer = await post(hub, client, modern(method, params))
                        else:
                            answer = await client.post(hub.url, json=message(method, params), headers=legacy)
                        answers.append((answer.status_code, answer.text.replace(asked, "NAME")))
                    if client is other or method == "tools/call":
                        assert answers[0] == answers[1]
    assert "box__secret" not in [call.name for call in hub.server.calls]


async def test_failures_are_told_without_what_an_agent_must_not_know(
    hub: House, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(name: str) -> Any:
        answer = await post(hub, http, modern("tools/call", {"name": name}))
        assert answer.status_code == 200
        return answer.json()["error"]

    assert await fail("box__down") == {
        "code": -32603,
        "message": "Server 'box' is not connected: it ended",
        "data": {"reason": "upstream_down", "retry_after_seconds": 2.5},
    }
    assert await fail("box__refuse") == {"code": -31000, "message": "no", "data": {"why": ["x"]}}
    assert await fail("box__crash") == {"code": -32603, "message": "Internal error"}
    assert "a secret of the hub" in caplog.text


async def test_the_handshake_answers_the_version_that_was_asked_for(
    hub: House, http: httpx.AsyncClient
) -> None:
    for asked, agreed in (
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2031-01-01", "2025-11-25"),
    ):
        answer = await http.post(
            hub.url, json=message("initialize", {**INITIALIZE, "protocolVersion": asked})
        )
        assert answer.json()["result"]["protocolVersion"] == agreed
        assert answer.headers["mcp-session-id"].isalnum()
    for bad in ({}, {**INITIALIZE, "clientInfo": 1}, {**INITIALIZE, "capabilities": []}):
        assert error_of(await http.post(hub.url, json=message("initialize", bad))) == (200, -32602)


async def test_a_session_that_is_not_mine_is_as_unknown_as_one_that_is_not(
    hub: House, http: httpx.AsyncClient
) -> None:
    mine = await hub.session(http)
    async with hub.http(agent="other") as other:
        theirs = await hub.session(other)
    closed = await hub.session(http)
    assert (await http.delete(hub.url, headers=closed)).status_code == 204
    for method in ("POST", "GET", "DELETE"):
        answers = set()
        for session in (
            theirs,
            closed,
            {**mine, "mcp-session-id": "f" * 32},
            {**mine, "mcp-session-id": "x" * 300},
        ):
            body = json.dumps(message("tools/list")) if method == "POST" else None
            answer = await http.request(
                method, hub.url, content=body, headers={"content-type": "application/json", **session}
            )
            answers.add((answer.status_code, answer.text))
        assert len(answers) == 1 and answers.pop()[0] == 404
    missing = await http.post(hub.url, json=message("tools/list"))
    assert error_of(missing) == (400, -32600)
    assert (await http.post(hub.url, json=message("ping"), headers=mine)).json()["result"] == {}


async def test_a_session_goes_on_after_a_restart_of_the_hub(hub: House, http: httpx.AsyncClient) -> None:
    session = await hub.session(http)
    front = Front(
        hub.hub, hub.identities, Sessions(hub.sessions._store, SystemEnv()), ready=lambda: (True, {})
    )
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    async with listening(HttpApp(front, Settings()), listener), hub.http() as again:
        answer = await again.post(url, json=message("tools/call", CALL), headers=session)
        assert answer.status_code == 200 and "result" in answer.json()
    assert hub.server.calls[-1].session == session["mcp-session-id"]


async def test_every_call_belongs_to_a_session(hub: House, http: httpx.AsyncClient) -> None:
    for _ in range(2):
        await post(hub, http, modern("tools/call", CALL))
    first, second = hub.server.calls
    assert first.session == second.session
    assert (await hub.sessions.get(first.session, hub.identities.local("me"))) is not None
