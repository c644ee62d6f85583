"""Real servers behind the real command, in both eras and on both wires: the same as without a hub between."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.client import ConnectMode
from mcp_types import INVALID_PARAMS, TextContent

from tests.commands import SECONDS
from tests.homes import (
    LEGACY,
    MODERN,
    Running,
    command,
    done,
    install,
    make_home,
    outcome,
    over_http,
    running,
    shape,
    stdio,
    token,
    write,
)

pytestmark = pytest.mark.anyio

CONVERT = {"source_timezone": "UTC", "time": "09:30", "target_timezone": "Asia/Tokyo"}
ERAS = pytest.mark.parametrize(("mode", "version"), [("auto", MODERN), ("legacy", LEGACY)])
WIRES = pytest.mark.parametrize("wire", ["http", "stdio"])
WHO = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@dataclass
class Place:
    hub: Running
    home: Path
    token: str
    repository: Path
    """A git repository with one commit."""
    programs: dict[str, list[str]]
    """How to start each server by itself."""

    @property
    def calls(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Server, tool, arguments: what works, and what the server itself says no to."""
        return [
            ("time", "convert_time", CONVERT),
            ("time", "convert_time", {**CONVERT, "time": "tea time"}),
            ("git", "git_log", {"repo_path": str(self.repository), "max_count": 3}),
            ("git", "git_status", {"repo_path": str(self.repository)}),
            ("git", "git_status", {"repo_path": "/nowhere"}),
            ("git", "git_status", {"wrong": 1}),
        ]

    @asynccontextmanager
    async def client(self, wire: str, mode: ConnectMode, agent: str = "me") -> AsyncIterator[Client]:
        with anyio.fail_after(SECONDS):
            if wire == "http":
                async with over_http(self.hub.url, self.token, mode) as client:
                    yield client
            else:
                async with Client(stdio(self.home, agent), mode=mode) as client:
                    yield client


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    programs = install("time", "git")
    folder = tmp_path_factory.mktemp("place")
    home = make_home(folder / "home", "time", "git", "notes")
    write(home, "me", agent="me", may=["*"], never=["hub__*"])
    write(home, "narrow", agent="narrow", may=["time__*"], never=["time__get_current_time", "hub__*"])
    repository = folder / "repository"
    for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "tea"]):
        repository.mkdir(exist_ok=True)
        subprocess.run(["git", *arguments], cwd=repository, check=True, env={**os.environ, **WHO})
    with running(home) as it:
        for name in ("time", "git", "notes"):
            it.until(f"{name}: ready")
        yield Place(it, home, token(home), repository, programs)


@dataclass
class Direct:
    """What the servers say without a hub between."""

    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcomes: list[Any] = field(default_factory=list)


@pytest.fixture(scope="module")
def direct(place: Place) -> dict[str, Direct]:
    """By mode."""
    return {mode: anyio.run(_ask_directly, place, mode) for mode in ("auto", "legacy")}


async def _ask_directly(place: Place, mode: ConnectMode) -> Direct:
    said = Direct()
    with anyio.fail_after(SECONDS):
        async with (
            Client(command(place.programs["time"]), mode=mode) as time,
            Client(command(place.programs["git"]), mode=mode) as git,
        ):
            clients = {"time": time, "git": git}
            for name, client in clients.items():
                for tool in (await client.list_tools()).tools:
                    said.tools[f"{name}__{tool.name}"] = shape(tool)
            for name, own, arguments in place.calls:
                said.outcomes.append(undated(await outcome(clients[name], own, arguments)))
    return said


def undated(said: Any) -> str:
    """The same on any day, as one may end between two calls."""
    return re.sub(r"\d{4}-\d\d-\d\d|\b\w+day\b", "today", json.dumps(said, sort_keys=True))


@ERAS
@WIRES
async def test_tools_are_listed_and_called_as_without_a_hub(
    place: Place, direct: dict[str, Direct], wire: str, mode: ConnectMode, version: str
) -> None:
    """Ours: what a server says passes whole, its own refusals too; only the name has a prefix."""
    async with place.client(wire, mode) as client:
        assert client.protocol_version == version
        listed = {tool.name: shape(tool) for tool in (await client.list_tools()).tools}
        assert {name: said for name, said in listed.items() if not name.startswith("notes__")} == direct[
            mode
        ].tools
        for (name, own, arguments), expected in zip(place.calls, direct[mode].outcomes, strict=True):
            assert undated(await outcome(client, f"{name}__{own}", arguments)) == expected


@ERAS
@WIRES
async def test_a_python_server_is_used_as_any_other(
    place: Place, wire: str, mode: ConnectMode, version: str
) -> None:
    name = f"{wire}-{mode}"
    async with place.client(wire, mode) as client:
        kept = await client.call_tool("notes__write_note", {"name": name, "text": "tea"})
        assert kept.content == [TextContent(text=f"Kept '{name}'.")]
        read = await client.call_tool("notes__read_note", {"name": name})
        assert (read.is_error, read.structured_content) == (False, {"result": "tea"})
        missing = await client.call_tool("notes__read_note", {"name": "nothing"})
        assert missing.is_error
        assert "There is no note 'nothing'." in str(missing.content)


@ERAS
@WIRES
async def test_an_agent_with_few_rights_has_no_others_on_any_way(
    place: Place, wire: str, mode: ConnectMode, version: str
) -> None:
    narrow = Place(place.hub, place.home, token(place.home, "narrow"), place.repository, place.programs)
    async with narrow.client(wire, mode, "narrow") as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["time__convert_time"]
        assert not (await client.call_tool("time__convert_time", CONVERT)).is_error
        refusals = []
        for name in ("time__get_current_time", "git__git_reset", "time__nothing"):
            with pytest.raises(MCPError) as refused:
                await client.call_tool(name, {"timezone": "Europe/Prague"})
            assert refused.value.code == INVALID_PARAMS
            refusals.append(str(refused.value).replace(name, "NAME"))
        assert len(set(refusals)) == 1


@WIRES
async def test_a_call_is_in_the_record_with_its_session_once_it_is_answered(place: Place, wire: str) -> None:
    async with place.client(wire, "auto") as client:
        await client.call_tool("time__convert_time", {**CONVERT, "time": "12:34"})
        newest = done(place.home, "calls", "list", "--limit", "1", "--json").json[0]
        assert (newest["tool"], newest["agent"], newest["state"]) == ("time__convert_time", "me", "done")
        shown = done(place.home, "calls", "show", newest["id"], "--json").json
        assert shown["params"]["arguments"]["time"] == "12:34"
        session = done(place.home, "sessions", "show", newest["session"], "--json").json
        assert session["agent"] == "me"
