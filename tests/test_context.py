"""A brief of a session is what its agent needs most, and never longer than it may be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from connectors.jsonrpc import encode
from hub.brief import Section, brief
from hub.model import Json
from hub.results.count import COUNTER, tokens
from tests.builtin_room import SHARED, Agent, agents
from tests.hub_room import room
from tests.sources import ROOT

LINES = some.lists(some.text(alphabet="abc é€😀", min_size=1, max_size=60), max_size=8)
SECTIONS = some.lists(
    some.builds(
        Section,
        some.sampled_from(["", "Notes", "Über"]),
        LINES,
        some.sampled_from(["notes", "calls"]),
        some.sampled_from(["here", "there"]),
    ),
    max_size=6,
)


@given(SECTIONS, some.integers(1, 200))
def test_a_brief_is_never_longer_than_its_budget(sections: list[Section], budget: int) -> None:
    text = brief(sections, budget)
    assert 0 < tokens(text) <= budget or not any(section.lines for section in sections)


@given(SECTIONS, some.integers(1, 200))
def test_what_is_in_a_brief_is_the_beginning_of_each_section_in_order(
    sections: list[Section], budget: int
) -> None:
    # Lines that say where they are from.
    marked = [
        Section(
            each.title, [f"{index}.{place} {line}" for place, line in enumerate(each.lines)], each.noun, ""
        )
        for index, each in enumerate(sections)
    ]
    lines = [line for line in brief(marked, budget).split("\n") if line[:1].isdigit() and "." in line[:3]]
    found = [tuple(int(part) for part in line.split(" ")[0].split(".")) for line in lines]
    assert found == sorted(found)
    for index in range(len(marked)):
        places = [place for of, place in found if of == index]
        assert places == list(range(len(places)))


@given(SECTIONS)
def test_with_room_for_all_nothing_is_left_out(sections: list[Section]) -> None:
    text = brief(sections, 100_000)
    if any(section.lines for section in sections):
        assert "Left out" not in text
        assert all(line in text for section in sections for line in section.lines)


def test_a_brief_says_what_is_left_out_and_where_to_read_it() -> None:
    sections = [
        Section("", ["# Session s"]),
        Section("Notes", [f"- note {n} {'x' * 40}" for n in range(9)], "notes", "ask for more"),
        Section("Values", ["- v"] * 3, "values", "search"),
    ]
    text = brief(sections, 60)
    assert text.startswith("# Session s\n## Notes\n- note 0 ")
    last = text.split("\n")[-1]
    assert last.startswith(f"Left out to stay within 60 tokens ({COUNTER}): ")
    assert last.endswith(": notes: 7 (ask for more).")
    assert text.count("- v\n") == 3, "another section goes on"
    assert brief(sections, 1) == "..."
    assert brief(sections, 5) == "Ask for 300 tokens."


@pytest.mark.anyio
async def test_the_context_of_a_session_says_where_it_stands(tmp_path: Path) -> None:
    ledger = [sys.executable, str(ROOT / "tests" / "servers" / "ledger.py"), str(tmp_path)]
    servers: Json = {"ledger": {"trust": "annotations", "connect": {"command": ledger}}}
    grants: Any = {"me": ("*",), "asker": ("hub__*", {"use": "ledger__append", "ask": "human"})}
    async with (
        room(tmp_path / "home", servers, agents=grants) as it,
        it.http() as http,
        it.http("asker") as h2,
    ):
        me, asker = Agent(it, http), Agent(it, h2)
        await me.done("session", action="open", name="release", goal="Ship version 2")
        for key in ("a", "b", "b"):
            answer = await me.ask("tools/call", {"name": "ledger__look", "arguments": {"key": key}})
            assert "result" in answer
        await me.ask("tools/call", {"name": "ledger__nothing", "arguments": {}})
        await me.done("session", action="note", text="The tag\nis v2.0")
        call = (await it.app.store.read(last_call))[0]
        await me.done("session", action="note", pin=call)
        await me.done("memory", action="put", key="version", value={"major": 2})
        await me.done("memory", action="put", key="lunch", value="soup", scope="agent")
        text = await me.done("context")
        assert text.startswith("# Session release (")
        order = [
            "## Goal\nShip version 2",
            "## Notes",
            "- The tag is v2.0",
            "## Pinned",
            call,
            "## Called so far",
        ]
        order += [
            "- ledger__look: 3 done",
            "## Calls",
            '{"key":"b"}: done -> b',
            "## Kept values",
            '{"major":2}',
        ]
        places = [text.index(part) for part in order]
        assert places == sorted(places)
        assert "lunch" not in text and "hub__session" not in text
        assert "ledger__nothing" in text and "failed" not in text.split("## Calls")[0].split("## Called")[0]
        assert "soup" in await me.done("context", query="lunch")
        for budget in (1, 10, 30, 60, 100, 200):
            short = await me.done("context", tokens=budget)
            assert tokens(short) <= budget
        prompt = await me.ask("prompts/get", {"name": "hub__context", "arguments": {"tokens": "60"}})
        assert tokens(prompt["result"]["messages"][0]["content"]["text"]) <= 60
        wrong = await me.ask("prompts/get", {"name": "hub__context", "arguments": {"tokens": "many"}})
        assert "error" in wrong
        await me.done("session", action="open", name="next", goal="Rest")
        assert "## Your other sessions\n- release, last used " in await me.done("context")
        # What waits for a person.
        asker.meta = {
            "io.modelcontextprotocol/clientCapabilities": {
                "extensions": {"io.modelcontextprotocol/tasks": {}}
            }
        }
        waits = await asker.ask("tools/call", {"name": "ledger__append", "arguments": {"key": "k"}})
        assert waits["result"]["resultType"] == "task"
        text = await asker.done("context")
        assert "- ledger__append waits for a person since" in text
        assert "Ship" not in text and "v2.0" not in text


def last_call(connection: Any) -> Any:
    return connection.execute("SELECT id FROM calls WHERE tool = 'ledger__look' ORDER BY id DESC").fetchone()


@pytest.mark.anyio
async def test_what_is_pinned_of_another_agent_is_not_shown(tmp_path: Path) -> None:
    async with agents(tmp_path, "me", "other") as (it, me, other):
        await other.done("memory", action="put", key="k", value="a secret of theirs")
        theirs = (await it.app.store.read(lambda c: c.execute("SELECT id FROM calls").fetchall()))[0][0]
        await me.done("session", action="note", pin=theirs)
        text = await me.done("context")
        assert f"- {theirs}: there is nothing of this id" in text
        assert "secret" not in text
        assert encode(SHARED)
