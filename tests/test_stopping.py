"""A hub that is told to stop while calls hang: it waits as long as it was told to, and tells everybody."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from hub.home import Home
from tests.commands import SECONDS, furnish
from tests.homes import done, running, token
from tests.house import modern

HUNG = 32
GRACE_SECONDS = 0.5


def hanging(id: int) -> dict[str, Any]:
    asked = modern("tools/call", {"name": "desk__hang", "arguments": {}}, id)
    asked["params"]["_meta"]["progressToken"] = id
    return asked


async def over_http(http: httpx2.AsyncClient, url: str, id: int, begun: anyio.Semaphore) -> Any:
    """What a call that hangs is answered, in the end. `begun` counts once its server works on it."""
    told = {"mcp-method": "tools/call", "mcp-name": "desk__hang", "mcp-protocol-version": "2026-07-28"}
    async with http.stream("POST", url, json=hanging(id), headers=told) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                said = json.loads(line.removeprefix("data:"))
                if "id" in said:
                    return said
                begun.release()
    return None


def bridged(home: Path) -> socket.socket:
    """A desktop client's end, and its call that hangs."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(SECONDS)
    connection.connect(os.fspath(Home.at(home).stdio_socket))
    connection.sendall(b'{"agent": "me"}\n' + json.dumps(hanging(7)).encode() + b"\n")
    return connection


@pytest.mark.anyio
async def test_calls_that_hang_are_answered_when_the_hub_stops_and_it_ends_within_its_grace(
    tmp_path: Path,
) -> None:
    home = furnish(tmp_path / "home")
    (home / "hub.yaml").write_text(f"grace: {int(GRACE_SECONDS * 1000)}ms\n")
    with running(home) as hub:
        headers = {
            "authorization": f"Bearer {token(home)}",
            "accept": "application/json, text/event-stream",
        }
        begun, answers = anyio.Semaphore(0), []
        with anyio.fail_after(SECONDS):
            async with httpx2.AsyncClient(headers=headers, timeout=SECONDS) as http:
                with bridged(home) as pipe, pipe.makefile("rb") as lines:

                    async def call(id: int) -> None:
                        answers.append(await over_http(http, hub.url, id, begun))

                    async with anyio.create_task_group() as tasks:
                        for id in range(HUNG):
                            tasks.start_soon(call, id)
                        for _ in range(HUNG):
                            await begun.acquire()
                        said = [json.loads(lines.readline()) for _ in range(2)]
                        assert said[1]["method"] == "notifications/progress"
                        told = time.monotonic()
                        hub.process.terminate()
                    took = time.monotonic() - told
                    answers.append(json.loads(lines.readline()))
        hub.process.wait(SECONDS)
        assert hub.end() == 0
        assert time.monotonic() - told < GRACE_SECONDS + 10  # of which its server's end takes two
    assert took >= GRACE_SECONDS
    assert {answer["id"] for answer in answers} == set(range(HUNG))
    assert len(answers) == HUNG + 1
    assert all("The hub ends" in answer["error"]["message"] for answer in answers), answers[-1]
    recorded = done(home, "calls", "list", "--json", "--limit", "100").json
    assert [each["state"] for each in recorded] == ["unknown"] * (HUNG + 1)
