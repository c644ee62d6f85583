"""Results that do not fit: what an agent gets instead, how it reads on, and who is told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mcp.client.client import ConnectMode

from connectors.jsonrpc import encode
from hub.results.count import tokens
from hub.results.settings import ResultSettings
from hub.settings import Settings
from tests.hub_room import room
from tests.long_room import COUNT, ERAS, id_of, long_room, names, read, refused, rows, server, use

pytestmark = pytest.mark.anyio


# The handle


@pytest.mark.parametrize("mode", ERAS)
async def test_a_long_result_is_a_handle_by_which_all_of_it_is_found_again(
    tmp_path: Path, mode: ConnectMode
) -> None:
    async with long_room(tmp_path) as it, it.client(mode) as client:
        result = await use(client, "long__rows", count=COUNT, indent=2)
        assert tokens(encode(result).decode()) <= 500
        text, link = result["content"]
        assert (
            "/items: array of 900: {id: integer, name: string, owner: {login: string, admin: boolean}"
            in text["text"]
        )
        assert "hub__read" in text["text"]
        assert link["uri"] == f"hub://results/{id_of(result)}"
        id, whole = id_of(result), rows(COUNT)
        assert await read(client, id, at="/items/899/owner") == {
            "at": "/items/899/owner",
            "value": whole["items"][899]["owner"],
        }
        page = await read(client, id, at="/items", **{"from": 10, "count": 3})
        assert (page["items"], page["total"], page["next"]) == (whole["items"][10:13], COUNT, 13)
        hits = await read(client, id, search="ROW 77")
        assert [hit["at"] for hit in hits["hits"]] == [
            "/items/77/name",
            *(f"/items/{n}/name" for n in range(770, 780)),
        ]
        table_ = await read(client, id, at="/items", columns=["id", "/owner/login"], count=2)
        assert table_["rows"] == [[0, "user0"], [1, "user1"]]
        assert "Did you mean '/items/3/name'?" in await refused(
            client, "hub__read", id=id, at="/items/3/nmae"
        )
        contents: Any = (await client.read_resource(link["uri"])).contents[0]
        assert json.loads(contents.text) == whole
        part: Any = (await client.read_resource(f"{link['uri']}?from=5&count=1#/items")).contents[0]
        assert json.loads(part.text)["items"] == whole["items"][5:6]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_that_checks_structured_content_by_its_schema_is_content(
    tmp_path: Path, mode: ConnectMode
) -> None:
    """The SDK's client raises where an output schema is declared and what comes does not fit it."""
    async with long_room(tmp_path) as it, it.client(mode) as client:
        await client.list_tools()
        result = await use(client, "long__typed", count=COUNT)
        assert tokens(encode(result).decode()) <= 500
        assert 0 < len(result["structuredContent"]["items"]) < 10
        assert result["_meta"]["hub/result"]["structuredContent"] == "shortened"
        assert "structuredContent has only the beginning" in result["content"][0]["text"]
        whole = await read(client, id_of(result), at="/items/500")
        assert whole["value"] == rows(COUNT)["items"][500]
        # Where its schema lets nobody shorten it, it is whole; its text, which models read, is not.
        result = await use(client, "long__fixed")
        assert len(result["structuredContent"]["items"]) == 1000
        assert tokens(encode(result["content"]).decode()) <= 500


@pytest.mark.parametrize(
    ("tool", "place", "value"),
    [
        ("blocks", "/700/name", "row 700"),
        ("both", "/structuredContent/items/5/id", 5),
        ("both", "/content/0/type", "text"),
    ],
)  # fmt: skip
async def test_whatever_a_result_consists_of_can_be_read(
    tmp_path: Path, tool: str, place: str, value: Any
) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        result = await use(client, f"long__{tool}", count=12_000 if tool == "both" else COUNT)
        assert "structuredContent" not in result
        assert (await read(client, id_of(result), at=place))["value"] == value


