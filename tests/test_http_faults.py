"""Streamable HTTP against servers that do it wrong.

Each answer is scripted byte by byte. Claims: the transport's specification in both eras, or ours.
"""

from __future__ import annotations

import json
from asyncio import StreamWriter
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from connectors.base import LinkError, RemoteError
from tests.http_room import Room
from tests.http_scripts import CALL, linked, reply, stream_of
from tests.servers.fault_http import SSE_HEAD, Request, error, event, http, modern, saying, serve

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


SECRET = {"headers": {"Authorization": "Bearer ${TOKEN}"}}


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    with anyio.fail_after(60):
        yield Room(tmp_path)


# What a request may be answered with. Our first request is `server/discover`, so a call has id 2.


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http(500, b"<h1>Oops</h1>", content_type="text/html"), "^HTTP 500 Internal Server Error$"),
        (http(502), "^HTTP 502 Bad Gateway$"),
        (http(599), "^HTTP 599$"),
        (http(404), "^HTTP 404 Not Found: is the path in `url` right"),
        (http(400, b"{}"), "^HTTP 400 Bad Request$"),
        (http(400, b'{"error": "nonsense"}'), "^HTTP 400 Bad Request$"),
        (http(200, b"<h1>Hi</h1>", content_type="text/html"), "it answered with text/html, not with JSON"),
        (http(200, b"hi", content_type=None), "it answered with no content type, not with JSON"),
        (http(200), "it answered with no content type"),
        (http(202), "it accepted the request but gave no answer"),
        (http(204), "it answered with no content type"),
        (http(200, b"{"), "no JSON-RPC: Parse error"),
        (http(200, b'{"jsonrpc":"2.0","id":2,"id":2,"result":{}}'), "no JSON-RPC: Parse error"),
        (http(200, b'\xef\xbb\xbf{"jsonrpc":"2.0","id":2,"result":{}}'), "no JSON-RPC: Parse error"),
        (http(200, b'{"jsonrpc":"2.0","id":2,"result":{"n":1e999}}'), "no JSON-RPC: Parse error"),
        (http(200, b'[{"jsonrpc":"2.0","id":2,"result":{}}]'), "no JSON-RPC: .*batches"),
        (http(200, b'{"jsonrpc":"2.0","id":2}'), "no JSON-RPC"),
        (http(200, b'{"jsonrpc":"2.0","id":2,"method":"x"}'), "with a request, not with a response"),
        (http(200, b'{"jsonrpc":"2.0","id":2,"result":[]}'), "result is not an object"),
        (http(200, b'{"jsonrpc":"2.0","id":2,"error":"x"}'), "error has no code"),
        (http(200, json.dumps(reply(3)).encode()), "another id"),
        (http(200, json.dumps(reply("2")).encode()), "another id"),
        (http(200, b'{"jsonrpc":"2.0","id":2.0,"result":{}}'), "no JSON-RPC: .*'id'"),
        (http(200, b'{"jsonrpc":"2.0","id":true,"result":{}}'), "no JSON-RPC: .*'id'"),
        (http(200, b'{"jsonrpc":"2.0","id":null,"result":{}}'), "no JSON-RPC: .*'id'"),
        (
            http(200, b'{"jsonrpc":"2.0","id":2,"result":{"x":"' + b"x" * 100_000 + b'"}}'),
            "larger than .*`limits",
        ),
        (http(200, b"\x1f\x8b", "Content-Encoding: gzip"), "compressed"),
        (b"HELLO\r\n\r\n", "no HTTP/1.1"),
        (stream_of(), "event stream ended before the answer"),
        (SSE_HEAD + event(reply(2))[:-20], "in the middle of the answer"),
        (stream_of(reply(3)), "another id"),
        (stream_of(reply("2")), "another id"),
        (stream_of("{"), "no JSON-RPC: Parse error"),
        (stream_of("x" * 100_000), "event larger than 65536 bytes .`limits"),
        (
            stream_of({"jsonrpc": "2.0", "id": 1, "method": "roots/list"}),
            r"sent a request \(roots/list\), which",
        ),
        (http(503, b"", "Content-Type: text/event-stream"), "^HTTP 503 Service Unavailable$"),
    ],
)
async def test_what_is_no_answer_is_an_error_that_says_why(room: Room, answer: bytes, reason: str) -> None:
    async with linked(room, modern(saying(answer, close=True)), message_bytes_max=65536) as (link, server):
        with pytest.raises(LinkError, match=reason) as failed:
            await link.request("tools/call", CALL)
        assert failed.value.sent
        assert len(server.of("tools/call")) == 1, "a call was sent twice"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http(200, error(-32000, "no tea", 2)), -32000),
        (http(200, error(-32700, "cannot read that", None)), -32700),
        (http(400, error(-32020, "mismatch", 2)), -32020),
        (http(400, error(-32602, "no tea", "server-error")), -32602),
        (http(404, error(-32601, "no such method", 2)), -32601),
        (http(500, b'{"jsonrpc":"2.0","error":{"code":-32603,"message":"oops"}}'), -32603),
        (stream_of({"jsonrpc": "2.0", "id": 2, "error": {"code": -1, "message": "x", "data": [1]}}), -1),
    ],
)
async def test_a_json_rpc_error_reaches_the_asker_whatever_the_status(
    room: Room, answer: bytes, code: int
) -> None:
    async with linked(room, modern(saying(answer))) as (link, _):
        with pytest.raises(RemoteError) as failed:
            await link.request("tools/call", CALL)
        assert failed.value.code == code


