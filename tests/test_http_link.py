"""Streamable HTTP against a real server written with the SDK, in both eras."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup, TaskStatus
from pydantic import ValidationError

from connectors.base import ConfigError, Era, Json, Link, LinkError, RemoteError
from connectors.http import Http
from tests.http_room import Room
from tests.servers.sdk_http import Running, serve

# What depends on the loop is tried on both in `test_http_pool`.
pytestmark = [pytest.mark.anyio, pytest.mark.uvloop]

ERAS: list[Era] = ["modern", "legacy"]


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    with anyio.fail_after(60):
        yield Room(tmp_path)


@pytest.fixture
async def server(room: Room) -> AsyncIterator[Running]:
    async with serve() as running:
        yield running


async def said(link: Link, tool: str, text: str | None = None, **options: Any) -> str:
    """Call a tool; the text of its answer."""
    result = await link.request("tools/call", {"name": tool, "arguments": {"text": text}}, **options)
    words: str = result["content"][0]["text"]
    return words


@pytest.mark.parametrize(
    ("era", "version"), [("modern", "2026-07-28"), ("legacy", "2025-11-25"), ("auto", "2026-07-28")]
)
async def test_a_server_is_spoken_to_in_the_era_that_was_asked_for(
    room: Room, server: Running, era: Era, version: str
) -> None:
    async with room.open(server.url, era=era) as link:
        assert link.peer.version == version
        assert link.peer.info["name"] == "referee"
        assert link.peer.instructions == "Say something."
        assert await said(link, "echo", "tea") == "tea"
        names = [tool["name"] for tool in (await link.request("tools/list", {}))["tools"]]
        assert "echo" in names


async def test_what_was_agreed_on_last_time_is_tried_first(room: Room, server: Running) -> None:
    async with room.open(server.url, version="2025-06-18") as link:
        assert link.peer.version == "2025-06-18"
        assert await said(link, "echo", "tea") == "tea"


@pytest.mark.parametrize("json_response", [True, False])
@pytest.mark.parametrize("era", ERAS)
async def test_two_hundred_requests_at_once_each_get_their_own_answer(
    room: Room, era: Era, json_response: bool
) -> None:
    async def call(number: int) -> None:
        assert await said(link, "echo", f"cup {number}") == f"cup {number}"

    async with (
        serve(json_response=json_response) as server,
        room.open(server.url, era=era) as link,
        anyio.create_task_group() as tasks,
    ):
        for number in range(200):
            tasks.start_soon(call, number)


@pytest.mark.parametrize("era", ERAS)
async def test_a_server_s_own_error_reaches_the_asker(room: Room, server: Running, era: Era) -> None:
    async with room.open(server.url, era=era) as link:
        with pytest.raises(RemoteError) as failed:
            await link.request("tea/brew", {})
        assert failed.value.code == -32601
        with pytest.raises(RemoteError) as failed:
            await link.request("tools/list", {"cursor": 5})
        assert failed.value.code == -32602


@pytest.mark.parametrize("token", ["mine", 7])
@pytest.mark.parametrize("era", ERAS)
async def test_progress_comes_with_the_asker_s_own_token(
    room: Room, server: Running, era: Era, token: object
) -> None:
    got: list[tuple[str, Json]] = []
    params = {"name": "progress", "_meta": {"progressToken": token}}
    async with room.open(server.url, era=era) as link:
        await link.request("tools/call", params, on_notify=lambda *notification: got.append(notification))
    assert [method for method, _ in got] == ["notifications/progress"] * 3
    assert [(params["progressToken"], params["progress"]) for _, params in got] == [
        (token, n) for n in (1, 2, 3)
    ]
    assert params == {"name": "progress", "_meta": {"progressToken": token}}


@pytest.mark.parametrize("era", ERAS)
async def test_cancelling_reaches_the_server(room: Room, server: Running, era: Era) -> None:
    async with room.open(server.url, era=era) as link:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(said, link, "slow")
            await server.started.wait()
            tasks.cancel_scope.cancel()
        await server.cancelled.wait()
        assert await said(link, "echo", "still here") == "still here"


async def test_a_legacy_server_s_change_of_its_tools_is_heard_of(room: Room, server: Running) -> None:
    async with room.open(server.url, era="legacy") as link:
        await said(link, "echo")
        while not room.notifications:  # the stream is opened in the background
            await server.change_tools()
            with anyio.move_on_after(0.1):
                await room.heard("notifications/tools/list_changed")
        assert room.notifications[0] == ("notifications/tools/list_changed", {})


async def test_a_legacy_server_s_question_is_answered(room: Room, server: Running) -> None:
    async def on_request(method: str, params: Json) -> Json:
        assert method == "roots/list"
        return {"roots": [{"uri": "file:///tea"}]}

    async with room.open(server.url, era="legacy", on_request=on_request, capabilities={"roots": {}}) as link:
        assert await said(link, "roots") == "file:///tea"


async def test_a_question_that_nobody_takes_is_answered_method_not_found(room: Room, server: Running) -> None:
    async with room.open(server.url, era="legacy", capabilities={"roots": {}}) as link:
        with pytest.raises(RemoteError, match="Method not found"):
            await said(link, "roots")


async def test_a_name_that_no_header_can_carry_is_encoded(room: Room, server: Running) -> None:
    """The server compares header and body, and refuses what differs (-32020)."""
    async with room.open(server.url, era="modern") as link:
        assert await said(link, "écho", "tea") == "tea"
        assert await said(link, "=?base64?eA==?=", "tea") == "tea"


@pytest.mark.parametrize("region", ["us-west1", "Zürich\r\nX-Other: b", " padded "])
async def test_parameters_are_repeated_as_headers(room: Room, server: Running, region: str) -> None:
    params = {"name": "region", "arguments": {"region": region}}
    async with room.open(server.url, era="modern") as link:
        assert await link.request("tools/call", params, headers={"Mcp-Param-Region": region})
        with pytest.raises(RemoteError) as failed:
            await link.request("tools/call", params, headers={"Mcp-Param-Region": "elsewhere"})
        assert failed.value.code == -32020


async def test_a_session_is_ended_with_its_link(room: Room, server: Running) -> None:
    async with room.open(server.url, era="legacy") as link:
        await said(link, "echo")
        assert len(server.server.session_manager._server_instances) == 1
    assert len(server.server.session_manager._server_instances) == 0


class Restartable:
    """One port, on which a server can be stopped and another one started."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._port = 0
        self._stop, self._stopped = anyio.Event(), anyio.Event()

    async def start(self) -> str:
        self._stop, self._stopped = anyio.Event(), anyio.Event()
        url: str = await self._tasks.start(self._run)
        self._port = int(url.split(":")[2].partition("/")[0])
        return url

    async def stop(self) -> None:
        self._stop.set()
        await self._stopped.wait()

    async def _run(self, task_status: TaskStatus[str]) -> None:
        async with serve(port=self._port) as running:
            task_status.started(running.url)
            await self._stop.wait()
        self._stopped.set()


