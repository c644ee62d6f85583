"""What an older protocol version has no word for is said to its clients in their words, so that none fails.

The referees are the SDK's client and its models of 2025-11-25, which check what they are told.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from mcp_types import CallToolResult, TextContent
from mcp_types import _v2025_11_25 as older_models
from pydantic import BaseModel, ValidationError

from hub.model import Json
from hub.server.older import in_words_of
from tests.house import tool
from tests.hub_room import Room, room
from tests.servers.dictated import Dictated

pytestmark = pytest.mark.anyio

MODULE_SECONDS_MAX = 300
TEXT: Json = {"type": "text", "text": "said"}
LINK: Json = {"type": "resource_link", "uri": "file:///a", "name": "a", "title": "A", "description": "One."}
AUDIO: Json = {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"}

ICONS = [{"src": "https://example.com/i.svg", "mimeType": "image/svg+xml", "theme": "dark", "odd": 1}]
OFFERED: tuple[Json, ...] = (
    tool("list", outputSchema={"type": "array", "items": {}}),
    tool("any", outputSchema={"anyOf": [{"type": "string"}, {"type": "null"}]}),
    tool("union", outputSchema={"type": ["object", "null"]}),
    tool("object", outputSchema={"type": "object"}),
    tool(
        "rich", title="Rich", icons=ICONS, annotations={"odd": True}, _meta={"ui": {"resourceUri": "ui://a"}}
    ),
    tool(
        "headed", inputSchema={"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "A"}}}
    ),
)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module: its hub lives as long."""
    return "asyncio"


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[tuple[Dictated, str]]:
    it = Dictated("modern", "box")
    it.lists["tools/list"] = (
        f'"result":{json.dumps({"tools": OFFERED, "resultType": "complete", "ttlMs": 5})}'
    )
    async with it.listening() as url:
        yield it, url


@pytest.fixture(scope="module")
async def it(tmp_path_factory: pytest.TempPathFactory, server: tuple[Dictated, str]) -> AsyncIterator[Room]:
    servers: dict[str, Json] = {"box": {"connect": {"url": server[1]}}}
    async with room(tmp_path_factory.mktemp("older"), servers, seconds=MODULE_SECONDS_MAX) as it:
        yield it


def answer(server: tuple[Dictated, str], result: Json) -> None:
    server[0].answer = f'"result":{json.dumps(result)}'


async def called(it: Room, server: tuple[Dictated, str], result: Json, version: str = "2025-11-25") -> Json:
    """What a client of this version gets where the server gives `result`."""
    answer(server, result)
    with anyio.fail_after(30):
        async with it.session({}, version) as older:
            message = await older.request("tools/call", {"name": "box__any", "arguments": {}})
    return message


def fits(model: type[BaseModel], value: Json) -> bool:
    try:
        model.model_validate(value)
    except ValidationError:
        return False
    return True


async def test_a_list_that_an_older_client_would_drop_is_one_that_it_takes(it: Room) -> None:
    """2025-11-25, server/tools: an output schema is of an object. One that is not is left out."""
    with anyio.fail_after(30):
        async with it.client("legacy") as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        async with it.session({}) as older:
            raw = (await older.request("tools/list"))["result"]
    assert [name for name, tool in tools.items() if tool.output_schema is not None] == ["box__object"]
    assert fits(older_models.ListToolsResult, raw)
    shown = {each["name"]: each for each in raw["tools"]}
    assert shown["box__rich"] == {**OFFERED[4], "name": "box__rich"}
    assert set(raw) == {"tools"}


@pytest.mark.parametrize("structured", [None, [1, None], "text", 2**70, True])
async def test_structured_content_that_is_no_object_is_left_out_and_its_text_stays(
    it: Room, server: tuple[Dictated, str], structured: Any
) -> None:
    given = {"content": [TEXT], "structuredContent": structured, "resultType": "complete", "odd": {"x": None}}
    result = (await called(it, server, given))["result"]
    assert result == {"content": [TEXT], "odd": {"x": None}}
    assert fits(older_models.CallToolResult, result)


