"""Arguments that refer to a result: filled in, judged and recorded."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from connectors.jsonrpc import encode
from hub.commands import trace
from hub.store import results as table
from tests.hub_room import room
from tests.long_room import COUNT, calls, id_of, long_room, refused, rows, server, taken, use

pytestmark = pytest.mark.anyio


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
