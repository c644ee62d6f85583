"""A server that is a program: spoken to in both eras, and how it may fail. Real processes throughout."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from time import process_time
from typing import Any

import anyio
import pytest
from pydantic import ValidationError

from connectors.base import ConfigError, Context, Era, Json, Link, LinkError, RemoteError
from connectors.children import Children
from connectors.stdio import Stdio, child_environment, open_process
from connectors.stdio_link import StdioLink

pytestmark = pytest.mark.anyio

SERVERS = Path(__file__).parent / "servers"
ERAS: list[Era] = ["modern", "legacy"]


both_loops = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"use_uvloop": True}), ("asyncio", {"use_uvloop": False})],
    ids=["uvloop", "asyncio"],
)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """What the hub runs on."""
    return "asyncio", {"use_uvloop": True}


class Room:
    """What one server is opened in, and what was heard of it."""

    def __init__(self, home: Path, children: Children) -> None:
        self.home, self.children = home, children
        self.stderr: list[str] = []
        self.notifications: list[tuple[str, Json]] = []
        self.heard = anyio.Event()

    def on_notify(self, method: str, params: Json) -> None:
        self.notifications.append((method, params))
        self.heard.set()

    def context(self, **changes: Any) -> Context:
        given: dict[str, Any] = {
            "name": "tea",
            "home": self.home,
            "data": self.home,
            "children": self.children,
            "expand": lambda text: text.replace("${WHO}", "world"),
            "client": {"name": "tests", "version": "0"},
            "on_notify": self.on_notify,
            "on_stderr": self.stderr.append,
        }
        return Context(**{**given, **changes})

    def open(self, server: str, *argv: str, **changes: Any) -> AbstractAsyncContextManager[Link]:
        command = [sys.executable, "-S", str(SERVERS / server), *argv]
        return Stdio(command=command).open(self.context(**changes))


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    with anyio.fail_after(20):
        async with Children(grace_seconds=0.1) as children:
            yield Room(tmp_path, children)
            assert len(children) == 0, "a link left its process behind"


async def called(link: Link, tool: str, arguments: Json | None = None, **options: Any) -> Any:
    params = {"name": tool, "arguments": arguments or {}}
    return (await link.request("tools/call", params, **options))["structuredContent"]


@asynccontextmanager
async def misbehaving(room: Room, mode: str, **changes: Any) -> AsyncIterator[Link]:
    async with room.open("misbehaving_stdio.py", mode, era="legacy", **changes) as link:
        yield link


@both_loops
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


async def test_asking_for_an_era_that_the_server_does_not_speak_says_so(room: Room) -> None:
    with pytest.raises(LinkError, match="`era: modern`, but it does not speak 2026-07-28"):
        async with room.open("echo_stdio.py", "legacy", era="modern"):
            pass


@both_loops
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


@both_loops
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


async def test_a_program_that_is_not_there_is_said_with_the_fix(room: Room, tmp_path: Path) -> None:
    sentence = "'ghmcp' was not found on PATH. Install it, or give its full path."
    with pytest.raises(ConfigError) as missing:
        async with Stdio(command=["ghmcp"]).open(room.context()):
            pass
    assert str(missing.value) == Stdio(command=["ghmcp"]).missing() == sentence
    (tmp_path / "plain.txt").touch()
    with pytest.raises(ConfigError, match="'plain\\.txt' was not found"):
        async with Stdio(command=["plain.txt"]).open(room.context()):
            pass
    with pytest.raises(ConfigError, match=r"'\./plain.txt' cannot be run"):
        async with Stdio(command=["./plain.txt"]).open(room.context()):
            pass
    with pytest.raises(ConfigError, match="working directory"):
        async with Stdio(command=["true"]).open(room.context(cwd=tmp_path / "nowhere")):
            pass
    with pytest.raises(ConfigError, match="cannot be started"):
        async with open_process(room.context(), ["true", "a\0b"], {}):
            pass
    assert Stdio(command=["${PROGRAM}"]).missing() is None
    assert Stdio(command=[sys.executable]).missing() is None


@both_loops
async def test_a_server_that_dies_at_its_start_is_quoted(room: Room) -> None:
    with pytest.raises(LinkError) as failed:
        async with misbehaving(room, "dies"):
            pass
    assert failed.value.reason == (
        "it ended with exit status 7. Its last words: starting | no such database: tea"
    )
    assert room.stderr == ["starting", "no such database: tea"]


async def test_a_server_that_refuses_the_handshake_is_quoted(room: Room) -> None:
    with pytest.raises(LinkError, match=r"refused initialize: -32000: no"):
        async with misbehaving(room, "refuses"):
            pass


async def test_a_server_that_never_answers_is_given_up_and_ended(room: Room) -> None:
    with anyio.move_on_after(0.3) as limit:
        async with misbehaving(room, "silent"):
            pass
    assert limit.cancelled_caught


async def test_a_server_that_cannot_read_the_probe_is_tried_as_a_legacy_one(room: Room) -> None:
    """It answers with a null id, as JSON-RPC has it where the id could not be read."""
    with anyio.fail_after(5):
        async with room.open("misbehaving_stdio.py", "null_id") as link:
            assert link.peer.version == "2025-06-18"


async def test_a_banner_on_stdout_before_the_handshake_is_forgiven(room: Room) -> None:
    async with misbehaving(room, "banner") as link:
        assert await link.request("tools/call", {})
    assert room.stderr == ["stdout: Welcome to the tea server!", "stdout: 42"]


async def test_rubbish_before_the_handshake_is_not(room: Room) -> None:
    with pytest.raises(LinkError, match="it printed what is no JSON-RPC: 'rubbish'"):
        async with misbehaving(room, "garbage_first"):
            pass


@both_loops
@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("garbage", "it printed what is no JSON-RPC: 'Whoops: it went wrong'"),
        ("json", 'it printed what is no JSON-RPC: \'{"level":"info","msg":"a log line"}\''),
        ("utf8", "it printed what is not UTF-8"),
        ("huge", "it sent a line of more than 1000000 bytes"),
        ("killed", "it was killed by SIGKILL"),
        ("closes_stdout", "it closed its standard output"),
    ],
)
async def test_a_broken_link_fails_its_requests_within_a_second(room: Room, mode: str, reason: str) -> None:
    async with misbehaving(room, mode, message_bytes_max=1_000_000) as link:
        with anyio.fail_after(1), pytest.raises(LinkError) as failed:
            await link.request("tools/call", {})
        assert failed.value.reason.startswith(reason)
        assert failed.value.sent
        assert (await link.wait_closed()) == failed.value.reason
        with pytest.raises(LinkError) as late:
            await link.request("tools/call", {})
        assert not late.value.sent, "nothing left after the end"
        with pytest.raises(LinkError):
            await link.notify("notifications/x", {})


@pytest.mark.parametrize("mode", ["nan", "surrogate", "no_result"])
async def test_one_malformed_answer_fails_its_own_request_alone(room: Room, mode: str) -> None:
    """Ours: a cut emoji in one answer is not the fault of the others on the link."""
    async with misbehaving(room, mode) as link:
        with anyio.fail_after(1), pytest.raises(LinkError, match="the server's"):
            await link.request("tools/call", {})
        with pytest.raises(RemoteError):
            await link.request("prompts/list", {})


@pytest.mark.parametrize(("mode", "stray"), [("string_id", 1), ("wrong_id", 2), ("twice", 1)])
async def test_only_an_answer_with_the_exact_id_counts(room: Room, mode: str, stray: int) -> None:
    """Threat T6: `"2"` is not `2`."""
    async with misbehaving(room, mode) as link:
        assert isinstance(link, StdioLink)
        result = await link.request("tools/call", {})
        assert result["content"][0]["text"] == "good"
        with pytest.raises(RemoteError):
            await link.request("prompts/list", {})
        assert link.stray == stray


async def test_a_server_that_exits_in_a_call_says_its_last_words(room: Room) -> None:
    async with room.open("echo_stdio.py", "modern") as link:
        with pytest.raises(LinkError) as failed:
            await called(link, "exit")
    assert failed.value.reason == "it ended with exit status 3. Its last words: first words | the tea is out"


async def test_twenty_thousand_changes_do_not_hold_up_a_call(room: Room) -> None:
    async with misbehaving(room, "changes") as link:
        with anyio.fail_after(3):
            assert await link.request("tools/call", {})
    assert len(room.notifications) == 20_000


@both_loops
async def test_a_flood_on_stderr_is_cut_short_and_made_harmless(room: Room) -> None:
    async with misbehaving(room, "stderr") as link:
        with anyio.fail_after(3):
            assert await link.request("tools/call", {})
    assert room.stderr[0].startswith("red bell\ufffd yyy")
    assert len(room.stderr[0]) == 4096
    assert 500 <= len(room.stderr) < 5_000
    assert any(line.endswith("more lines, left out") for line in room.stderr)


@both_loops
async def test_a_server_that_asks_without_reading_does_not_fill_our_memory(room: Room) -> None:
    """20,000 questions of 1 KB, while it reads nothing: the answers beyond some 1 MB are left out."""
    async with misbehaving(room, "asks") as link:
        await link.request("tools/call", {})  # Sent before the answers, and read after all questions.
        answers = (await link.request("tools/call", {}))["answers"]
    assert 0 < answers < 4_000


@both_loops
async def test_requests_to_a_server_that_does_not_read_wait_and_can_be_cancelled(room: Room) -> None:
    async with misbehaving(room, "deaf") as link:
        assert isinstance(link, StdioLink)
        with anyio.move_on_after(0.5) as limit:
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(link.request, "tools/call", {"text": "x" * 500_000})
        assert limit.cancelled_caught
        assert link.unread_bytes < 4_000_000


async def test_a_server_that_ignores_eof_and_term_is_ended(room: Room) -> None:
    async with misbehaving(room, "stubborn"):
        pass
    assert len(room.children) == 0


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
