"""Real servers from npm behind the real command: `everything` and `filesystem`, which speak the older era.

Agents of both eras use them. Without node these tests are skipped; where CI runs, they fail.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.client import ConnectMode

from tests.commands import SECONDS
from tests.homes import (
    INSTALL_SECONDS,
    Running,
    command,
    done,
    eventually,
    install,
    make_home,
    need_node,
    outcome,
    over_http,
    running,
    shape,
    stdio,
    token,
    write,
)

pytestmark = pytest.mark.anyio

MODES: list[ConnectMode] = ["auto", "legacy"]
LONG = "trigger-long-running-operation"
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("everything", "echo", {"message": "tea 🫖"}),
    ("everything", "get-sum", {"a": 2, "b": 40.5}),
    ("everything", "get-sum", {"a": "two"}),
    ("everything", "get-structured-content", {"location": "Chicago"}),
    ("everything", "get-annotated-message", {"messageType": "error", "includeImage": True}),
    ("everything", "get-tiny-image", {}),
    ("everything", "get-resource-links", {"count": 3}),
    ("filesystem", "list_allowed_directories", {}),
    ("filesystem", "list_directory", {"path": "examples/files"}),
    ("filesystem", "read_text_file", {"path": "examples/files/hello.txt"}),
    ("filesystem", "read_text_file", {"path": "/etc/hostname"}),
]


@dataclass
class Place:
    hub: Running
    home: Path
    token: str
    programs: dict[str, list[str]]
    heard: Path
    """All that the hub wrote to the server `tapped`."""

    @asynccontextmanager
    async def client(self, wire: str, mode: ConnectMode) -> AsyncIterator[Client]:
        with anyio.fail_after(SECONDS):
            if wire == "http":
                async with over_http(self.hub.url, self.token, mode) as client:
                    yield client
            else:
                async with Client(stdio(self.home), mode=mode) as client:
                    yield client


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    need_node()
    programs = install("everything", "filesystem")
    folder = tmp_path_factory.mktemp("place")
    home = make_home(folder / "home", "everything", "filesystem")
    (home / "examples" / "files" / "hello.txt").write_text("tea\n")
    heard = folder / "heard.jsonl"
    tapped = f"tee {shlex.quote(str(heard))} | {shlex.join(programs['everything'])}"
    write(home, "tapped", server="tapped", connect={"command": ["sh", "-c", tapped]}, tools={"allow": [LONG]})
    write(home, "me", agent="me", may=["*"], never=["hub__*"])
    with running(home) as it:
        for name in ("everything", "filesystem", "tapped"):
            it.until(f"{name}: ready", INSTALL_SECONDS)
        yield Place(it, home, token(home), programs, heard)


@asynccontextmanager
async def alone(place: Place, name: str) -> AsyncIterator[Client]:
    """One server without a hub between."""
    more = ["examples/files"] if name == "filesystem" else []
    with anyio.fail_after(SECONDS):
        async with Client(command([*place.programs[name], *more], place.home), mode="legacy") as client:
            yield client


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wire", ["http", "stdio"])
async def test_tools_are_listed_and_called_as_without_a_hub(
    place: Place, wire: str, mode: ConnectMode
) -> None:
    async with place.client(wire, mode) as client:
        listed = {tool.name: shape(tool) for tool in (await client.list_tools()).tools}
        del listed[f"tapped__{LONG}"]
        async with alone(place, "everything") as everything, alone(place, "filesystem") as filesystem:
            servers = {"everything": everything, "filesystem": filesystem}
            for name, server in servers.items():
                for tool in (await server.list_tools()).tools:
                    assert listed.pop(f"{name}__{tool.name}") == shape(tool)
            assert listed == {}
            for name, own, arguments in CALLS:
                expected = await outcome(servers[name], own, arguments)
                assert await outcome(client, f"{name}__{own}", arguments) == expected


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wire", ["http", "stdio"])
async def test_resources_templates_and_prompts_are_listed_and_used_as_without_a_hub(
    place: Place, wire: str, mode: ConnectMode
) -> None:
    async with place.client(wire, mode) as client, alone(place, "everything") as server:
        theirs = (await server.list_resources()).resources
        ours = (await client.list_resources()).resources
        offered = [said.uri for said in theirs]
        # `tapped` is the same server once more: what is taken already is told apart by the server's name.
        assert [said.uri for said in ours] == [*offered, *(f"hub+tapped:{uri}" for uri in offered)]
        for said in theirs[:2]:
            read = await client.read_resource(said.uri)
            assert read.contents == (await server.read_resource(said.uri)).contents
        templates = (await client.list_resource_templates()).resource_templates
        expected = (await server.list_resource_templates()).resource_templates
        assert [said.uri_template for said in templates][: len(expected)] == [
            said.uri_template for said in expected
        ]
        one = await client.read_resource("demo://resource/dynamic/text/7")
        assert one.contents[0].uri == "demo://resource/dynamic/text/7"
        assert "Resource 7" in str(one.contents[0])
        prompts = {said.name: said.arguments for said in (await client.list_prompts()).prompts}
        for prompt in (await server.list_prompts()).prompts:
            assert prompts.pop(f"everything__{prompt.name}") == prompt.arguments
        assert all(name.startswith("tapped__") for name in prompts)
        arguments = {"city": "Brno"}
        got = await client.get_prompt("everything__args-prompt", arguments)
        assert got.messages == (await server.get_prompt("args-prompt", arguments)).messages


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wire", ["http", "stdio"])
async def test_progress_of_a_long_call_reaches_the_agent(place: Place, wire: str, mode: ConnectMode) -> None:
    """A server of the older era reports to its own token; the agent gets it under the agent's."""
    told: list[tuple[float, float | None]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total))

    async with place.client(wire, mode) as client:
        result = await client.call_tool(
            f"everything__{LONG}", {"duration": 0.3, "steps": 3}, progress_callback=tell
        )
        assert not result.is_error
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wire", ["http", "stdio"])
async def test_a_call_that_its_agent_cancels_is_cancelled_at_the_server(
    place: Place, wire: str, mode: ConnectMode
) -> None:
    mark = 50 + MODES.index(mode) + 2 * (wire == "stdio")
    under_way = anyio.Event()

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        under_way.set()

    async with place.client(wire, mode) as client:
        async with anyio.create_task_group() as tasks:
            arguments = {"duration": mark, "steps": mark * 20}
            long = partial(client.call_tool, f"tapped__{LONG}", arguments, progress_callback=tell)
            tasks.start_soon(long)
            await under_way.wait()
            tasks.cancel_scope.cancel()
        await eventually(partial(is_cancelled, place, mark))
        await eventually(lambda: newest(place)["state"] != "intended")
        call = newest(place)
        # The tool is not trusted to change nothing: what it did before it was cancelled is not known.
        assert (call["tool"], call["state"], call["kind"]) == (f"tapped__{LONG}", "unknown", "cancelled")


def newest(place: Place) -> dict[str, str]:
    """The newest call in the record."""
    call: dict[str, str] = done(place.home, "calls", "list", "--limit", "1", "--json").json[0]
    return call


def is_cancelled(place: Place, duration: int) -> bool:
    """Whether the server was told so of its call with this duration."""
    heard = [json.loads(line) for line in place.heard.read_text().splitlines() if line.endswith("}")]
    calls = [
        message["id"]
        for message in heard
        if message["method"] == "tools/call" and message["params"]["arguments"]["duration"] == duration
    ]
    ended = [
        message["params"]["requestId"] for message in heard if message["method"] == "notifications/cancelled"
    ]
    return len(calls) == 1 and calls[0] in ended
