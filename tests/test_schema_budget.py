"""Definitions of tools that are too much are left out, say why, and cost nobody anything."""

from __future__ import annotations

import time
from typing import Any

import anyio
import anyio.lowlevel
import jsonschema_rs
import pytest

from hub.catalog import Catalog, Offer
from hub.schema_budget import EXPANDED_MAX, VALUES_MAX, too_much
from hub.upstreams.learn import learn

BOMB = {
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/a20"}},
    "$defs": {
        "a0": {"type": "string"},
        **{f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n - 1}"}] * 2} for n in range(1, 21)},
    },
}
CHAIN = {
    "type": "object",
    "$defs": {"a0": {}, **{f"a{n}": {"$ref": f"#/$defs/a{n - 1}"} for n in range(1, 5000)}},
    "$ref": "#/$defs/a4999",
}
TREE = {
    "type": "object",
    "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#/$defs/node"}},
    "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}},
}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


def tool(schema: Any, name: str = "tool") -> dict[str, Any]:
    return {"name": name, "inputSchema": schema}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (BOMB, "references"),
        (CHAIN, "references"),
        (deep(40), "deep"),
        ({"type": "object", "enum": list(range(VALUES_MAX + 1))}, "larger"),
        ({"type": "object", "description": "x" * 300_000}, "larger"),
        ({"type": "object", "properties": {"x": {"pattern": "(a|b)*" * 300}}}, "pattern"),
        ({"type": "object", "properties": {"x": {"pattern": "((a{100}){100}){10}"}}}, "repetitions"),
        ({"type": "object", "patternProperties": {"((a{100}){100}){10}": {}}}, "repetitions"),
        (
            {
                "type": "object",
                "$defs": {"a": {"pattern": "a{15000}"}},
                "allOf": [{"$ref": "#/$defs/a"}] * 10,
            },
            "references",
        ),
    ],
    ids=["references", "chain", "depth", "values", "text", "pattern", "repeated", "names", "many"],
)
def test_a_schema_bomb_is_too_much_and_that_is_found_quickly(schema: Any, why: str) -> None:
    began = time.process_time()
    found = too_much(tool(schema))
    assert found is not None and why in found
    assert time.process_time() - began < 2


@pytest.mark.parametrize("schema", [{"type": "object"}, TREE, deep(20)], ids=["plain", "recursive", "nested"])
def test_what_real_tools_say_is_not_too_much(schema: Any) -> None:
    assert too_much(tool(schema)) is None
    assert EXPANDED_MAX > 1000


class Server:
    """A link to a server with these tools."""

    def __init__(self, tools: list[Any]) -> None:
        self.tools = tools
        self.peer = self
        self.version, self.info, self.instructions = "2025-11-25", dict[str, Any](), None
        self.capabilities: dict[str, Any] = {"tools": {}}

    async def request(self, method: str, params: Any) -> Any:
        return {"tools": self.tools}


@pytest.mark.anyio
async def test_of_a_server_with_a_bomb_the_other_tools_are_offered_and_the_bomb_says_why() -> None:
    known = await learn(Server([tool(BOMB, "bomb"), tool({"type": "object"}, "tea")]), None, None)  # type: ignore[arg-type]
    catalog = Catalog.build([Offer("shop", definitions=known.definitions)], 1)
    assert [entry.name for entry in catalog.entries["tool"]] == ["shop__tea"]
    assert [(each.name, "references" in each.why) for each in catalog.left_out] == [("bomb", True)]


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[\w.+-]{1,64}@[\w-]{1,255}(\.[a-z]{2,63}){1,8}$",
        r"^.{1,4096}$",
        r"\{5\}[]{9]{3}\p{L}{2}",
        "(((",
        ")))",
        "x{",
    ],
)
def test_the_patterns_of_real_tools_are_not_too_much(pattern: str) -> None:
    properties = {f"p{number}": {"type": "string", "pattern": pattern} for number in range(4)}
    assert too_much(tool({"type": "object", "properties": properties})) is None


@pytest.mark.anyio
async def test_the_event_loop_goes_on_while_large_definitions_are_looked_at() -> None:
    large = tool({"type": "object", "enum": list(range(VALUES_MAX - 100))})
    turns = 0
    async with anyio.create_task_group() as tasks:

        async def turn() -> None:
            nonlocal turns
            while True:
                await anyio.lowlevel.checkpoint()
                turns += 1

        tasks.start_soon(turn)
        known = await learn(Server([large] * 99), None, None)  # type: ignore[arg-type]
        tasks.cancel_scope.cancel()
    assert len(known.definitions["tool"]) == 99
    assert turns > 30


def test_a_pattern_that_would_take_for_ever_ends_soon() -> None:
    """What `check: arguments` compiles schemas with."""
    options = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000)
    schema = {"type": "string", "pattern": r"^(?:(a|aa)+)\1$"}
    began = time.process_time()
    assert not jsonschema_rs.validator_for(schema, pattern_options=options).is_valid("a" * 60 + "!")
    assert time.process_time() - began < 2