async def test_a_long_failure_stays_one_and_a_text_is_read_by_its_characters(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        result = await use(client, "long__fail", count=9000)
        assert result["isError"] is True
        id = id_of(result)
        assert (await read(client, id, **{"from": 3, "count": 12}))["text"] == "went wrong b"
        result = await use(client, "long__text", count=9000)
        hit = (await read(client, id_of(result), search="line 8765 "))["hits"][0]
        page = await read(client, id_of(result), **{"from": hit["from"], "count": 20})
        assert page["text"] == "line 8765 of the log"
        assert "There is nothing at '/line'" in await refused(client, "hub__read", id=id, at="/line")


async def test_pictures_and_short_blocks_stay_and_what_fits_is_untouched(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        result = await use(client, "long__picture", count=900_000, text=20)
        assert [block["type"] for block in result["content"]] == ["image", "text", "text"]
        assert "hub/result" not in result["_meta"]
        result = await use(client, "long__picture", count=900_000, text=120_000)
        assert [block["type"] for block in result["content"]] == ["image", "text", "text", "resource_link"]
        assert result["content"][1]["text"] == "a few words"
        assert len(result["content"][0]["data"]) == 900_000
        short = await use(client, "long__rows", count=100)
        assert json.loads(short["content"][0]["text"]) == rows(100)


async def test_the_same_result_is_kept_once(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        first = await use(client, "long__rows", count=COUNT)
        again = await use(client, "long__rows", count=COUNT, indent=1)
        other = await use(client, "long__rows", count=COUNT + 1)
        assert id_of(first) == id_of(again) != id_of(other)


# Limits, and who is told of reading


async def test_the_agent_s_limit_counts_before_the_tool_s_then_the_server_s_then_the_hub_s(
    tmp_path: Path,
) -> None:
    override = {"rows": {"results": 2000}, "text": {"results": "whole"}}
    manifest = server(tmp_path, results=3000, tools={"override": override})
    (tmp_path / "manifests").mkdir()
    for name, results in (("whole", "whole"), ("small", 1000)):
        written = {"agent": name, "may": ["long__*"], "results": results}
        (tmp_path / "manifests" / f"{name}.yaml").write_text(json.dumps(written))
    async with room(tmp_path, {"long": manifest}, agents={"me": ("long__*",)}) as it:
        await it.app.reload()
        for name in ("whole", "small"):
            it.tokens[name] = (await it.identities.issue(name))[1]

        async def is_short(agent: str, tool: str, count: int) -> bool:
            async with it.client("auto", agent) as client:
                return "hub/result" in (await use(client, tool, count=count))["_meta"]

        # About 48 tokens a row, 5 a line, 35 a block.
        assert await is_short("me", "long__rows", 60)
        assert not await is_short("me", "long__rows", 30)
        assert not await is_short("me", "long__text", 9000)
        assert await is_short("me", "long__blocks", 150)
        assert not await is_short("me", "long__blocks", 60)
        assert not await is_short("whole", "long__rows", 900)
        assert await is_short("small", "long__text", 400)


async def test_reading_is_listed_for_whoever_may_get_a_handle_and_for_nobody_else(tmp_path: Path) -> None:
    agents: Mapping[str, Any] = {
        "reader": ("long__rows",),
        "elsewhere": ("time__*",),
        "nothing": (),
        "calm": ("whole__*",),
    }
    servers = {"long": server(tmp_path), "whole": server(tmp_path, results="whole")}
    async with room(tmp_path, servers, agents=agents) as it:

        async def listed(agent: str) -> set[str]:
            async with it.client("auto", agent) as client:
                found = names(await client.list_tools())
                if "hub__read" not in found:
                    with pytest.raises(Exception, match="Unknown tool: hub__read"):
                        await client.call_tool("hub__read", {"id": "x"})
                return found

        assert await listed("reader") == {"long__rows", "hub__read"}
        assert await listed("elsewhere") == set()
        assert await listed("nothing") == set()
        assert "hub__read" not in await listed("calm")


async def test_with_results_whole_in_hub_yaml_nothing_is_shortened_and_nothing_listed(tmp_path: Path) -> None:
    settings = Settings(results=ResultSettings(tokens=None))
    async with long_room(tmp_path, settings=settings) as it, it.client("auto") as client:
        assert "hub__read" not in names(await client.list_tools())
        result = await use(client, "long__rows", count=COUNT)
        assert json.loads(result["content"][0]["text"]) == rows(COUNT)


async def test_an_agent_that_never_may_read_gets_its_results_whole(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    written = {"agent": "proud", "may": ["*"], "never": ["hub__*"]}
    (tmp_path / "manifests" / "proud.yaml").write_text(json.dumps(written))
    async with long_room(tmp_path) as it:
        it.tokens["proud"] = (await it.identities.issue("proud"))[1]
        async with it.client("auto", "proud") as client:
            assert "hub__read" not in names(await client.list_tools())
            result = await use(client, "long__rows", count=COUNT)
            assert json.loads(result["content"][0]["text"]) == rows(COUNT)
