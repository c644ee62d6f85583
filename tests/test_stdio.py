"""A server that is a program, spoken to in both eras. Real processes throughout."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from time import process_time
from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from connectors.base import ConfigError, Era, Json, LinkError, RemoteError
from connectors.stdio import Stdio, child_environment
from tests.stdio_room import ERAS, SERVERS, Room, called, room_in

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with room_in(tmp_path) as room:
        yield room


@pytest.mark.both_loops
@pytest.mark.parametrize("era", ERAS)
async def test_a_server_of_either_era_is_listed_and_called(room: Room, era: Era) -> None:
    async with room.open("echo_stdio.py", era) as link:
        assert link.peer.modern is (era == "modern")
        assert link.peer.info["name"] == "echo"
        assert [tool["name"] for tool in (await link.request("tools/list", {}))["tools"]] == ["echo"]
        big = {"integer": 2**70, "text": "žluťoučký 🐎\n", "nested": [None, True, {"": 0}]}
        assert await called(link, "echo", big) == big


async def test_a_modern_request_says_version_client_capabilities_and_log_level(room: Room) -> None:
    """Specification 2026-07-28, basic/index, `_meta`."""
    async with room.open("echo_stdio.py", "modern") as link:
        params = {"name": "seen", "_meta": {"mine": 1}}
        result = await link.request("tools/call", params, capabilities={"elicitation": {}}, log_level="debug")
    assert result["structuredContent"]["params"]["_meta"] == {
        "mine": 1,
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        "io.modelcontextprotocol/logLevel": "debug",
    }
    assert params == {"name": "seen", "_meta": {"mine": 1}}, "what was given is not modified"


async def test_a_legacy_request_goes_out_as_it_is_after_one_handshake(room: Room) -> None:
    changes = {"era": "legacy", "version": "2025-06-18", "capabilities": {"roots": {}}}
    async with room.open("echo_stdio.py", "legacy", **changes) as link:
        assert (link.peer.version, link.peer.instructions) == ("2025-06-18", "Say something.")
        result = await link.request(
            "tools/call", {"name": "seen"}, capabilities={"elicitation": {}}, log_level="debug"
        )
    assert result["structuredContent"] == {
        "params": {"name": "seen"},
        "handshake": [
            {
                "protocolVersion": "2025-06-18",
                "capabilities": {"roots": {}},
                "clientInfo": {"name": "tests", "version": "0"},
            },
            {"initialized": True},
        ],
    }


@pytest.mark.parametrize("era", ERAS)
async def test_the_sdk_serves_us_in_both_eras(room: Room, era: Era) -> None:
    """The reference implementation is the referee."""
    command = Stdio(command=[sys.executable, str(SERVERS / "sdk_stdio.py")])
    steps: list[Json] = []
    async with command.open(room.context(era=era)) as link:
        assert link.peer.modern is (era == "modern")
        assert (link.peer.info["name"], link.peer.instructions) == ("referee", "Add with care.")
        params = {"name": "add", "arguments": {"a": 2, "b": 3}, "_meta": {"progressToken": "mine"}}
        result = await link.request("tools/call", params, on_notify=lambda _, step: steps.append(step))
    assert result["content"][0]["text"] == "5"
    assert [(step["progressToken"], int(step["progress"])) for step in steps] == [("mine", 1)]


async def test_a_modern_server_that_starts_slowly_is_not_taken_for_a_legacy_one(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the probe too late, and then refuses the older handshake: it has begun to speak the newer."""
    monkeypatch.setattr("connectors.negotiate.PROBE_SECONDS", 0.01)
    async with Stdio(command=[sys.executable, str(SERVERS / "sdk_stdio.py")]).open(room.context()) as link:
        assert link.peer.modern
        params = {"name": "add", "arguments": {"a": 2, "b": 3}}
        assert (await link.request("tools/call", params))["content"][0]["text"] == "5"


async def test_asking_for_an_era_that_the_server_does_not_speak_says_so(room: Room) -> None:
    with pytest.raises(LinkError, match="`era: modern`, but it does not speak 2026-07-28"):
        async with room.open("echo_stdio.py", "legacy", era="modern"):
            pass


@pytest.mark.both_loops
async def test_a_hundred_requests_at_once_each_get_their_own_answer(room: Room) -> None:
    async with room.open("echo_stdio.py", "modern") as link:
        answers: dict[int, Any] = {}

        async def ask(number: int) -> None:
            answers[number] = await called(link, "echo", {"number": number})

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(ask, number)
    assert answers == {number: {"number": number} for number in range(100)}


async def test_no_more_than_the_limit_are_under_way_at_once(room: Room) -> None:
    async with room.open("echo_stdio.py", "modern", concurrent_max=1) as link:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(called, link, "slow")
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0.1) as waited:
                await called(link, "echo")
            assert waited.cancelled_caught
            tasks.cancel_scope.cancel()
        assert await called(link, "echo", {"free": "again"}) == {"free": "again"}


async def test_an_error_of_the_server_is_passed_on(room: Room) -> None:
    async with room.open("echo_stdio.py", "modern") as link:
        with pytest.raises(RemoteError, match="out of tea") as refused:
            await called(link, "fail")
    assert refused.value.code == -32050


