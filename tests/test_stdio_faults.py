"""A server that is a program, and how it may fail: at its start, in its words, at its end. Real processes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from connectors.base import ConfigError, LinkError, RemoteError
from connectors.stdio import Stdio, open_process
from connectors.stdio_link import StdioLink
from tests.stdio_room import Room, called, misbehaving, room_in

pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]

SECONDS = 20
"""A second on a machine that does nothing else; nothing else ends these waits before sixty."""


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with room_in(tmp_path) as room:
        yield room


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


@pytest.mark.both_loops
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
    with anyio.fail_after(20):
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


@pytest.mark.both_loops
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
async def test_a_broken_link_fails_its_requests_and_not_only_when_their_time_is_over(
    room: Room, mode: str, reason: str
) -> None:
    async with misbehaving(room, mode, message_bytes_max=1_000_000) as link:
        with anyio.fail_after(SECONDS), pytest.raises(LinkError) as failed:
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
        with anyio.fail_after(SECONDS), pytest.raises(LinkError, match="the server's"):
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
        with anyio.fail_after(SECONDS):
            assert await link.request("tools/call", {})
    assert len(room.notifications) == 20_000


@pytest.mark.both_loops
async def test_a_flood_on_stderr_is_cut_short_and_made_harmless(room: Room) -> None:
    async with misbehaving(room, "stderr") as link:
        with anyio.fail_after(SECONDS):
            assert await link.request("tools/call", {})
    assert room.stderr[0].startswith("red bell\ufffd yyy")
    assert len(room.stderr[0]) == 4096
    assert 500 <= len(room.stderr) < 5_000
    assert any(line.endswith("more lines, left out") for line in room.stderr)


@pytest.mark.both_loops
async def test_a_server_that_asks_without_reading_does_not_fill_our_memory(room: Room) -> None:
    """20,000 questions of 1 KB, while it reads nothing: the answers beyond some 1 MB are left out."""
    async with misbehaving(room, "asks") as link:
        await link.request("tools/call", {})  # Sent before the answers, and read after all questions.
        answers = (await link.request("tools/call", {}))["answers"]
    assert 0 < answers < 4_000


@pytest.mark.both_loops
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
