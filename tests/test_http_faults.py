"""Streamable HTTP against servers that do it wrong, or do what the SDK's server never does.

Each answer is scripted byte by byte. Claims: the transport's specification in both eras, or ours.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from connectors.base import LET_GO, Json, Link, LinkError, RemoteError
from tests.http_room import Room
from tests.servers.fault_http import (
    SSE_END,
    SSE_HEAD,
    Answer,
    Faulty,
    Request,
    error,
    event,
    http,
    initialized,
    legacy,
    modern,
    serve,
)

pytestmark = pytest.mark.anyio

CALL: Json = {"name": "tea", "arguments": {}}
SECRET = {"headers": {"Authorization": "Bearer ${TOKEN}"}}
JSON = "application/json"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    with anyio.fail_after(10):
        yield Room(tmp_path)


@asynccontextmanager
async def linked(room: Room, answer: Answer, **changes: Any) -> AsyncIterator[tuple[Link, Faulty]]:
    config = changes.pop("config", None)
    async with serve(answer) as server, room.open(server.url, config, **changes) as link:
        yield link, server


def saying(text: bytes, *, close: bool = False) -> Answer:
    async def answer(request: Request, writer: StreamWriter) -> None:
        writer.write(text)
        if close:
            writer.close()

    return answer


def stream_of(*messages: Any) -> bytes:
    return SSE_HEAD + b"".join(event(message) for message in messages) + SSE_END


def reply(id: Any, **more: Any) -> Json:
    return {"jsonrpc": "2.0", "id": id, "result": {}, **more}


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


# What is sent.


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


# Sessions, streams and questions of the old era.


@pytest.mark.parametrize(
    "forgotten",
    [
        http(404),
        http(404, error(-32001, "Session not found")),
        http(400, error(-32000, "Bad Request: No valid session ID provided")),
        http(400, b"Invalid session ID", content_type="text/plain"),
    ],
)
async def test_a_forgotten_session_ends_the_link(room: Room, forgotten: bytes) -> None:
    async with linked(room, legacy(saying(forgotten))) as (link, server):
        with pytest.raises(LinkError, match="no longer knows the session") as failed:
            await link.request("tools/call", CALL)
        assert not failed.value.sent
        assert "no longer knows the session" in await link.wait_closed()
    assert server.requests[-1].method != "DELETE"


@pytest.mark.parametrize(
    ("session", "answer"),
    [
        (None, http(404, error(-32001, "not found"))),
        ("s-1", http(404, error(-32601, "no such method"))),
        ("s-1", http(400, error(-32602, "no such tea"))),
    ],
)
async def test_another_refusal_does_not_end_it(room: Room, session: str | None, answer: bytes) -> None:
    async with linked(room, legacy(saying(answer), session=session)) as (link, _):
        for _ in range(2):
            with pytest.raises(RemoteError):
                await link.request("tools/call", CALL)


async def test_a_stream_that_was_cut_goes_on_after_the_last_event(room: Room) -> None:
    """2025-11-25: resumed by GET with `Last-Event-ID`, after the time that `retry` asks for."""
    progress = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "half"}}

    async def answer(request: Request, writer: StreamWriter) -> None:
        if request.method == "POST":
            retry = b"b\r\nretry: 20\r\n\r\n"
            writer.write(SSE_HEAD + event("", "e-1") + retry + event(progress, "e-2") + b"20\r\nda")
            writer.close()
        elif request.headers["last-event-id"] == "e-2":
            writer.write(SSE_HEAD + event("", "e-3") + SSE_END)
        else:
            writer.write(SSE_HEAD + event(reply(3), "e-4") + SSE_END)

    got: list[str] = []
    async with linked(room, legacy(answer)) as (link, server):
        assert await link.request("tools/call", CALL, on_notify=lambda method, _: got.append(method)) == {}
        resumed = [r.headers["last-event-id"] for r in server.requests if "last-event-id" in r.headers]
        assert resumed == ["e-2", "e-3"]
        # What broke is not told, but where the server ended a connection on purpose.
        assert got == ["notifications/message", LET_GO]
        assert len(server.of("tools/call")) == 1


@pytest.mark.parametrize(
    ("again", "reason", "times"),
    [
        (http(405), "ended before the answer; HTTP 405 Method Not Allowed to the rest", 1),
        (http(404), "no longer knows the session", 1),
        (SSE_HEAD + SSE_END, "event stream ended before the answer", 3),
        (b"", "going on with it failed: it closed the connection without an answer", 3),
    ],
)
async def test_a_stream_that_cannot_be_resumed_is_given_up(
    room: Room, again: bytes, reason: str, times: int
) -> None:
    async def answer(request: Request, writer: StreamWriter) -> None:
        first = SSE_HEAD + b"a\r\nretry: 1\r\n\r\n" + event("", "e-1") + SSE_END
        writer.write(first if request.method == "POST" else again)
        if not again:
            writer.close()

    async with linked(room, legacy(answer)) as (link, server):
        with pytest.raises(LinkError, match=reason) as failed:
            await link.request("tools/call", CALL)
        assert failed.value.sent, "the request was sent, whatever became of its stream"
        assert len([r for r in server.requests if "last-event-id" in r.headers]) == times


async def test_a_legacy_request_that_nobody_waits_for_is_cancelled_by_its_id(room: Room) -> None:
    arrived, told = asyncio.Event(), asyncio.Event()

    async def answer(request: Request, writer: StreamWriter) -> None:
        if request.message.get("method") == "notifications/cancelled":
            writer.write(http(202))
            told.set()
        else:
            arrived.set()

    async with linked(room, legacy(answer)) as (link, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.request, "tools/call", CALL)
            await arrived.wait()
            tasks.cancel_scope.cancel()
        await told.wait()
        call, cancelled = server.of("tools/call")[0], server.of("notifications/cancelled")[0]
        assert cancelled.message["params"]["requestId"] == call.message["id"]


async def test_a_request_that_never_left_is_not_cancelled_there(room: Room) -> None:
    arrived, told = asyncio.Event(), asyncio.Event()

    async def answer(request: Request, writer: StreamWriter) -> None:
        if request.message.get("method") == "notifications/cancelled":
            writer.write(http(202))
            told.set()
        else:
            arrived.set()

    async with linked(room, legacy(answer), concurrent_max=1) as (link, server):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.request, "tools/call", CALL)
            await arrived.wait()
            with anyio.move_on_after(0.02) as scope:
                await link.request("tools/call", CALL)
            assert scope.cancelled_caught
            tasks.cancel_scope.cancel()
        await told.wait()
        assert len(server.of("tools/call")) == 1, "one at a time was allowed"
        cancelled = [
            request.message["params"]["requestId"] for request in server.of("notifications/cancelled")
        ]
        assert cancelled == [server.of("tools/call")[0].message["id"]]


def listening(*events: Any) -> Answer:
    """A legacy server whose GET stream says these things and stays open; it takes whatever is posted."""
    old = legacy(saying(http(202)))

    async def answer(request: Request, writer: StreamWriter) -> None:
        if request.method == "GET":
            writer.write(SSE_HEAD + b"".join(event(each) for each in events))
        else:
            await old(request, writer)

    return answer


async def posted(server: Faulty, id: Any) -> Json:
    """The answer to the question with this id, once it was posted."""

    def answer() -> Json | None:
        posted = (request.message for request in server.requests)
        return next((each for each in posted if each.get("id") == id and "method" not in each), None)

    return await server.until(answer)


async def test_what_a_legacy_server_says_without_being_asked_is_heard(room: Room) -> None:
    said = [
        {"jsonrpc": "2.0", "method": f"notifications/{kind}/list_changed"} for kind in ("tools", "prompts")
    ]
    async with linked(room, listening(*said)):
        assert await room.heard("notifications/tools/list_changed") == [{}]
        assert await room.heard("notifications/prompts/list_changed") == [{}]


async def test_questions_are_answered_each_by_a_post_of_its_own(room: Room) -> None:
    async def on_request(method: str, params: Json) -> Json:
        if method == "roots/list":
            return {"roots": params["which"]}
        raise RemoteError(-1, "declined", {"why": "tea time"})

    questions = [
        {"jsonrpc": "2.0", "id": "q-1", "method": "roots/list", "params": {"which": []}},
        {"jsonrpc": "2.0", "id": 2, "method": "elicitation/create"},
        {"jsonrpc": "2.0", "id": 3, "method": "ping"},
    ]
    async with linked(room, listening(*questions), on_request=on_request) as (_, server):
        assert (await posted(server, "q-1"))["result"] == {"roots": []}
        assert (await posted(server, 2))["error"] == {
            "code": -1,
            "message": "declined",
            "data": {"why": "tea time"},
        }
        assert (await posted(server, 3))["result"] == {}


async def test_a_question_that_the_server_takes_back_is_not_answered(room: Room) -> None:
    stopped = anyio.Event()

    async def on_request(method: str, params: Json) -> Json:
        try:
            await anyio.Event().wait()
        finally:
            stopped.set()
        return {}

    said = [
        {"jsonrpc": "2.0", "id": 1, "method": "elicitation/create"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}},
        {"jsonrpc": "2.0", "id": 2, "method": "ping"},
    ]
    async with linked(room, listening(*said), on_request=on_request) as (_, server):
        await stopped.wait()
        await posted(server, 2)
    assert not any(
        request.message.get("id") == 1 and "result" in request.message for request in server.requests
    )


# Streams of the modern era.


async def test_a_stream_of_changes_takes_no_call_s_place_and_says_nothing_of_itself(room: Room) -> None:
    """`subscriptions/listen` lasts as long as the link: with `concurrent: 1`, calls would wait for ever."""

    async def answer(request: Request, writer: StreamWriter) -> None:
        if request.message["method"] == "tools/call":
            writer.write(http(200, json.dumps(reply(request.message["id"])).encode()))
            return
        meta = {"io.modelcontextprotocol/subscriptionId": request.message["id"]}
        tools = {"method": "notifications/tools/list_changed", "params": {"_meta": meta}}
        resources = {"method": "notifications/resources/list_changed", "params": {"_meta": {**meta, "x": 1}}}
        acknowledged = {"method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta}}
        messages = [{"jsonrpc": "2.0", **each} for each in (acknowledged, tools, resources)]
        writer.write(SSE_HEAD + b"".join(event(message) for message in messages))

    got: list[str] = []
    wanted = {"notifications": {"toolsListChanged": True}}
    async with linked(room, modern(answer), concurrent_max=1) as (link, server):
        async with anyio.create_task_group() as tasks:
            listening = partial(link.request, on_notify=lambda method, _: got.append(method))
            tasks.start_soon(listening, "subscriptions/listen", wanted)
            assert await room.heard("notifications/tools/list_changed") == [{}]
            assert await room.heard("notifications/resources/list_changed") == [{"_meta": {"x": 1}}]
            assert await link.request("tools/call", CALL) == {}
            tasks.cancel_scope.cancel()
        assert server.of("subscriptions/listen")[0].headers["mcp-method"] == "subscriptions/listen"
    assert got == ["notifications/subscriptions/acknowledged"]


async def test_a_call_s_own_stream_gives_the_asker_what_is_its_own_and_the_hub_the_rest(room: Room) -> None:
    messages = [
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 2, "progress": 1}},
        {
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": "2", "progress": 2},
        },
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 9, "progress": 3}},
        {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "log"}},
        {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"},
        reply(2),
    ]
    got: list[tuple[str, Json]] = []
    async with linked(room, modern(saying(stream_of(*messages)))) as (link, _):
        params = {**CALL, "_meta": {"progressToken": "mine"}}
        await link.request("tools/call", params, on_notify=lambda *notification: got.append(notification))
    assert got == [
        ("notifications/progress", {"progressToken": "mine", "progress": 1}),
        ("notifications/message", {"data": "log"}),
    ]
    assert room.notifications == [("notifications/tools/list_changed", {})]


async def test_the_answer_is_there_before_its_stream_has_ended(room: Room) -> None:
    async with linked(room, modern(saying(SSE_HEAD + event(reply(2))))) as (link, _):
        assert await link.request("tools/call", CALL) == {}


async def test_its_connection_serves_again_when_the_stream_does_end(room: Room) -> None:
    answered = asyncio.Event()

    async def answer(request: Request, writer: StreamWriter) -> None:
        writer.write(SSE_HEAD + event(reply(request.message["id"])))
        await answered.wait()
        writer.write(SSE_END)

    async with linked(room, modern(answer), concurrent_max=1) as (link, server):
        for _ in range(3):
            assert await link.request("tools/call", CALL) == {}
            answered.set()
        assert server.connections == 1