async def test_structured_content_that_nothing_else_says_becomes_text(
    it: Room, server: tuple[Dictated, str]
) -> None:
    """Ours: a result without a word would be no answer; with a text of the server's own, that is it."""
    image = {"type": "image", "data": "AAAA", "mimeType": "image/png"}
    given = {"content": [image], "structuredContent": [1, {"b": 2**70}], "resultType": "complete"}
    result = (await called(it, server, given))["result"]
    said = {"type": "text", "text": '[1,{"b":1180591620717411303424}]'}
    assert result == {"content": [image, said]}
    nothing: Json = {"content": [], "structuredContent": None, "resultType": "complete"}
    assert (await called(it, server, nothing))["result"] == {"content": []}


async def test_the_sdks_older_client_reads_what_a_newer_server_gives(
    it: Room, server: tuple[Dictated, str]
) -> None:
    answer(server, {"content": [], "structuredContent": ["a"], "resultType": "complete", "_meta": {"v/k": 1}})
    with anyio.fail_after(30):
        async with it.client("legacy") as client:
            result = await client.call_tool("box__list", {})
    assert isinstance(result, CallToolResult)
    assert (result.content, result.structured_content) == ([TextContent(text='["a"]')], None)
    assert result.meta == {"v/k": 1}


async def test_an_object_stays(it: Room, server: tuple[Dictated, str]) -> None:
    given = {"content": [TEXT], "structuredContent": {"a": None}, "isError": False}
    assert (await called(it, server, given))["result"] == given


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_kinds_of_content_that_a_version_has_not_are_text_in_it(
    it: Room, server: tuple[Dictated, str], version: str
) -> None:
    """Links came with 2025-06-18, audio with 2025-03-26."""
    link = {**LINK, "annotations": {"priority": 0.5}, "_meta": {"v/k": 1}}
    result = (await called(it, server, {"content": [TEXT, link, AUDIO]}, version))["result"]
    text, link_shown, audio_shown = result["content"]
    assert text == TEXT
    if version >= "2025-06-18":
        assert link_shown == link
    else:
        words = {"type": "text", "text": "A\na\nOne.\nfile:///a", "annotations": {"priority": 0.5}}
        assert link_shown == {**words, "_meta": {"v/k": 1}}
    if version >= "2025-03-26":
        assert audio_shown == AUDIO
    else:
        assert audio_shown["type"] == "text" and "audio/wav" in audio_shown["text"]


def test_messages_of_prompts_too() -> None:
    given: Json = {"messages": [{"role": "user", "content": LINK, "odd": 1}, "odd"]}
    shown = in_words_of("2025-03-26", given, "prompts/get")
    words = {"type": "text", "text": "A\na\nOne.\nfile:///a"}
    assert shown == {"messages": [{"role": "user", "content": words, "odd": 1}, "odd"]}
    assert in_words_of("2025-06-18", given, "prompts/get") is given


async def test_content_of_a_kind_that_nobody_knows_passes_as_it_is(
    it: Room, server: tuple[Dictated, str]
) -> None:
    """A known gap: the SDK's client drops the result, as it does without the hub."""
    video: Json = {"type": "video", "data": "AAAA", "of": {"x": [None]}}
    assert (await called(it, server, {"content": [video]}))["result"] == {"content": [video]}


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_a_result_of_a_type_that_the_version_has_not_is_an_error(
    it: Room, server: tuple[Dictated, str], version: str
) -> None:
    for type_ in ("task", "vendor/later", 5):
        given: Json = {"resultType": type_, "taskId": "x"}
        error = (await called(it, server, given, version))["error"]
        assert (error["code"], error["data"]) == (-32603, {"reason": "result_type"})


@pytest.mark.parametrize(
    ("type_", "extensions", "code"),
    [
        ("task", {}, -32021),
        ("task", {"v/x": {}}, -32021),
        ("v/later", {}, -32603),
        ("v/later", {"io.modelcontextprotocol/tasks": {}}, -32603),
        ("v/later", {"v/x": {}}, None),
        (5, {"v/x": {}}, -32603),
    ],
)
async def test_a_newer_client_gets_no_type_of_result_that_it_cannot_know(
    it: Room, server: tuple[Dictated, str], type_: Any, extensions: Json, code: int | None
) -> None:
    """SEP-2663: no task for who did not declare tasks. Ours: nothing of an extension for who has none."""
    answer(server, {"resultType": type_, "taskId": "x"})
    with anyio.fail_after(30):
        async with it.http() as http:
            asked = {"name": "box__any", "arguments": {}}
            message = await it.ask(http, "tools/call", asked, {"extensions": extensions})
    assert message.get("error", {}).get("code") == code
