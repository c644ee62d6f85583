"""What agents are told of resources over a pipe, and through the whole hub by real servers."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

from hub.model import Json
from tests.house import SUBSCRIPTION_KEY, House, message, modern
from tests.hub_room import room
from tests.listening import TELLER, UPDATED, hearing, listen, listening, message_of, subscribe, told, until
from tests.pipes import Pipe, pipe

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


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
