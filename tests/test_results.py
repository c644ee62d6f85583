"""Results that do not fit: what an agent gets instead, how it reads on, who else may, and for how long."""

from __future__ import annotations

import http.client
import json
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import Client
from mcp.client.client import ConnectMode

from connectors.jsonrpc import encode
from hub import scopes, trace
from hub.count import tokens
from hub.env import SystemEnv
from hub.middleware.shorten import Shorten
from hub.model import Call, Json, Result
from hub.result_settings import ResultSettings
from hub.settings import Settings
from hub.store import results as table
from hub.tokens import Terms
from tests.homes import Running, running, token, write
from tests.house import INITIALIZE, message
from tests.hub_room import Room, room
from tests.servers import long

pytestmark = pytest.mark.anyio

ERAS: Final[tuple[ConnectMode, ...]] = ("auto", "legacy")
SERVER: Final = Path(long.__file__)
AGENTS: Final[Mapping[str, Sequence[str | Json]]] = {"me": ("long__*",), "other": ("long__*",)}
COUNT: Final = 900
"""Rows that are more than 25,000 tokens."""


def server(home: Path, **more: Any) -> Json:
    return {"connect": {"command": [sys.executable, str(SERVER), str(home / "taken")]}, **more}


@asynccontextmanager
async def long_room(home: Path, *, agents: Mapping[str, Any] = AGENTS, **more: Any) -> AsyncIterator[Room]:
    home.mkdir(exist_ok=True)
    async with room(home, {"long": server(home)}, agents=agents, **more) as it:
        yield it


def rows(count: int) -> Any:
    return json.loads(json.dumps(long.rows(count)))


async def use(client: Client, name: str, **arguments: Any) -> Json:
    result = await client.call_tool(name, arguments)
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def read(client: Client, id: str, **arguments: Any) -> Any:
    result = await use(client, "hub__read", id=id, **arguments)
    assert not result["isError"], result
    return json.loads(result["content"][0]["text"])


async def refused(client: Client, name: str, **arguments: Any) -> str:
    result = await use(client, name, **arguments)
    assert result["isError"], result
    said: str = result["content"][0]["text"]
    return said


def id_of(result: Json) -> str:
    id: str = result["_meta"]["hub/result"]["id"]
    return id


def taken(home: Path) -> list[Any]:
    """What the server's `take` and `count` were called with."""
    return [json.loads(line) for line in (home / "taken").read_text().splitlines()]


def names(tools: Any) -> set[str]:
    return {tool.name for tool in tools.tools}


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


# Whose it is


async def test_another_agent_s_result_does_not_exist_nor_does_one_that_its_token_is_not_good_for(
    tmp_path: Path,
) -> None:
    async with long_room(tmp_path) as it:
        scope = scopes.written(["long__take", "hub__read"])
        it.tokens["child"] = (await it.identities.issue("me", Terms(scope)))[1]
        async with it.client("auto") as client:
            id = id_of(await use(client, "long__rows", count=COUNT))
        for agent in ("other", "child"):
            async with it.client("auto", agent) as client:
                said = await refused(client, "hub__read", id=id)
                unknown = await refused(client, "hub__read", id="0" * 26)
                assert said == unknown.replace("0" * 26, id)
                with pytest.raises(Exception, match="Resource not found"):
                    await client.read_resource(f"hub://results/{id}")
                argument = {"$result": id, "at": "/items/0"}
                said = await refused(client, "long__take", a=argument)
                assert "There is no result" in said and "Nothing was sent" in said
        assert not (tmp_path / "taken").exists()


