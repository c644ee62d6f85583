"""The hub over a pipe: both eras, many requests at once, and each way in which it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.client import ConnectMode

from hub.server.stdio import CALLS_MAX
from tests.house import SUBSCRIPTION_KEY, TOOLS, House, message, modern, tool
from tests.pipes import pipe

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


def cancel(id: Any) -> Any:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}


async def test_both_eras_share_one_pipe(hub: House, tmp_path: Path) -> None:
    async with pipe(hub, tmp_path) as client:
        discovered = (await client.ask(modern("server/discover")))["result"]
        assert discovered["resultType"] == "complete" and discovered["instructions"] == "for me"
        assert (await client.ask(message("tools/list")))["error"]["code"] == -32602
        answer = await client.ask(modern("x", None, 2, **{"io.modelcontextprotocol/protocolVersion": "1900"}))
        assert answer["error"]["code"] == -32022
        assert (await client.ask(modern("ping")))["error"]["code"] == -32601
        await client.initialize()
        legacy = (await client.ask(message("tools/list")))["result"]
        assert set(legacy) == {"tools"}
        assert "ttlMs" in (await client.ask(modern("tools/list")))["result"]
        called = await client.ask(message("tools/call", {"name": "box__echo"}, "x"))
        assert called["id"] == "x" and "resultType" not in called["result"]
        assert (await client.ask(message("nonsense")))["error"]["code"] == -32601
        assert await client.rest() == []


async def test_a_connection_is_one_session_of_its_agent(hub: House, tmp_path: Path) -> None:
    async with pipe(hub, tmp_path) as client:
        for _ in range(2):
            await client.ask(modern("tools/call", {"name": "box__echo"}))
        (session,) = {call.session for call in hub.server.calls}
        row = await hub.sessions.get(session, hub.identities.local("me"))
        assert row is not None and row.kind == "stdio"
    assert await hub.sessions.get(session, hub.identities.local("me")) is None


async def test_what_is_no_message_is_answered_and_the_next_one_counts(hub: House, tmp_path: Path) -> None:
    hub.front.message_bytes_max = 10_000
    async with pipe(hub, tmp_path) as client:
        for line, code in (
            (b"{", -32700),
            (b"[]", -32600),
            (b"\xff", -32700),
            (b'{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}', -32700),
            (b"{" + b" " * 20_000, -32600),
        ):
            answer = await client.ask(line)
            assert answer["error"]["code"] == code and "id" not in answer
        await client.send(b"", b"  \r")
        assert (await client.ask(message("ping", id="after")))["id"] == "after"


async def test_calls_run_side_by_side_and_answer_as_they_are_ready(hub: House, tmp_path: Path) -> None:
    async with pipe(hub, tmp_path) as client:
        await client.send(
            *(modern("tools/call", {"name": "box__gate"}, id) for id in range(60)),
            modern("tools/call", {"name": "box__echo"}, "fast"),
        )
        assert (await client.receive())["id"] == "fast"
        await hub.server.until(running=60)
        hub.server.gate.set()
        assert {each["id"] for each in await client.rest()} == set(range(60))


async def test_what_there_is_no_room_for_waits_unread(hub: House, tmp_path: Path) -> None:
    async with pipe(hub, tmp_path) as client:
        await client.send(
            *(modern("tools/call", {"name": "box__gate"}, id) for id in range(65)),
            modern("tools/list", {}, "list"),
        )
        await hub.server.until(running=64)
        with anyio.move_on_after(0.05):
            await hub.server.until(running=65)
        assert hub.server.running == 64
        hub.server.gate.set()
        assert {each["id"] for each in await client.rest()} == {*range(65), "list"}


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_progress_comes_before_its_answer(hub: House, tmp_path: Path, era: str) -> None:
    async with pipe(hub, tmp_path) as client:
        params = {"name": "box__progress", "_meta": {"progressToken": "t"}}
        if era == "legacy":
            await client.initialize()
            await client.send(message("tools/call", params))
        else:
            await client.send(modern("tools/call", {"name": "box__progress"}, 1, progressToken="t"))
        found = [await client.receive() for _ in range(4)]
        assert [each["params"]["progress"] for each in found[:3]] == [0, 1, 2]
        assert found[0]["params"]["progressToken"] == "t" and "result" in found[3]


async def test_a_cancelled_call_ends_and_is_not_answered(hub: House, tmp_path: Path) -> None:
    async with pipe(hub, tmp_path) as client:
        await client.send(modern("tools/call", {"name": "box__hang"}, 1))
        await hub.server.until(running=1)
        await client.send(cancel("1"), cancel(1.0), cancel(True), cancel(None))
        await client.ask(modern("tools/list"))
        assert hub.server.running == 1
        await client.send(cancel(1))
        await hub.server.until(running=0)
        assert await client.rest() == []


async def test_calls_that_are_cancelled_before_they_begin_leave_their_places_to_others(
    hub: House, tmp_path: Path
) -> None:
    async with pipe(hub, tmp_path) as client:
        for id in range(1, CALLS_MAX + 2):
            await client.send(modern("tools/call", {"name": "box__hang"}, id), cancel(id))
        answer = await client.ask(modern("tools/call", {"name": "box__echo", "arguments": {}}, "last"))
        assert answer["id"] == "last" and "result" in answer
        await hub.server.until(running=0)
        assert await client.rest() == []


async def test_a_subscription_shares_the_pipe_and_ends_by_its_id(hub: House, tmp_path: Path) -> None:
    listen = {"notifications": {"toolsListChanged": True}}
    async with pipe(hub, tmp_path) as client:
        for id in ("a", "b"):
            acknowledged = await client.ask(modern("subscriptions/listen", listen, id))
            assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
            assert acknowledged["params"]["_meta"] == {SUBSCRIPTION_KEY: id}
        hub.offer(*TOOLS, tool("new"))
        told = [await client.receive() for _ in range(2)]
        assert {each["params"]["_meta"][SUBSCRIPTION_KEY] for each in told} == {"a", "b"}
        await client.send(cancel("a"))
        await client.ask(modern("tools/list"))
        hub.offer(*TOOLS)
        assert (await client.receive())["params"]["_meta"][SUBSCRIPTION_KEY] == "b"
        (end,) = await client.rest()
        assert end["id"] == "b" and end["result"]["_meta"][SUBSCRIPTION_KEY] == "b"


async def test_a_legacy_client_is_told_of_changes_unasked(hub: House, tmp_path: Path) -> None:
    async with pipe(hub, tmp_path) as client:
        await client.initialize()
        hub.offer(*TOOLS, tool("new"))
        assert (await client.receive())["method"] == "notifications/tools/list_changed"
        assert await client.rest() == []


async def test_an_end_of_access_ends_the_connection(hub: House, tmp_path: Path) -> None:
    async with pipe(hub, tmp_path) as client:
        await client.send(modern("tools/call", {"name": "box__hang"}, 1))
        await hub.server.until(running=1)
        await hub.identities.remove("me")
        with pytest.raises(anyio.EndOfStream):
            await client.receive()
    assert hub.server.cancelled == ["box__hang"]


async def test_calls_have_two_seconds_after_the_end_of_input(
    hub: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.server.stdio.LAST_SECONDS", 0.5)
    async with pipe(hub, tmp_path) as client:
        await client.send(
            modern("tools/call", {"name": "box__hang"}, 1), modern("tools/call", {"name": "box__echo"}, 2)
        )
        assert [each["id"] for each in await client.rest()] == [2]
    assert hub.server.cancelled == ["box__hang"]


# As a process, which is how desktop clients start it.

PROGRAM = """
import sys
from pathlib import Path
import anyio
from hub.server.stdio import serve_stdio
from tests.house import house