async def test_a_link_whose_session_was_forgotten_is_over_and_a_new_one_works(room: Room) -> None:
    async with anyio.create_task_group() as tasks:
        server = Restartable(tasks)
        url = await server.start()
        async with room.open(url, era="legacy") as link:
            await said(link, "echo")
            await server.stop()
            await server.start()
            for _ in range(2):
                with pytest.raises(LinkError, match="no longer knows the session") as failed:
                    await said(link, "echo")
                assert not failed.value.sent
            assert "no longer knows the session" in await link.wait_closed()
        async with room.open(url, era="legacy") as again:
            assert await said(again, "echo", "back") == "back"
        await server.stop()


async def test_a_modern_link_outlives_a_restart_of_its_server(room: Room) -> None:
    async with anyio.create_task_group() as tasks:
        server = Restartable(tasks)
        url = await server.start()
        async with room.open(url, era="modern") as link:
            assert await said(link, "echo", "one") == "one"
            await server.stop()
            with pytest.raises(LinkError, match="could not connect") as failed:
                await said(link, "echo", "two")
            assert not failed.value.sent
            await server.start()
            assert await said(link, "echo", "three") == "three"
        await server.stop()


async def test_an_error_in_the_body_comes_out_as_it_is(room: Room, server: Running) -> None:
    with pytest.raises(KeyError):
        async with room.open(server.url):
            raise KeyError("tea")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"url": "ftp://host/"}, "http:// or https://"),
        ({"url": "http:///mcp"}, "names no host"),
        ({"url": "http://user:pw@host/mcp"}, "no name or password"),
        ({"url": "http://host:99999/mcp"}, "cannot be read"),
        ({"url": "http://ho st/mcp"}, "white space"),
        ({"url": "http://host/mcp\r\nX: y"}, "white space"),
        ({"url": "http://a..b/mcp"}, "cannot be read"),
        ({"url": "http://host/", "headers": {"X Y": "z"}}, "no name of a header"),
        ({"url": "http://host/", "headers": {"X:Y\r\n": "z"}}, "no name of a header"),
        ({"url": "http://host/", "headers": {"Content-length": "1"}}, "set by the connection"),
        ({"url": "http://host/", "headers": {"Mcp-Session-Id": "1"}}, "set by the connection"),
        ({"url": "http://host/", "headers": {"X-A": "1", "x-a": "2"}}, "given twice"),
        ({"url": "http://host/", "header": {}}, "Extra inputs"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(config: Json, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Http(**config)


async def test_a_header_that_would_start_another_one_is_refused_without_showing_it(room: Room) -> None:
    for value in ("${LINES}", "${TOKEN}\n", "", "Zürich", "a\0b"):
        with pytest.raises(ConfigError, match=r"headers: X-Key: .* no line end") as refused:
            async with room.open("http://localhost:1/mcp", {"headers": {"X-Key": value}}):
                pass
        assert "tok-123" not in str(refused.value)
        assert "X-Other" not in str(refused.value)


async def test_a_url_is_checked_again_when_its_variables_are_known(room: Room) -> None:
    with pytest.raises(ConfigError, match=r"url: .* white space"):
        async with room.open("http://localhost:1/${LINES}"):
            pass


def test_what_is_shown_of_it_holds_no_query() -> None:
    shown = Http(
        url="https://host:8443/mcp?key=secret#x", headers={"Authorization": "Bearer ${TOKEN}"}
    ).describe()
    assert shown == "https://host:8443/mcp"
    assert Http(url="https://${TOKEN}/mcp").describe() == "https://${TOKEN}/mcp"