async def test_a_token_of_less_reads_what_was_got_with_it_and_its_agent_reads_all(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it:
        for name in ("child", "sibling"):
            it.tokens[name] = (await it.identities.issue("me", Terms(scopes.written(["long__rows"]))))[1]
        async with it.client("auto", "child") as client:
            assert names(await client.list_tools()) == {"long__rows", "hub__read"}
            id = id_of(await use(client, "long__rows", count=COUNT))
            assert (await read(client, id, at="/total"))["value"] == COUNT
        async with it.client("auto", "sibling") as client:
            assert "There is no result" in await refused(client, "hub__read", id=id)
        async with it.client("auto") as client:
            assert (await read(client, id, at="/total"))["value"] == COUNT


async def test_a_result_that_was_shared_is_read_by_whom_it_was_shared_with(tmp_path: Path) -> None:
    lends = {"use": "hub__session", "with": {"with": {"type": "string"}}}
    agents = {"me": ("long__*", "hub__session", lends), "other": ("long__*",), "third": ("long__*",)}
    async with long_room(tmp_path, agents=agents) as it:
        async with it.client("auto") as client:
            id = id_of(await use(client, "long__rows", count=COUNT))
            shared = await use(client, "hub__session", action="share", results=[id], **{"with": "other"})
            assert not shared["isError"], shared
        async with it.client("auto", "other") as client:
            assert (await read(client, id, at="/total"))["value"] == COUNT
        async with it.client("auto", "third") as client:
            assert "There is no result" in await refused(client, "hub__read", id=id)


async def test_what_a_task_ends_with_is_shortened_as_well(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it:
        agent = it.identities.local("me")
        session = await it.app.sessions.open(agent, kind="local", version="", client={}, capabilities={})
        made = it.app.hub.new_call(agent, session.id, "tools/call", {"name": "long__rows"})

        async def done(call: Call) -> Result:
            return {"taskId": "1", "status": "completed", "result": long.called("rows", {"count": COUNT})}

        shorten = Shorten(lambda call: 1000, it.app.results.keep)
        result = await shorten(replace(made, method="tasks/get"), done)
        assert (result["taskId"], result["status"]) == ("1", "completed")
        assert tokens(encode(result["result"]).decode()) <= 500


async def test_a_result_that_cannot_be_kept_is_given_whole(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        await it.app.store.write(
            lambda connection: (
                connection.execute(
                    "CREATE TRIGGER full BEFORE INSERT ON result_parts BEGIN SELECT RAISE(ABORT, 'full'); END"
                )
                and None
            )
        )
        result = await use(client, "long__rows", count=COUNT)
        assert json.loads(result["content"][0]["text"]) == rows(COUNT)


async def test_a_result_is_there_after_a_restart_and_goes_with_its_session(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        id = id_of(await use(client, "long__rows", count=COUNT))
    async with long_room(tmp_path) as it, it.client("auto") as client:
        assert (await read(client, id, at="/total"))["value"] == COUNT
        row = await it.app.store.read(lambda connection: table.get_result(connection, id))
        assert row is not None
        await it.app.store.write(lambda connection: table.delete_of_session(connection, row.session))
        assert "There is no result" in await refused(client, "hub__read", id=id)


class _Clock(SystemEnv):
    """Goes as the system's, some time ahead."""

    __slots__ = ("ahead",)

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def now(self) -> float:
        return time.time() + self.ahead


async def test_what_is_old_goes_and_the_oldest_where_an_agent_has_too_much(tmp_path: Path) -> None:
    env = _Clock()
    settings = Settings(results=ResultSettings(keep_seconds=3600.0, size_bytes=300_000))
    async with long_room(tmp_path, settings=settings, env=env) as it:
        store = it.app.store
        async with it.client("auto", "other") as client:
            await use(client, "long__rows", count=COUNT)
        async with it.client("auto") as client:
            ids = [id_of(await use(client, "long__rows", count=COUNT + more)) for more in range(4)]
            kept = await store.read(lambda connection: table.list_results(connection, agent="me"))
            assert [row.id for row in kept] == [ids[3], ids[2]]
            others = await store.read(lambda connection: table.list_results(connection, agent="other"))
            assert len(others) == 1
            assert "There is no result" in await refused(client, "hub__read", id=ids[0])
            env.ahead = 3601.0
            id = id_of(await use(client, "long__text", count=9000))
            await it.app.results.sweep()
            kept = await store.read(lambda connection: table.list_results(connection))
            assert [row.id for row in kept] == [id]
            parts = await store.read(
                lambda connection: connection.execute("SELECT DISTINCT result FROM result_parts").fetchall()
            )
            assert parts == [(id,)]


async def test_a_result_whose_writing_was_cut_off_is_not_there_and_goes_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        id = id_of(await use(client, "long__rows", count=COUNT))
        await it.app.store.write(
            lambda connection: connection.execute("UPDATE results SET complete = 0") and None
        )
        assert "There is no result" in await refused(client, "hub__read", id=id)
    async with long_room(tmp_path) as it:
        count = "SELECT (SELECT count(*) FROM results) + (SELECT count(*) FROM result_parts)"
        assert await it.app.store.read(lambda connection: connection.execute(count).fetchone()) == (0,)


# By reference


async def test_a_reference_is_filled_in_wherever_it_stands_and_the_record_has_both(tmp_path: Path) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        id = id_of(await use(client, "long__rows", count=COUNT))
        item = rows(COUNT)["items"][3]
        sent = {
            "one": {"$result": id, "at": "/items/3"},
            "deep": [{"x": {"$result": id, "at": "/items/3/name"}}, 1],
        }
        await use(client, "long__take", **sent)
        assert taken(tmp_path) == [{"take": {"one": item, "deep": [{"x": "row 3"}, 1]}}]
        row = next(row for row in await calls(it) if row["tool"] == "long__take")
        assert json.loads(row["params"])["arguments"] == sent
        uses = await it.app.store.read(lambda connection: table.uses_of(connection, row["id"]))
        assert [(use.result, use.pointer, use.place) for use in uses] == [
            (id, "/items/3", "/one"), (id, "/items/3/name", "/deep/0/x"),
        ]  # fmt: skip
        assert json.loads(uses[0].labels) == ["server:long"]
        assert uses[0].size_bytes == len(encode(item))
        await it.app.parts.flush()
        shown = await it.app.store.read(partial(trace.call, id=row["id"]))
        assert shown["references"][1]["at"] == "/items/3/name"
        assert shown["sent"]["arguments"] == {"one": item, "deep": [{"x": "row 3"}, 1]}


async def calls(it: Room) -> list[Json]:
    def look(connection: sqlite3.Connection) -> list[Json]:
        cursor = connection.execute("SELECT id, tool, params, state, reason FROM calls ORDER BY id DESC")
        return [dict(zip(("id", "tool", "params", "state", "reason"), row, strict=True)) for row in cursor]

    return await it.app.store.read(look)


async def test_what_is_filled_in_is_judged_by_the_tool_s_schema_and_names_the_argument(
    tmp_path: Path,
) -> None:
    async with long_room(tmp_path) as it, it.client("auto") as client:
        id = id_of(await use(client, "long__rows", count=COUNT))
        said = await refused(client, "long__count", number={"$result": id, "at": "/items/4/name"})
        assert 'number: "row 4" is not of type "integer"' in said
        said = await refused(client, "long__count", number={"$result": id, "at": "/items/4/idd"})
        assert "The argument at '/number': There is nothing at '/items/4/idd'" in said
        assert "Did you mean '/items/4/id'?" in said
        said = await refused(client, "long__count", number={"$result": id, "path": "/items/4/id"})
        assert "is no reference" in said
        await use(client, "long__count", number={"$result": id, "at": "/items/4/id"}, among={"$result": 5})
        assert taken(tmp_path) == [{"count": {"number": 4, "among": {"$result": 5}}}]


async def test_rules_judge_what_is_filled_in_and_a_tool_that_is_not_granted_looks_unknown(
    tmp_path: Path,
) -> None:
    rule = {"use": "long__count", "with": {"number": {"maximum": 5}}}
    async with long_room(tmp_path, agents={"me": ("long__rows", rule)}) as it, it.client("auto") as client:
        id = id_of(await use(client, "long__rows", count=COUNT))
        said = await refused(client, "long__count", number={"$result": id, "at": "/items/6/id"})
        assert "number" in said and "5" in said
        await use(client, "long__count", number={"$result": id, "at": "/items/5/id"})
        assert taken(tmp_path) == [{"count": {"number": 5}}]
        for pointer in ("/items/1", "/nowhere"):
            answers = []
            for name in ("long__take", "long__gone"):
                with pytest.raises(Exception) as caught:
                    await client.call_tool(name, {"a": {"$result": id, "at": pointer}})
                answers.append(str(caught.value).replace(name, "NAME"))
            assert answers[0] == answers[1]


async def test_labels_of_what_was_filled_in_go_on_into_what_comes_of_it(tmp_path: Path) -> None:
    tagged = server(tmp_path, tools={"override": {"rows": {"tags": ["private"]}}})
    servers = {"long": tagged, "two": server(tmp_path)}
    async with (
        room(tmp_path, servers, agents={"me": ("long__*", "two__*")}) as it,
        it.client("auto") as client,
    ):
        id = id_of(await use(client, "long__rows", count=COUNT))
        result = await use(client, "two__text", count=9000, because={"$result": id, "at": "/total"})
        other = await use(client, "two__text", count=9001)
        labels = {}
        for each in (result, other):
            row = await it.app.store.read(partial(table.get_result, id=id_of(each)))
            assert row is not None
            labels[row.id] = json.loads(row.labels)
        assert labels[id_of(result)] == ["server:long", "server:two", "tag:private"]
        assert labels[id_of(other)] == ["server:two"]


# Large


def test_a_handle_that_was_given_outlives_kill_9_of_the_hub(tmp_path: Path) -> None:
    write(tmp_path, "me", agent="me", may=["long__*"])
    write(tmp_path, "long", server="long", **server(tmp_path))
    with running(tmp_path) as hub:
        agent = _Agent(hub)
        id = id_of(agent.use("long__rows", count=COUNT))
        agent.close()
        assert hub.end(signal.SIGKILL) == -signal.SIGKILL
    with running(tmp_path) as hub:
        agent = _Agent(hub)
        found = agent.use("hub__read", id=id, at="/items/7/name")
        assert json.loads(found["content"][0]["text"])["value"] == "row 7"
        agent.close()


def test_a_result_of_50_mb_is_500_tokens_and_takes_bounded_memory(tmp_path: Path) -> None:
    size, count = 50_000_000, 360_000
    write(tmp_path, "me", agent="me", may=["long__*"])
    write(tmp_path, "long", server="long", **server(tmp_path), limits={"call": "2m"})
    with running(tmp_path) as hub:
        hub.until("long: ready")
        agent = _Agent(hub)
        agent.use("long__rows", count=1000)
        before = _memory(hub.pid, "VmRSS")
        result = agent.use("long__rows", count=count)
        assert tokens(json.dumps(result)) <= 500
        id = result["_meta"]["hub/result"]["id"]
        found = agent.use("hub__read", id=id, at=f"/items/{count - 1}/name")
        assert json.loads(found["content"][0]["text"])["value"] == f"row {count - 1}"
        peak = _memory(hub.pid, "VmHWM")
        agent.close()
    with sqlite3.connect(tmp_path / ".hub" / "hub.db") as connection:
        (kept,) = connection.execute("SELECT max(size_bytes) FROM results").fetchone()
    assert kept > size
    if peak is not None and before is not None:
        assert peak - before < 6 * kept


class _Agent:
    """Speaks with a hub in a process of its own, in the older era."""

    def __init__(self, hub: Running) -> None:
        host, _, port = hub.url.split("/")[2].partition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=120)
        self._headers = {
            "authorization": f"Bearer {token(hub.home)}",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        self._post(message("initialize", INITIALIZE))

    def _post(self, body: Json) -> Json:
        self._connection.request("POST", "/mcp", json.dumps(body).encode(), self._headers)
        response = self._connection.getresponse()
        session = response.headers.get("mcp-session-id")
        if session is not None:
            self._headers |= {"mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
        answered: Json = json.loads(response.read())
        return answered

    def use(self, name: str, **arguments: Any) -> Json:
        result: Json = self._post(message("tools/call", {"name": name, "arguments": arguments}))["result"]
        return result

    def close(self) -> None:
        self._connection.close()


def _memory(pid: int, field: str) -> int | None:
    """Bytes; `None` where nobody says."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024
