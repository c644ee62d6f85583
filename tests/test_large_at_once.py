"""Large results are read and worked on as far as there is room, over all servers; the others wait."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from asyncio import StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from connectors.base import Json, Link, LinkError
from connectors.children import Children
from connectors.large import LARGE_BYTES, Hold, Large
from connectors.stdio import Stdio
from tests.homes import Running, eventually, running, token, write
from tests.house import headers_of, modern
from tests.http_room import Room
from tests.http_scripts import CALL, linked, stream_of
from tests.large_room import MIB, SECONDS_MAX, peak_bytes, served
from tests.servers import dictated, fault_http
from tests.servers.fault_http import SSE_HEAD, Request, result

TEXT = "x" * (3 * MIB)
RESULT = {"content": [{"type": "text", "text": TEXT}]}
WIRES = ["json", "chunked", "events", "stdio"]

pytestmark = pytest.mark.anyio


async def _answer(request: Request, writer: StreamWriter, wire: str) -> None:
    said = result(request, RESULT if request.message["method"] == "tools/call" else {})
    if wire == "json":
        writer.write(fault_http.http(200, said))
    elif wire == "events":
        writer.write(stream_of(said.decode()))
    else:
        head = SSE_HEAD.replace(b"text/event-stream", b"application/json")
        writer.write(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(said), said))
    await writer.drain()


@asynccontextmanager
async def opened(home: Path, wire: str, large: Large, name: str = "box") -> AsyncIterator[Link]:
    """A link to a server that answers each call with three MiB."""
    room = Room(home)
    if wire == "stdio":
        folder = home / name
        folder.mkdir()
        (folder / "answer").write_text(f'"result":{json.dumps(RESULT)}')
        command = [sys.executable, str(Path(dictated.__file__)), "modern", name, str(folder)]
        async with Children() as children:
            context = room.context(children=children, large=large, name=name)
            async with Stdio(command=command).open(context) as link:
                yield link
        return

    async def on_call(request: Request, writer: StreamWriter) -> None:
        await _answer(request, writer, wire)

    async with linked(room, fault_http.modern(on_call), large=large, name=name) as (link, _):
        yield link


@pytest.mark.parametrize("wire", WIRES)
async def test_a_large_result_is_not_read_to_its_end_before_another_is_let_go(
    tmp_path: Path, wire: str
) -> None:
    large, got = Large(2 * MIB), list[Json]()
    with anyio.fail_after(30):
        async with opened(tmp_path, wire, large) as link, anyio.create_task_group() as tasks:

            async def call() -> None:
                got.append(await link.request("tools/call", CALL))

            await call()
            assert got[0]["content"][0]["text"] == TEXT
            assert not large.is_free
            tasks.start_soon(call)
            await eventually(lambda: large.waiting == 1)
            got.clear()
            await eventually(lambda: got != [])
            assert got[0]["content"][0]["text"] == TEXT
            got.clear()
            await eventually(lambda: large.is_free)


@pytest.mark.parametrize("wire", WIRES)
async def test_who_waits_for_room_can_be_cancelled_and_the_link_serves_on(tmp_path: Path, wire: str) -> None:
    large = Large(2 * MIB)
    with anyio.fail_after(30):
        async with opened(tmp_path, wire, large) as link:
            first = await link.request("tools/call", CALL)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.request, "tools/call", CALL)
                await eventually(lambda: large.waiting == 1)
                tasks.cancel_scope.cancel()
            if wire != "stdio":  # Where the rest of it lies in the pipe, and must be read all the same.
                await eventually(lambda: large.waiting == 0)
            del first
            assert (await link.request("tools/call", CALL))["content"][0]["text"] == TEXT
            await eventually(lambda: large.is_free)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_link_that_ends_while_it_waits_leaves_no_room_taken(tmp_path: Path, wire: str) -> None:
    large = Large(2 * MIB)
    taken = large.hold("other")
    assert taken.grow(9 * MIB, lambda: None)

    async def call(link: Link) -> None:
        with pytest.raises(LinkError, match=r"closed|broke"):
            await link.request("tools/call", CALL)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks, opened(tmp_path, wire, large) as link:
            tasks.start_soon(call, link)
            await eventually(lambda: large.waiting == 1)
        assert large.waiting == 0
        del taken
        await eventually(lambda: large.is_free)


async def test_one_that_is_larger_than_all_the_room_goes_alone() -> None:
    large = Large(4 * MIB)
    first, second, third = (large.hold(name) for name in ("one", "two", "three"))
    heard: list[str] = []
    assert first.grow(9 * MIB, lambda: heard.append("one"))
    assert not second.grow(9 * MIB, lambda: heard.append("two"))
    assert not third.grow(9 * MIB, lambda: heard.append("three"))
    assert first.grow(20 * MIB, lambda: heard.append("one")), "it grows on, whatever waits"
    del first
    await _heard(heard, ["two"])
    assert second.size > 9 * MIB
    del second
    await _heard(heard, ["two", "three"])
    del third
    await eventually(lambda: large.is_free)


async def test_a_server_that_begins_large_results_and_never_ends_them_leaves_half_the_room_to_others() -> (
    None
):
    large = Large(8 * MIB)
    stuck = [large.hold("bad") for _ in range(20)]
    went_on = [hold.grow(MIB, lambda: None) for hold in stuck]
    # Two within its half, and one more that may grow as it likes.
    assert went_on.count(True) == 3
    good = large.hold("good")
    assert good.grow(2 * MIB, lambda: None)
    assert large.waiting == 17
    for hold in stuck:
        hold.leave()


async def test_servers_take_turns_at_what_goes_beyond_the_room() -> None:
    large, heard = Large(4 * MIB), list[str]()
    taken: list[Hold] = []
    for number in range(3):
        taken.append(large.hold("busy"))
        taken[-1].grow(1, lambda number=number: heard.append(f"busy {number}"))  # type: ignore[misc]
    other = large.hold("other")
    assert not other.grow(9 * MIB, lambda: heard.append("other"))
    assert heard == []
    exceeding = next(hold for hold in taken if hold.exceeds)
    taken.remove(exceeding)
    del exceeding
    await _heard(heard, ["other"])
    for hold in taken:
        hold.leave()


async def test_what_is_smaller_takes_no_room(tmp_path: Path) -> None:
    large = Large(2 * MIB)
    small: Any = {"content": [{"type": "text", "text": "x" * (LARGE_BYTES - 1000)}]}

    async def on_call(request: Request, writer: StreamWriter) -> None:
        writer.write(fault_http.http(200, result(request, small)))

    with anyio.fail_after(30):
        async with linked(Room(tmp_path), fault_http.modern(on_call), large=large) as (link, _):
            kept = [await link.request("tools/call", CALL) for _ in range(4)]
            assert len(kept) == 4 and large.is_free


async def _heard(heard: list[str], wanted: list[str]) -> None:
    await eventually(lambda: len(heard) == len(wanted))
    assert heard == wanted


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc, which only Linux has")
def test_12_calls_at_once_with_20_mb_results_take_the_memory_of_a_few(tmp_path: Path) -> None:
    """Without a bound of what is worked on at once it is 390 MB; with `large: 64MiB` it is 130."""
    write(tmp_path, "me", agent="me", may=["*"])
    with served("x" * (20 * MIB)) as urls:
        write(tmp_path, "box", server="box", connect={"url": urls["modern"]}, era="modern")
        with running(tmp_path) as hub:
            hub.until("box: ready")
            credential = token(tmp_path)
            before = peak_bytes(hub) or 0
            answers: list[Json] = []
            calls = [
                threading.Thread(target=lambda: answers.append(_call(hub, credential))) for _ in range(12)
            ]
            for call in calls:
                call.start()
            for call in calls:
                call.join(SECONDS_MAX)
            assert [each["result"]["_meta"]["hub/result"]["limit"] for each in answers] == [25_000] * 12
            more = (peak_bytes(hub) or 0) - before
            assert more < 220 * MIB, f"{more // MIB} MiB more"


def _call(hub: Running, credential: str) -> Json:
    host, _, port = hub.url.split("/")[2].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=SECONDS_MAX)
    body = modern("tools/call", {"name": "box__echo", "arguments": {}})
    headers = {
        "authorization": f"Bearer {credential}",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        **headers_of(body),
    }
    connection.request("POST", "/mcp", json.dumps(body).encode(), headers)
    answered: Json = json.loads(connection.getresponse().read())
    connection.close()
    return answered
