"""What the hub does not take over HTTP, and with which status and JSON-RPC code it says so."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hub.settings import Settings
from tests.house import (
    CALL,
    INITIALIZE,
    VERSION,
    House,
    error_of,
    headers_of,
    house,
    in_time,
    message,
    modern,
    post,
    raw,
)

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"


@pytest.fixture
async def hub(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    in_time(request)
    settings = Settings(
        allowed_hosts=("hub.example",),
        allowed_origins=("https://console.example",),
        message_bytes_max=300_000,
    )
    async with house(tmp_path, settings) as it:
        yield it


async def test_only_what_is_served_has_an_address(hub: House, http: httpx.AsyncClient) -> None:
    for method, path, status in (
        ("GET", "/health", 200),
        ("POST", "/health", 405),
        ("GET", "/ready", 200),
        ("GET", "/", 404),
        ("GET", "/mcp/", 404),
        ("GET", "/.well-known/oauth-protected-resource", 404),
        ("GET", "/.well-known/oauth-authorization-server/mcp", 404),
        ("POST", "/v1/servers", 404),
        ("PUT", "/mcp", 405),
        ("OPTIONS", "/mcp", 405),
        ("GET", "/mcp", 405),
        ("DELETE", "/mcp", 405),
    ):
        answer = await http.request(method, hub.url.removesuffix("/mcp") + path)
        assert answer.status_code == status, (method, path)
        assert ("allow" in answer.headers) == (status == 405)
    for method in ("GET", "DELETE"):
        answer = await http.request(method, hub.url, headers={"mcp-protocol-version": VERSION})
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        answer = await http.request(method, hub.url, headers={"mcp-protocol-version": "2025-11-25"})
        assert answer.status_code == 400


async def test_readiness_is_a_status_and_counts_for_anybody(hub: House) -> None:
    async with hub.http(agent=None) as http:
        assert (await http.get(hub.url.replace("/mcp", "/health"))).json() == {"status": "ok"}
        hub.ready = False
        answer = await http.get(hub.url.replace("/mcp", "/ready"))
        assert (answer.status_code, answer.json()) == (503, {"servers": {"ready": 1}})


async def test_without_a_valid_token_nothing_is_read(hub: House) -> None:
    token = hub.tokens["me"]
    for given in (
        None,
        "",
        "Bearer",
        "Bearer hub_x",
        "Basic bWU6",
        token,
        f"Bearer {token}x",
        f"Bearer  {token}",
    ):
        async with hub.http(agent=None) as http:
            headers = {} if given is None else {"authorization": given}
            for method in ("POST", "GET", "DELETE"):
                answer = await http.request(method, hub.url, content=b"not JSON", headers=headers)
                assert answer.status_code == 401, given
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert "id" not in answer.json() and "error" in answer.json()


async def test_a_foreign_host_or_origin_is_refused(hub: House, http: httpx.AsyncClient) -> None:
    hosts = {
        403: "evil.example evil.example:8420 localhost.evil.example 127.0.0.1.evil.example "
        "localhost@evil.example [2001:db8::1]:80 0.0.0.0 localhost: localhost:8420:1 localhost/ 2130706433",
        200: "localhost LOCALHOST:1 127.0.0.1 127.1.2.3:99 [::1]:8420 hub.example HUB.example:9000",
    }
    origins = {
        403: "https://evil.example null http://localhost.evil.example file://localhost "
        "https://console.example:444 http://localhost@evil.example localhost http://",
        200: "http://localhost:3000 https://127.0.0.1 http://[::1]:6274 https://console.example",
    }
    for name, table in (("host", hosts), ("origin", origins)):
        for status, values in table.items():
            for value in values.split(" "):
                answer = await post(hub, http, modern("tools/list"), **{name: value})
                assert answer.status_code == status, (name, value)
    head = b"POST /mcp HTTP/1.1\r\nhost: \r\nauthorization: Bearer " + hub.tokens["me"].encode()
    assert (await raw(hub, head))[0] == 403


NO_MESSAGE = [
    (b"", -32700),
    (b"{", -32700),
    (b"\xef\xbb\xbf{}", -32700),
    (b"\xff", -32700),
    ('{"jsonrpc":"2.0","id":1,"method":"ping"}'.encode("utf-16"), -32700),
    (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', -32700),
    (b'{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}', -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1e400}}', -32700),
    (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}', -32700),
    (b"[" * 300 + b"]" * 300, -32700),
    (b"[]", -32600),
    (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
    (b"null", -32600),
    (b"{}", -32600),
    (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":1180591620717411303424,"method":"ping"}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}', -32602),
    (b'{"jsonrpc":"2.0","id":1}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', -32600),
    (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":[' + b"0," * 100_000 + b"0]}}", -32600),
]


async def test_what_is_no_message_is_refused_in_every_era(hub: House, http: httpx.AsyncClient) -> None:
    for version in (VERSION, "2025-11-25", None):
        headers = {"content-type": "application/json"}
        if version is not None:
            headers["mcp-protocol-version"] = version
        for content, code in NO_MESSAGE:
            answer = await http.post(hub.url, content=content, headers=headers)
            assert error_of(answer) == (400, code), (version, content[:100])


async def test_a_request_that_is_too_large_is_refused_declared_or_not(
    hub: House, http: httpx.AsyncClient
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield b" " * 1000

    headers = {"content-type": "application/json"}
    for content in (b" " * 300_001, chunks()):
        answer = await http.post(hub.url, content=content, headers=headers)
        assert error_of(answer) == (413, -32600) and "300000" in answer.text


async def test_types_are_checked(hub: House, http: httpx.AsyncClient) -> None:
    for headers, status in (
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/jsonp"}, 415),
        ({"content_type": "application/json; charset=utf-8"}, 200),
        ({"content_type": "Application/JSON"}, 200),
        ({"accept": "text/html"}, 406),
        ({"accept": "text/event-stream"}, 406),
        ({"accept": "application/json"}, 200),
        ({"accept": "*/*"}, 200),
        ({"accept": "application/json;q=1, text/event-stream;q=0.5"}, 200),
    ):
        assert (await post(hub, http, modern("tools/list"), **headers)).status_code == status, headers


ANCIENT = "1900-01-01"
REFUSED: list[tuple[Any, dict[str, str], int, int | None]] = [
    # The envelope.
    (message("tools/list"), {}, 400, -32602),
    (modern("tools/list", None, 1, **{CAPABILITIES_KEY: 7}), {}, 400, -32602),
    (modern("tools/list", None, 1, **{"io.modelcontextprotocol/logLevel": "loud"}), {}, 400, -32602),
    (modern("tools/list", None, 1, **{"io.modelcontextprotocol/clientInfo": "x"}), {}, 400, -32602),
    (modern("tools/call", CALL, 1, progressToken=1.5), {}, 400, -32602),
    (modern("tools/call", CALL, 1, progressToken=None), {}, 400, -32602),
    # Headers and body.
    (modern("tools/list"), {"mcp_method": ""}, 400, -32020),
    (modern("tools/list"), {"mcp_method": "Tools/List"}, 400, -32020),
    (modern("tools/list", None, 1, **{VERSION_KEY: "2025-11-25"}), {}, 400, -32020),
    (modern("tools/list", None, 1, **{VERSION_KEY: None}), {}, 400, -32020),
    (modern("tools/list"), {"mcp_protocol_version": ""}, 400, -32020),
    (modern("tools/list"), {"mcp_protocol_version": "2025-11-25"}, 400, -32020),
    (modern("tools/list"), {"mcp_protocol_version": ANCIENT}, 400, -32020),
    (modern("initialize", INITIALIZE), {"mcp_protocol_version": ""}, 400, -32020),
    (modern("tools/call", CALL), {"mcp_name": ""}, 400, -32020),
    (modern("tools/call", CALL), {"mcp_name": "box__hang"}, 400, -32020),
    (modern("tools/call", CALL), {"mcp_name": "=?base64?Ym94X19lY2hv?="}, 200, None),
    (modern("tools/call", CALL), {"mcp_name": "=?BASE64?Ym94X19lY2hv?="}, 400, -32020),
    (modern("tools/call", CALL), {"mcp_name": "=?base64?Ym94X19lY2h?="}, 400, -32020),
    (modern("resources/read", {"uri": "note://one"}), {"mcp_name": "note://two"}, 400, -32020),
    (modern("tools/call", {"name": 5}), {"mcp_name": "5"}, 400, -32020),
    # Versions.
    (modern("x", None, 1, **{VERSION_KEY: ANCIENT}), {"mcp_protocol_version": ANCIENT}, 400, -32022),
    (message("x"), {"mcp_protocol_version": ANCIENT}, 400, -32022),
    # Methods of the other era, and of none.
    (modern("ping"), {}, 404, -32601),
    (modern("initialize", INITIALIZE), {}, 404, -32601),
    (modern("logging/setLevel", {"level": "info"}), {}, 404, -32601),
    (modern("resources/subscribe", {"uri": "note://one"}), {"mcp_name": ""}, 404, -32601),
    (modern("resources/unsubscribe", {"uri": "note://one"}), {"mcp_name": ""}, 404, -32601),
    (modern("nonsense"), {}, 404, -32601),
    # Params.
    (modern("tools/call", {}), {}, 400, -32602),
    (modern("tools/call", {"name": "box__echo", "arguments": []}), {}, 400, -32602),
    (modern("tools/list", {"cursor": 5}), {}, 400, -32602),
    (modern("resources/read", {"uri": "note://gone"}), {}, 400, -32602),
    (modern("prompts/get", {"name": "box__none"}), {}, 400, -32602),
    (modern("completion/complete"), {}, 400, -32602),
    (modern("completion/complete", {"ref": {"type": "ref/tool", "name": "box__echo"}}), {}, 400, -32602),
    (modern("subscriptions/listen"), {}, 400, -32602),
    (modern("subscriptions/listen", {"notifications": {"toolsListChanged": 1}}), {}, 400, -32602),
    (modern("subscriptions/listen", {"notifications": {}}), {"accept": "application/json"}, 406, -32600),
]


async def test_a_modern_request_is_refused_as_the_specification_says(
    hub: House, http: httpx.AsyncClient
) -> None:
    for body, headers, status, code in REFUSED:
        answer = await post(hub, http, body, **headers)
        assert error_of(answer) == (status, code), (body, headers, answer.text)
        assert answer.json()["id"] == 1
        if code == -32022:
            data = answer.json()["error"]["data"]
            assert data["requested"] == ANCIENT and data["supported"][0] == VERSION


async def test_a_legacy_request_is_refused_as_its_era_does(hub: House, http: httpx.AsyncClient) -> None:
    session = await hub.session(http)
    for body, status, code in (
        (message("nonsense"), 200, -32601),
        (message("server/discover"), 200, -32601),
        (message("subscriptions/listen"), 200, -32601),
        (message("completion/complete", {"ref": {"type": "ref/prompt", "name": "box__no"}}), 200, -32602),
        (message("logging/setLevel"), 200, -32602),
        (message("tools/call"), 200, -32602),
        (message("tools/call", {"name": "box__none"}), 200, -32602),
        (message("resources/read", {"uri": "none://x"}), 200, -32002),
        (message("resources/read", {"uri": "note://gone"}), 200, -32002),
        (message("tools/list", {"cursor": "x"}), 200, -32602),
        (message("ping", {"_meta": {VERSION_KEY: VERSION}}), 400, -32020),
    ):
        answer = await http.post(hub.url, json=body, headers=session)
        assert error_of(answer) == (status, code), body


async def test_white_space_round_a_header_does_not_count_and_a_second_copy_is_refused(hub: House) -> None:
    body = modern("tools/call", CALL)
    lines = {
        b"host": b"localhost",
        b"authorization": b"Bearer " + hub.tokens["me"].encode(),
        b"content-type": b"application/json",
        **{name.encode(): value.encode() for name, value in headers_of(body).items()},
    }

    async def ask(pad: bytes = b"", twice: bytes | None = None) -> tuple[int, int | None]:
        head = [b"POST /mcp HTTP/1.1", *(name + b":" + pad + value + pad for name, value in lines.items())]
        if twice is not None:
            head.append(twice + b": " + lines[twice])
        status, answer = await raw(hub, b"\r\n".join(head), json.dumps(body).encode())
        return status, answer.get("error", {}).get("code")

    assert await ask() == await ask(b" \t ") == (200, None)
    for name in (b"mcp-name", b"mcp-method", b"mcp-protocol-version"):
        assert await ask(twice=name) == (400, -32020)
    for name in (b"authorization", b"content-type"):
        assert await ask(twice=name) == (400, -32600)


MIRROR = {"region": "eu", "deep": {"count": 42}}
MIRRORED: list[tuple[Any, dict[str, str], int]] = [
    (MIRROR, {"region": "eu", "count": "42"}, 200),
    (MIRROR, {"region": "eu", "count": "42.0"}, 200),
    (MIRROR, {"region": "=?base64?ZXU=?=", "count": "42"}, 200),
    (MIRROR, {"region": "us", "count": "42"}, 400),
    (MIRROR, {"region": "eu", "count": "43"}, 400),
    (MIRROR, {"region": "eu", "count": "4.2e1"}, 400),
    (MIRROR, {"region": "eu"}, 400),
    (MIRROR, {"count": "42"}, 400),
    ({"region": None}, {}, 200),
    ({}, {}, 200),
    ({}, {"region": "eu"}, 400),
    ({"deep": "flat"}, {}, 200),
    ({"deep": {"count": 42.0}}, {"count": "42"}, 200),
    ({"deep": {"count": True}}, {"count": "1"}, 400),
    ({"region": "é"}, {"region": "=?base64?w6k=?="}, 200),
    ({"region": "é"}, {"region": "=?base64?w6k?="}, 400),
    ({}, {"unknown": "x"}, 200),
]


async def test_arguments_that_a_tool_mirrors_must_be_said_alike_in_headers(
    hub: House, http: httpx.AsyncClient
) -> None:
    for arguments, headers, status in MIRRORED:
        body = modern("tools/call", {"name": "box__mirror", "arguments": arguments})
        given = {f"mcp_param_{name}": value for name, value in headers.items()}
        answer = await post(hub, http, body, **given)
        assert error_of(answer) == (status, None if status == 200 else -32020), (arguments, headers)
    async with hub.http(agent="other") as other:
        # To an agent that may not use it, the tool's wishes are as unknown as the tool.
        answer = await post(hub, other, modern("tools/call", {"name": "box__mirror", "arguments": MIRROR}))
        assert answer.json()["error"]["message"] == "Unknown tool: box__mirror"


async def test_a_server_error_of_the_hub_is_never_the_answer_to_rubbish(
    hub: House, http: httpx.AsyncClient
) -> None:
    """300 bodies made from good ones by cutting, swapping and nesting, in both eras: each gets an answer."""
    chance = random.Random(20260728)
    session = await hub.session(http)
    values: list[Any] = [
        None,
        True,
        -1,
        2**64,
        1.5,
        "",
        "\x00",
        "ü" * 50,
        [],
        {},
        [[]],
        {"a": {}},
        "tools/call",
    ]

    def spoilt(value: Any) -> Any:
        if chance.random() < 0.15:
            return chance.choice(values)
        if isinstance(value, dict):
            kept = {key: spoilt(item) for key, item in value.items() if chance.random() > 0.1}
            return (
                {**kept, chance.choice(["x", "id", "params", "_meta", ""]): chance.choice(values)}
                if (chance.random() < 0.1)
                else kept
            )
        return value

    methods = ["tools/call", "tools/list", "resources/read", "prompts/get", "server/discover", "initialize"]
    for number in range(300):
        method = chance.choice(methods)
        params = {"name": "box__echo", "uri": "note://one", "arguments": {}, "cursor": "x", **INITIALIZE}
        good = modern(method, params) if number % 2 else message(method, params)
        content = json.dumps(spoilt(good)).encode()
        if chance.random() < 0.2:
            content = content[: chance.randrange(len(content))]
        headers = headers_of(modern(method, params)) if number % 2 else session
        answer = await http.post(
            hub.url, content=content, headers={"content-type": "application/json", **headers}
        )
        assert answer.status_code in (200, 202, 400, 404), content
        if answer.content:
            assert ("result" in answer.json()) != ("error" in answer.json())
            assert answer.json().get("error", {}).get("code") != -32603, content
