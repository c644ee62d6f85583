"""Over HTTP: what is sent in which era, and what tells that a server speaks the old one."""

from __future__ import annotations

import json
from asyncio import StreamWriter
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from connectors.base import LinkError
from tests.http_room import Room
from tests.http_scripts import CALL, linked, reply, stream_of
from tests.servers.fault_http import Request, error, http, initialized, legacy, modern, saying, serve

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    with anyio.fail_after(30):
        yield Room(tmp_path)


async def test_a_modern_request_says_in_headers_what_its_body_says(room: Room) -> None:
    async with linked(room, modern(saying(stream_of(reply(2))))) as (link, server):
        params = {"uri": "file:///t\u00e9a", "_meta": {"mine": 1}}
        await link.request("resources/read", params, capabilities={"roots": {}}, log_level="info")
        sent = server.of("resources/read")[0]
        assert sent.message["params"]["_meta"] == {
            "mine": 1,
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {"roots": {}},
            "io.modelcontextprotocol/logLevel": "info",
        }
        assert sent.headers == {
            "host": f"localhost:{server.port}",
            "accept-encoding": "identity",
            "user-agent": "tests/0",
            "mcp-protocol-version": "2026-07-28",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-method": "resources/read",
            "mcp-name": "=?base64?ZmlsZTovLy90w6lh?=",
            "content-length": str(len(sent.body)),
        }
        assert all(request.method == "POST" for request in server.requests)


@pytest.mark.parametrize(
    ("method", "headers"),
    [("a\r\nX: b", {}), ("tools/call", {"X:\r\nY": "z"}), ("tools/call", {"Content-Length": "1"})],
)
async def test_a_name_that_would_start_another_header_is_refused_unsent(
    room: Room, method: str, headers: dict[str, str]
) -> None:
    async with linked(room, modern(saying(http(500)))) as (link, server):
        with pytest.raises(LinkError) as failed:
            await link.request(method, CALL, headers=headers)
        assert not failed.value.sent
        assert len(server.requests) == 1


async def test_a_legacy_session_goes_from_initialize_to_delete(room: Room) -> None:
    async with serve(legacy(saying(stream_of(reply(3))))) as server:
        async with room.open(server.url) as link:
            assert await link.request("tools/call", CALL) == {}
        first, begin, second, *others = server.requests
        assert first.message["method"] == "server/discover"
        assert begin.message["method"] == "initialize"
        assert "mcp-session-id" not in begin.headers
        assert "mcp-protocol-version" not in begin.headers
        assert "mcp-method" not in begin.headers
        assert second.message["method"] == "notifications/initialized"
        assert server.requests[-1].method == "DELETE"
        for request in (second, *others):
            assert request.headers["mcp-session-id"] == "s-1"
            assert request.headers["mcp-protocol-version"] == "2025-11-25"
        assert server.of("tools/call")[0].message["params"] == CALL
        assert "mcp-name" not in server.of("tools/call")[0].headers


@pytest.mark.parametrize("session", ["a b", "\u00e9", "x" * 1025])
async def test_a_session_id_that_could_not_be_sent_back_is_refused(room: Room, session: str) -> None:
    async def answer(request: Request, writer: StreamWriter) -> None:
        writer.write(
            initialized(request, None).replace(
                b"\r\n", b"\r\nMcp-Session-Id: " + session.encode() + b"\r\n", 1
            )
        )

    with pytest.raises(LinkError, match="session id"):
        async with linked(room, answer, era="legacy"):
            pass


# Which era a server speaks.


@pytest.mark.parametrize(
    "refusal",
    [
        http(400),
        http(400, b"Bad Request: Mcp-Session-Id header is required", content_type="text/plain"),
        http(400, error(-32000, "Bad Request: Server not initialized")),
        http(400, error(-32022, "unsupported", 1)[:-2] + b', "data": {"supported": ["2025-06-18"]}}}'),
        http(401, b"Unauthorized: Session ID is required", content_type="text/plain"),
        http(404, b'{"detail": "Not Found"}'),
        http(405),
        http(422, b"Unexpected message, expect initialize request", content_type="text/plain"),
        http(501),
        http(202),
        http(200, error(-32601, "Method not found", 1)),
        stream_of({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "Method not found"}}),
    ],
)
async def test_a_server_that_does_not_know_the_modern_way_is_spoken_to_in_the_old_one(
    room: Room, refusal: bytes
) -> None:
    old = legacy(saying(http(200, json.dumps(reply(3)).encode())))

    async def answer(request: Request, writer: StreamWriter) -> None:
        if request.message.get("method") == "server/discover":
            writer.write(refusal)
        else:
            await old(request, writer)

    async with linked(room, answer) as (link, _):
        assert link.peer.version == "2025-11-25"
        assert await link.request("tools/call", CALL) == {}


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (http(401, b"", "WWW-Authenticate: Bearer"), "HTTP 401 Unauthorized: it wants credentials"),
        (http(403), "HTTP 403 Forbidden"),
        (http(429, b"", "Retry-After: 3"), "come back in 3 s"),
        (http(500), "HTTP 500 Internal Server Error"),
        (http(302, b"", "Location: https://login.test/x"), "redirects to https://login.test"),
        (http(200, b"<h1>Hi</h1>", content_type="text/html"), "text/html"),
        (http(400, error(-32020, "mismatch", 1)), "it refused server/discover: -32020"),
    ],
)
async def test_a_refusal_that_says_nothing_of_the_era_is_not_taken_for_one(
    room: Room, refusal: bytes, reason: str
) -> None:
    async with serve(saying(refusal)) as server:
        with pytest.raises(LinkError, match=reason):
            async with room.open(server.url):
                pass
        assert len(server.requests) == 1


async def test_credentials_that_are_refused_in_both_eras_are_told(room: Room) -> None:
    async with serve(saying(http(401))) as server:
        with pytest.raises(LinkError, match="HTTP 401 Unauthorized: it wants credentials"):
            async with room.open(server.url):
                pass
        assert [request.message["method"] for request in server.requests] == ["server/discover", "initialize"]
