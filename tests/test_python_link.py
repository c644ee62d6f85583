"""A server that is an object in this process: spoken to as any other, with the SDK at the far end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from connectors import jsonrpc
from connectors.base import ConfigError, Context, Era, Json, Link, LinkError, RemoteError
from connectors.children import Children
from connectors.python import Python

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
TOOLS = "tests.servers.python_tools"
ERAS: list[Era] = ["modern", "legacy"]


@asynccontextmanager
async def opened(target: str, **changes: Any) -> AsyncIterator[Link]:
    async with Children() as children:
        given: dict[str, Any] = {
            "name": "tea",
            "home": HERE,
            "data": HERE,
            "children": children,
            "expand": lambda text: text,
            "client": {"name": "tests", "version": "0"},
        }
        with anyio.fail_after(60):
            async with Python(python=target).open(Context(**{**given, **changes})) as link:
                yield link


async def call(link: Link, name: str, arguments: Json | None = None, **more: Any) -> Json:
    return await link.request("tools/call", {"name": name, "arguments": arguments or {}}, **more)


@pytest.mark.parametrize("era", ERAS)
async def test_it_is_called_in_either_era(era: Era) -> None:
    async with opened(f"{TOOLS}:server", era=era) as link:
        assert link.peer.modern is (era == "modern")
        assert link.peer.info["name"] == "tools"
        assert link.peer.instructions == "Be brief."
        result = await call(link, "add", {"a": 2, "b": 3})
        assert result["structuredContent"] == {"result": 5}
        read = await link.request("resources/read", {"uri": "note://tea"})
        assert read["contents"][0]["text"] == "green"


@pytest.mark.parametrize("target", [f"{TOOLS}:factory", f"{TOOLS}:low", "servers/python_tools.py:factory"])
async def test_factories_lowlevel_servers_and_files_are_servers_too(target: str) -> None:
    async with opened(target) as link:
        assert link.peer.info["name"] in ("made", "low")
        if "factory" in target:
            assert [tool["name"] for tool in (await link.request("tools/list", {}))["tools"]] == ["only"]


async def test_numbers_arrive_as_numbers_however_the_agent_wrote_them() -> None:
    """Floats of a parsed message keep their spelling, which no handler should ever see."""
    arguments = jsonrpc.parse(b'{"value": 3.00}', jsonrpc.Budget(1000, 1000))
    async with opened(f"{TOOLS}:server") as link:
        assert float((await call(link, "half", arguments))["structuredContent"]["result"]) == 1.5


async def test_a_tools_failure_is_a_result_and_an_unknown_method_an_error() -> None:
    async with opened(f"{TOOLS}:server") as link:
        result = await call(link, "fail")
        assert result["isError"] is True
        assert "no tea left" in result["content"][0]["text"]
        with pytest.raises(RemoteError) as refused:
            await link.request("tea/brew", {})
        assert refused.value.code == jsonrpc.METHOD_NOT_FOUND


async def test_an_answer_that_is_no_json_fails_its_own_request_only() -> None:
    async with opened(f"{TOOLS}:low") as link:
        with pytest.raises(RemoteError, match="cannot be written as JSON"):
            await link.request("ping/odd", {})
        with pytest.raises(RemoteError, match="Method not found"):
            await link.request("tea/brew", {})


@pytest.mark.parametrize("era", ERAS)
async def test_progress_arrives_and_cancelling_reaches_the_tool(era: Era) -> None:
    heard: list[tuple[str, Json]] = []
    started = anyio.Event()

    def on_notify(method: str, params: Json) -> None:
        heard.append((method, params))
        started.set()

    async with opened(f"{TOOLS}:server", era=era) as link:
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                params = {"name": "slow", "arguments": {}, "_meta": {"progressToken": "mine"}}
                await link.request("tools/call", params, on_notify=on_notify)

            tasks.start_soon(ask)
            with anyio.fail_after(20):
                await started.wait()
            tasks.cancel_scope.cancel()
        assert heard[0][0] == "notifications/progress"
        assert heard[0][1]["progressToken"] == "mine"
        assert heard[0][1]["message"] == "started"
        assert (await call(link, "was_cancelled"))["structuredContent"] == {"result": True}


async def test_a_changed_list_is_told() -> None:
    told = anyio.Event()
    methods: list[str] = []

    def on_notify(method: str, params: Json) -> None:
        methods.append(method)
        told.set()

    async with opened("servers/python_tools.py:server", era="legacy", on_notify=on_notify) as link:
        await call(link, "grow")
        with anyio.fail_after(20):
            await told.wait()
        assert methods == ["notifications/tools/list_changed"]
        assert "grown" in [tool["name"] for tool in (await link.request("tools/list", {}))["tools"]]


async def test_many_calls_at_once_get_each_its_own_answer() -> None:
    async with opened(f"{TOOLS}:server") as link:
        found: dict[int, int] = {}

        async def ask(number: int) -> None:
            found[number] = (await call(link, "add", {"a": number, "b": 0}))["structuredContent"]["result"]

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(ask, number)
    assert found == {number: number for number in range(50)}


async def test_two_links_to_one_object_are_apart() -> None:
    async with opened(f"{TOOLS}:server", era="modern") as one:
        async with opened(f"{TOOLS}:server", era="legacy") as other:
            assert (one.peer.modern, other.peer.modern) == (True, False)
            assert (await call(other, "add", {"a": 1, "b": 2}))["structuredContent"] == {"result": 3}
        assert (await call(one, "add", {"a": 1, "b": 1}))["structuredContent"] == {"result": 2}


async def test_what_fails_inside_the_link_is_not_wrapped() -> None:
    with pytest.raises(LinkError, match="mine"):
        async with opened(f"{TOOLS}:server"):
            raise LinkError("mine")


async def test_leaving_the_link_ends_the_lifespan_and_later_requests_fail_as_unsent(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tea.py"
    file.write_text(
        "from contextlib import asynccontextmanager\n"
        "from pathlib import Path\n"
        "from mcp.server.mcpserver import MCPServer\n"
        "@asynccontextmanager\n"
        "async def lifespan(server):\n"
        "    yield {}\n"
        "    Path(__file__).with_name('ended').touch()\n"
        "server = MCPServer('tea', lifespan=lifespan)\n"
    )
    async with opened(f"{file}:server") as link:
        assert not (tmp_path / "ended").exists()
    assert (tmp_path / "ended").exists()
    with pytest.raises(LinkError) as failed:
        await link.request("tools/list", {})
    assert failed.value.sent is False
    with anyio.fail_after(20):
        assert await link.wait_closed() == "it was closed"


async def test_a_server_that_fails_as_it_starts_says_why(tmp_path: Path) -> None:
    file = tmp_path / "tea.py"
    file.write_text(
        "from contextlib import asynccontextmanager\n"
        "from mcp.server.mcpserver import MCPServer\n"
        "@asynccontextmanager\n"
        "async def lifespan(server):\n"
        "    raise RuntimeError('the kettle is cold')\n"
        "    yield {}\n"
        "server = MCPServer('tea', lifespan=lifespan)\n"
    )
    with pytest.raises(LinkError, match="it failed: RuntimeError: the kettle is cold"):
        async with opened(f"{file}:server"):
            pass


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("no.such.module:server", "ModuleNotFoundError: No module named 'no'"),
        (
            f"{TOOLS}:nothing",
            "AttributeError: module 'tests.servers.python_tools' has no attribute",
        ),
        (f"{TOOLS}:not_a_server", "is no server of the mcp package but a dict. Name an MCPServer"),
        (f"{TOOLS}:async_factory", "is no server of the mcp package but a function"),
        (f"{TOOLS}:broken_factory", "KeyError: 'TEA_KEY'"),
        ("./missing.py:server", "missing.py' is not there. Correct the path"),
    ],
)
async def test_what_cannot_be_loaded_is_said_in_a_sentence(target: str, words: str) -> None:
    with pytest.raises(ConfigError) as failed:
        async with opened(target):
            pass
    assert words in str(failed.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "import nothing_of_this_name",
            "No module named 'nothing_of_this_name' ({file}:1)",
        ),
        ("x = 1\nraise RuntimeError('no tea\\n\x1b[31mat all')", "RuntimeError: no tea at all ({file}:2)"),
        ("x = 1\n\ndef (:", "SyntaxError: invalid syntax ({file}:3)"),
        ("import sys\nsys.exit(3)", "SystemExit: 3 ({file}:2)"),
    ],
)
async def test_an_import_that_fails_says_where(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "tea.py"
    file.write_text(text)
    with pytest.raises(ConfigError) as failed:
        async with opened(f"{file}:server"):
            pass
    assert words.format(file=file) in str(failed.value)
    assert "\n" not in str(failed.value)


async def test_an_import_that_hangs_is_left_when_the_time_is_up(tmp_path: Path) -> None:
    file, release = tmp_path / "tea.py", tmp_path / "release"
    file.write_text(
        f"import os, time\nend = time.monotonic() + 10\n"
        f"while not os.path.exists({str(release)!r}) and time.monotonic() < end:\n    time.sleep(0.01)\n"
    )
    with anyio.move_on_after(0.2) as scope:
        async with opened(f"{file}:server"):
            pass
    assert scope.cancelled_caught
    release.touch()


@pytest.mark.parametrize("target", ["module", "module:", ":server", "module:1st", ""])
def test_a_target_that_names_no_object_is_refused(target: str) -> None:
    with pytest.raises(ValidationError, match=r"package\.module:attribute"):
        Python(python=target)


def test_naming_the_connector_does_not_import_the_sdk() -> None:
    """Design 8: the import takes 1.4 s, and most hubs never need it."""
    code = "import sys, connectors.python; sys.exit('mcp' in sys.modules or 'mcp_types' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