@pytest.mark.parametrize("era", ERAS)
async def test_progress_reaches_its_request_under_the_askers_own_token(room: Room, era: Era) -> None:
    async with room.open("echo_stdio.py", era) as link:
        heard: list[tuple[str, Json]] = []
        params = {"name": "progress", "_meta": {"progressToken": "mine"}}
        await link.request("tools/call", params, on_notify=lambda *it: heard.append(it))
        await called(link, "progress")
    assert heard == [
        ("notifications/progress", {"progressToken": "mine", "progress": step}) for step in (1, 2)
    ]
    assert room.notifications == []


async def test_a_log_message_belongs_to_the_one_request_under_way(room: Room) -> None:
    """The protocol does not say whose a log message is; with two under way nobody can know."""
    async with room.open("echo_stdio.py", "modern") as link:
        heard: list[str] = []
        await called(link, "log", on_notify=lambda method, _: heard.append(method))
        assert (heard, room.notifications) == (["notifications/message"], [])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(called, link, "slow")
            await anyio.wait_all_tasks_blocked()
            await called(link, "log", on_notify=lambda method, _: heard.append(method))
            tasks.cancel_scope.cancel()
    assert heard == ["notifications/message"]
    assert room.notifications[0] == ("notifications/message", {"level": "info", "data": "working"})


async def test_a_subscription_gets_what_carries_its_id_until_the_server_ends_it(room: Room) -> None:
    """Specification 2026-07-28, basic/patterns/subscriptions. It takes none of the link's places."""
    async with room.open("echo_stdio.py", "modern", concurrent_max=1) as link:
        heard: list[str] = []
        both = anyio.Event()

        def on_notify(method: str, params: Json) -> None:
            heard.append(method)
            if len(heard) == 2:
                both.set()

        async def listen() -> None:
            with pytest.raises(LinkError, match="ended the subscription"):
                await link.request("subscriptions/listen", {"notifications": {}}, on_notify=on_notify)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await both.wait()
            await called(link, "log", on_notify=lambda *_: heard.append("log"))
            await called(link, "end_listen")
    assert heard == ["notifications/subscriptions/acknowledged", "notifications/tools/list_changed", "log"]
    assert room.notifications == []


@pytest.mark.both_loops
@pytest.mark.parametrize("era", ERAS)
async def test_cancelling_a_request_tells_the_server_which(room: Room, era: Era) -> None:
    """Specification, basic/patterns/cancellation: stdio."""
    async with room.open("echo_stdio.py", era) as link:
        with anyio.move_on_after(0.05):
            await called(link, "slow")
        await room.heard.wait()
        assert room.notifications[0][0] == "notifications/noticed"
        assert set(room.notifications[0][1]) == {"requestId", "reason"}
        assert isinstance(room.notifications[0][1]["requestId"], int)
        assert await called(link, "echo", {"still": "here"}) == {"still": "here"}


@pytest.mark.parametrize(
    ("on_request", "answer"),
    [
        ("answers", {"result": {"action": "accept", "asked": "Your name?"}}),
        ("refuses", {"error": {"code": -32042, "message": "not now", "data": 1}}),
        (None, {"error": {"code": -32601, "message": "Method not found: elicitation/create"}}),
    ],
)
async def test_a_legacy_servers_question_is_answered(
    room: Room, on_request: str | None, answer: Json
) -> None:
    async def answering(method: str, params: Json) -> Json:
        await anyio.lowlevel.checkpoint()
        if on_request == "refuses":
            raise RemoteError(-32042, "not now", 1)
        return {"action": "accept", "asked": params["message"]}

    given: Callable[[str, Json], Awaitable[Json]] | None = answering if on_request else None
    async with room.open("echo_stdio.py", "legacy", on_request=given) as link:
        assert await called(link, "ask") == answer
        assert await called(link, "ping") == {"result": {}}


async def test_a_child_gets_a_small_environment_and_runs_at_home(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_SECRET", "s3cret")
    monkeypatch.setenv("LC_TIME", "C")
    command = [sys.executable, "-S", str(SERVERS / "echo_stdio.py"), "modern", "hello ${WHO}; $(id)"]
    stdio = Stdio(command=command, env={"TEA": "${WHO}"})
    async with stdio.open(room.context(era="modern")) as link:
        seen = await called(link, "environment")
    allowed = {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "TEA"}
    added_by_python_itself = {"LC_CTYPE"}
    assert {name for name in seen["env"] if not name.startswith("LC_")} <= allowed
    assert {name for name in seen["env"] if name.startswith("LC_")} - added_by_python_itself <= {
        name for name in os.environ if name.startswith("LC_")
    }
    assert (seen["env"]["TEA"], seen["env"]["LC_TIME"]) == ("world", "C")
    assert seen["cwd"] == str(room.home.resolve())
    assert seen["argv"] == ["modern", "hello world; $(id)"], "no shell reads it"


@pytest.mark.parametrize("name", ["LD_PRELOAD", "NODE_OPTIONS", "PYTHONPATH", "BASH_ENV", "A=B", ""])
def test_variables_that_load_other_code_are_refused(name: str) -> None:
    """Threat T26."""
    with pytest.raises(ValidationError):
        Stdio(command=["x"], env={name: "1"})
    with pytest.raises(ConfigError):
        child_environment({name: "1"})


async def test_a_call_costs_little(room: Room) -> None:
    """The mark is 60 us of CPU a call; the bound here leaves room for a slow machine."""
    async with room.open("echo_stdio.py", "modern") as link:
        for _ in range(200):
            await link.request("tools/list", {})
        before = process_time()
        for _ in range(1_000):
            await link.request("tools/list", {})
        spent = process_time() - before
    assert spent / 1_000 < 0.001