async def test_a_redirect_is_not_followed_and_its_target_hears_nothing(room: Room) -> None:
    async with serve(saying(http(200))) as target:
        location = f"Location: http://localhost:{target.port}/other?token=x"
        async with linked(room, modern(saying(http(307, b"", location))), config=SECRET) as (link, _):
            with pytest.raises(LinkError, match="HTTP 307 Temporary Redirect: it redirects to ") as failed:
                await link.request("tools/call", CALL)
        assert f"to http://localhost:{target.port}. " in str(failed.value)
        assert target.connections == 0


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, ["Retry-After: 7"], 7.0),
        (503, ["Retry-After: 120 "], 120.0),
        (429, ["Date: Sat, 21 Nov 2026 10:00:00 GMT", "Retry-After: Sat, 21 Nov 2026 10:00:30 GMT"], 30.0),
        (429, ["Date: Sat, 21 Nov 2026 10:00:00 GMT", "Retry-After: Sat, 21 Nov 2026 09:00:30 GMT"], 0.0),
        (429, ["Retry-After: 99999999"], 86400.0),
        (429, ["Retry-After: soon"], None),
        (429, [], None),
    ],
)
async def test_how_long_a_server_asks_to_be_left_alone_is_told(
    room: Room, status: int, headers: list[str], seconds: float | None
) -> None:
    async with linked(room, modern(saying(http(status, b"", *headers)))) as (link, _):
        with pytest.raises(LinkError, match=f"^HTTP {status} ") as failed:
            await link.request("tools/call", CALL)
        assert failed.value.retry_seconds == seconds


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_are_told_by_their_place_and_not_by_their_value(
    room: Room, status: int
) -> None:
    body = error(-32000, "the token tok-123 is not valid", 2)
    answer = modern(saying(http(status, body, 'WWW-Authenticate: Bearer error="tok-123"')))
    async with linked(room, answer, config=SECRET) as (link, server):
        with pytest.raises(
            LinkError, match=f"HTTP {status} .*refused the credentials.*`Authorization` under"
        ) as failed:
            await link.request("tools/call", CALL)
        assert server.requests[0].headers["authorization"] == "Bearer tok-123"
        assert "tok-123" not in str(failed.value)
    async with linked(room, answer) as (link, _):
        with pytest.raises(LinkError, match=r"wants credentials. Add .*`headers: \{Authorization"):
            await link.request("tools/call", CALL)


async def test_a_server_that_never_answers_is_left_when_the_asker_gives_up(room: Room) -> None:
    async with linked(room, modern(saying(b"HTTP/1.1 200 OK\r\nContent-"))) as (link, server):
        with anyio.move_on_after(0.05) as scope:
            await link.request("tools/call", CALL)
        assert scope.cancelled_caught
        await server.all_closed()


async def test_values_pass_as_they_were_written(room: Room) -> None:
    """Ours: raw in the middle. A float keeps its digits, an integer its size, a null its place."""
    text = b'{"a":1.10,"b":1e2,"c":123456789012345678901234567890,"d":null,"e":"\\u0000\xc3\xa9"}'

    async def answer(request: Request, writer: StreamWriter) -> None:
        value = request.body.partition(b'"arguments":')[2].partition(b"}")[0] + b"}"
        body = b'{"jsonrpc":"2.0","id":%d,"result":%s}' % (request.message["id"], value)
        writer.write(http(200, body))

    from connectors.jsonrpc import Budget, encode, parse

    sent = parse(text, Budget(1000, 1000))
    async with linked(room, modern(answer)) as (link, server):
        got = await link.request("tools/call", {"name": "tea", "arguments": sent})
        assert encode(got) == encode(sent) == text
        assert text in server.of("tools/call")[0].body