async def chatter():
    while True:
        print("a stray line", flush=True)
        await anyio.sleep(0.001)

async def main():
    async with house(Path(sys.argv[1])) as hub:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(chatter)
            await serve_stdio(hub.front, hub.identities.local("me"))
            tasks.cancel_scope.cancel()

anyio.run(main, backend_options={"use_uvloop": True})
"""


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_real_client_uses_it_as_a_process(tmp_path: Path, mode: ConnectMode) -> None:
    root = str(Path(__file__).parent.parent)
    server = StdioServerParameters(
        command=sys.executable,
        args=["-c", PROGRAM, str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
    )
    with anyio.fail_after(60):
        async with Client(server, mode=mode) as client:
            assert client.protocol_version == ("2026-07-28" if mode == "auto" else "2025-11-25")
            answer = await client.call_tool("box__echo", {"say": "x" * 300_000})
            assert answer.structured_content is not None
            assert len(answer.structured_content["params"]["arguments"]["say"]) == 300_000


async def test_it_reads_a_plain_file_to_its_end_and_answers_all(tmp_path: Path) -> None:
    source = tmp_path / "requests.jsonl"
    lines = [json.dumps(modern("tools/call", {"name": "box__echo"}, id)) for id in range(20)]
    source.write_text("\n".join(lines))
    with source.open() as stdin, anyio.fail_after(60):
        done = await anyio.run_process(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            stdin=stdin,
            cwd=Path(__file__).parent.parent,
            stderr=subprocess.PIPE,
        )
    assert {json.loads(each)["id"] for each in done.stdout.splitlines()} == set(range(20))
    assert b"a stray line" in done.stderr
