"""The matrix once more with what is not Python: TypeScript's client, Inspector, a server from npm.

Without node these tests are skipped, and say so; where CI runs, they fail.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import pytest
from mcp import Client

from tests.conformance import SuiteMissing, find_suite
from tests.homes import command, install, installed
from tests.matrix import Agent, Matrix, matrix, run
from tests.sources import ROOT

pytestmark = pytest.mark.anyio

CLIENT = {"npm": "@modelcontextprotocol/client", "version": "2.4.0"}
INSPECTOR = {"npm": "@modelcontextprotocol/inspector", "version": "2.12.0"}
PROGRAM = ROOT / "tests" / "clients" / "agent.mjs"

SERVERS = ("new-http", "old-pipe", "sdk1-http")
ERAS = {"auto": "2026-07-28", "legacy": "2025-11-25"}
SECONDS = 60

EXPECTED: dict[str, Any] = {
    "list": True,
    "call": {"text": "This is a simple text response for testing.", "isError": False},
    "read": "This is the content of the static text resource.",
    "prompt": "Prompt with arguments: arg1='a', arg2='b'",
    "completion": ["paris", "park", "party"],
    "progress": [0, 50, 100],
    "logging": 3,
    "elicitation": {
        "text": 'User response: action=accept, content={"username":"tea","email":"t@example.com"}',
        "isError": False,
        "asked": ["Who?"],
    },
    "url": {"text": "The user did: accept", "isError": False},
    "sampling": {"text": "The model said: Paris", "isError": False},
    "roots": {"text": "You work in: file:///tea", "isError": False},
    "cancelled": {"cancelled": True},
    "changed": {"changed": True},
}
OF_NPM: dict[str, Any] = {
    "list": True,
    "call": {"text": "Echo: tea", "isError": False},
    "prompt": 1,
    "read": "demo://resource/dynamic/text/7",
    "progress": [1, 2],
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """One loop for the module: its hub lives as long."""
    return "asyncio"


@pytest.fixture(scope="module")
def node() -> str:
    """A node that is new enough for Inspector: the machine's, or the one that the conformance suite has."""
    try:
        if shutil.which("npm") is not None:
            return find_suite().command[0]
        reason = "needs node 22.19 or newer, with npm; not found on PATH"
    except SuiteMissing as missing:
        reason = str(missing)
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
async def npm_server(node: str) -> list[str]:
    """How to start the server from npm."""
    return (await anyio.to_thread.run_sync(install, "everything"))["everything"]


@pytest.fixture(scope="module")
async def place(npm_server: list[str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Matrix]:
    async with matrix(tmp_path_factory.mktemp("node"), SERVERS, (), ts={"command": npm_server}) as place:
        yield place


@pytest.fixture(scope="module")
async def used(node: str, place: Matrix) -> dict[str, Any]:
    """By mode: what the TypeScript client found at each server."""
    program = [node, str(PROGRAM), str(await installed(**CLIENT)), place.hub.url, place.token]
    found: dict[str, Any] = {}
    for mode in ERAS:
        using = partial(run, *program, mode, *SERVERS, "ts", seconds=SECONDS)
        found[mode] = json.loads(await anyio.to_thread.run_sync(using))
    return found


@pytest.mark.parametrize("feature", [*EXPECTED, "failed", "refused"])
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("mode", ERAS)
async def test_the_typescript_client_gets_it_as_well(
    used: dict[str, Any], mode: str, server: str, feature: str
) -> None:
    assert used[mode]["version"] == ERAS[mode]
    found = used[mode]["servers"][server]
    if feature == "failed":
        assert found["failed"]["isError"]
    elif feature == "refused":
        assert found["refused"].get("code") == -32602 or found["refused"]["isError"]
    elif (feature, mode) == ("logging", "auto") or (feature, server) == ("changed", "old-pipe"):
        # That client asks for no log messages in the newer era; the other is said in `agent.mjs`.
        assert feature not in found
    else:
        assert found[feature] == EXPECTED[feature]


@pytest.mark.parametrize("feature", OF_NPM)
@pytest.mark.parametrize("mode", ERAS)
async def test_the_typescript_client_uses_a_typescript_server(
    used: dict[str, Any], mode: str, feature: str
) -> None:
    assert used[mode]["servers"]["ts"][feature] == OF_NPM[feature]


async def test_tools_that_a_server_offers_only_to_clients_that_can_be_asked_are_not_known(
    place: Matrix, npm_server: list[str]
) -> None:
    """A known gap: what is offered is learnt once for all agents, by a client that can be asked nothing."""
    own = "trigger-elicitation-request"
    agent = Agent("alone")
    with anyio.fail_after(SECONDS):
        alone = Client(command(npm_server), mode="legacy", elicitation_callback=agent.fill_in)
        async with alone as client:
            assert own in [tool.name for tool in (await client.list_tools()).tools]
        async with place.client("legacy-http", elicitation_callback=agent.fill_in) as client:
            listed = [tool.name for tool in (await client.list_tools()).tools]
    assert "ts__echo" in listed
    assert f"ts__{own}" not in listed


async def inspect(node: str, place: Matrix, *arguments: str) -> Any:
    """What Inspector's command line says of the hub."""
    folder = await installed(**INSPECTOR)
    program = str(folder / "node_modules" / ".bin" / "mcp-inspector")
    header = f"Authorization: Bearer {place.token}"
    command = [node, program, "--cli", place.hub.url, "--transport", "http", "--header", header, *arguments]
    own = {"MCP_CATALOG_PATH": str(place.home / "catalog.json"), "HOME": str(place.home)}
    return json.loads(await anyio.to_thread.run_sync(partial(run, *command, seconds=SECONDS, **own)))


@pytest.mark.parametrize("server", ["new-http", "old-pipe"])
async def test_inspector_lists_and_calls_tools(node: str, place: Matrix, server: str) -> None:
    tools = (await inspect(node, place, "--method", "tools/list"))["tools"]
    assert f"{server}__test_simple_text" in [tool["name"] for tool in tools]
    called = (
        "--method",
        "tools/call",
        "--tool-name",
        f"{server}__test_x_mcp_header",
        "--tool-arg",
        "region=eu",
    )
    assert (await inspect(node, place, *called))["content"] == [{"type": "text", "text": "region=eu"}]


async def test_inspector_reads_resources_and_prompts(node: str, place: Matrix) -> None:
    read = await inspect(node, place, "--method", "resources/read", "--uri", "test://static-text")
    assert read["contents"][0]["text"] == "This is the content of the static text resource."
    listed = (await inspect(node, place, "--method", "prompts/list"))["prompts"]
    name = "new-http__test_prompt_with_arguments"
    assert name in [prompt["name"] for prompt in listed]
    got = ("--method", "prompts/get", "--prompt-name", name, "--prompt-args", "arg1=a", "arg2=b")
    prompt = await inspect(node, place, *got)
    assert prompt["messages"][0]["content"]["text"] == "Prompt with arguments: arg1='a', arg2='b'"
