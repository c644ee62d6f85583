"""Messages of 32 MiB pass whole, both ways; what is over a bound is refused by the name of the bound."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio
import pytest

from hub.model import Json
from tests.commands import COMMAND, environment
from tests.homes import Running, running, write
from tests.house import INITIALIZE, headers_of, message, modern
from tests.hub_room import room
from tests.large_room import ERAS, MIB, SECONDS_MAX, HttpAgent, answer, peak_bytes, served
from tests.servers import dictated
from tests.servers.dictated import Dictated, Era

SIZE = 32 * MIB

TEXT = '0e1 äöü \\"' * (SIZE // 13)
"""Looks like numbers, like escapes, and takes more bytes than characters."""
MEMORY_MAX = 10 * SIZE
"""How much more memory the hub may take for a call whose arguments and result are both this large."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A hub in a process of its own, with servers of both eras over HTTP and over pipes."""
    home = tmp_path_factory.mktemp("large")
    write(home, "me", agent="me", may=["*"])
    (home / "hub.yaml").write_text("message: 64MiB\n")
    for era in ERAS:
        folder = home / f"{era}-stdio"
        folder.mkdir()
        (folder / "answer").write_text(answer(TEXT), "utf-8")
        command = [sys.executable, str(Path(dictated.__file__)), era, folder.name, str(folder)]
        write(home, folder.name, server=folder.name, connect={"command": command}, era=era, results="whole")
    with served(TEXT) as urls:
        for era, url in urls.items():
            write(home, f"{era}-http", server=f"{era}-http", connect={"url": url}, era=era, results="whole")
        with running(home) as hub:
            for era in ERAS:
                for wire in ("http", "stdio"):
                    hub.until(f"{era}-{wire}: ready")
            yield hub


class Agent(Protocol):
    def ask(self, body: Json) -> Json: ...


class PipeAgent:
    """Behind `hub serve --stdio`, as desktop clients start it."""

    def __init__(self, hub: Running) -> None:
        command = [*COMMAND, "serve", "--stdio", "--agent", "me", "--home", str(hub.home)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
        )

    def ask(self, body: Json) -> Json:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(body, ensure_ascii=False).encode() + b"\n")
        self._process.stdin.flush()
        answered: Json = json.loads(self._process.stdout.readline())
        return answered

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(SECONDS_MAX)
        self._process.stdout.close()


@contextmanager
def agent_of(hub: Running, wire: str, era: Era) -> Iterator[Agent]:
    agent = HttpAgent(hub) if wire == "http" else PipeAgent(hub)
    try:
        if era == "legacy":
            assert "result" in agent.ask(message("initialize", INITIALIZE))
        yield agent
    finally:
        agent.close()


@pytest.mark.parametrize(
    ("wire", "era", "server"),
    [
        # Each way in and each way out, in both eras.
        ("http", "modern", "legacy-http"),
        ("http", "legacy", "modern-stdio"),
        ("stdio", "modern", "modern-http"),
        ("stdio", "legacy", "legacy-stdio"),
    ],
)
def test_arguments_and_results_of_32_mib_pass(hub: Running, wire: str, era: Era, server: str) -> None:
    """Ours: whole, and for a few times their size in memory at most."""
    with agent_of(hub, wire, era) as agent:
        before = peak_bytes(hub)
        call: Json = {"name": f"{server}__echo", "arguments": {"text": TEXT}}
        answered = agent.ask((modern if era == "modern" else message)("tools/call", call))
        after = peak_bytes(hub)
    assert answered["result"]["content"] == [{"type": "text", "text": TEXT}]
    if server.endswith("stdio"):
        asked = json.loads((hub.home / server / "asked").read_bytes())
        assert asked["params"]["arguments"] == {"text": TEXT}
    if before is not None and after is not None:
        assert after - before < MEMORY_MAX, f"{(after - before) // MIB} MiB more"


@pytest.mark.anyio
@pytest.mark.parametrize("wire", ["http", "stdio"])
async def test_a_result_over_its_servers_bound_is_refused_by_its_name(tmp_path: Path, wire: str) -> None:
    """Ours: `limits: {message: ...}` of that server. The next call finds it well."""
    large, small = answer("x" * MIB), answer("y")
    limits = {"message": "512KiB"}
    with anyio.fail_after(20):
        server = Dictated("modern", "box")
        async with server.listening() as url:
            server.answer = large
            (tmp_path / "answer").write_text(large)
            command = [sys.executable, str(Path(dictated.__file__)), "modern", "box", str(tmp_path)]
            connect: Json = {"url": url} if wire == "http" else {"command": command}
            async with (
                room(tmp_path, {"box": {"connect": connect, "limits": limits}}) as it,
                it.http() as http,
            ):
                error = (await it.ask(http, "tools/call", {"name": "box__echo"}, {}))["error"]
                assert error["code"] == -32603 and error["data"]["reason"] == "upstream_failed"
                assert "'box'" in error["message"] and "limits: {message: ...}" in error["message"]
                server.answer = small
                (tmp_path / "answer").write_text(small)
                again = await it.ask(http, "tools/call", {"name": "box__echo"}, {})
                assert again["result"]["content"][0]["text"] == "y"


@pytest.mark.anyio
async def test_a_request_over_the_hubs_bound_is_refused_by_its_name(tmp_path: Path) -> None:
    """Ours: `message` in hub.yaml, 4 MiB where it is left out. Nothing reaches the server."""
    server = Dictated("modern", "box")
    with anyio.fail_after(20):
        async with (
            server.listening() as url,
            room(tmp_path, {"box": {"connect": {"url": url}}}) as it,
            it.http() as http,
        ):
            body = modern("tools/call", {"name": "box__echo", "arguments": {"text": "x" * 5 * MIB}})
            refused = await http.post(it.url, json=body, headers=headers_of(body))
    assert refused.status_code == 413
    said: Any = refused.json()["error"]["message"]
    assert said == "Request too large: at most 4194304 bytes (the hub's setting `message`)"
    assert server.asked == b""
