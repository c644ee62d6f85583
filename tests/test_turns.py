"""Which of many waits, and for whom: at the hub's door (`Turns`) and at one server (`Room`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from hub.errors import UpstreamDown
from hub.room import WAITING_MAX, Room
from hub.server.turns import AT_ONCE, BURST_MAX, OWN_MAX, STANDING_MAX, Turns
from hub.server.wire_connection import Connection
from hub.server.wire_request import Head, Request

pytestmark = pytest.mark.anyio


class Ends:
    """The connection of one request: keeps what is answered."""

    lost = False

    def __init__(self, run: Callable[[Request], None]) -> None:
        self.run = run
        self.sent = b""

    def put(self, data: bytes) -> None:
        self.sent += data

    def keeps(self, request: Request) -> bool:
        return True

    def answered(self) -> None: ...

    def refuse_more(self) -> None: ...


class Door:
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.under_way: dict[Request, str] = {}
        self.turns = Turns(self.under_way)

    def come(self, who: str, path: str = "/mcp") -> Ends:
        def run(request: Request) -> None:
            self.begun.append(who)
            self.under_way[request] = who

        ends = Ends(run)
        head = Head("POST", path, [(b"authorization", who.encode())])
        self.turns.take(Request(cast(Connection, ends), head, whole=True))
        return ends

    def answer(self, count: int) -> None:
        for request in list(self.under_way)[:count]:
            del self.under_way[request]
            self.turns.freed()


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not holds():
            await anyio.lowlevel.checkpoint()


def error_of(ends: Ends) -> Any:
    return json.loads(ends.sent.partition(b"\r\n\r\n")[2])["error"]


async def test_one_turn_of_the_event_loop_begins_so_many_requests_and_the_next_one_goes_on() -> None:
    door = Door()
    for _ in range(AT_ONCE + 5):
        door.come("me")
    assert len(door.begun) == AT_ONCE
    await until(lambda: len(door.begun) == AT_ONCE + 5)


async def test_who_comes_after_a_flood_of_another_agent_does_not_wait_behind_all_of_it() -> None:
    door = Door()
    for _ in range(OWN_MAX + 100):
        door.come("noisy")
    door.come("quiet")
    await until(lambda: "quiet" in door.begun)
    assert door.begun.index("quiet") <= 2 * AT_ONCE


async def test_one_agent_has_at_most_so_many_under_way_and_the_rest_follow_as_they_are_answered() -> None:
    door = Door()
    for _ in range(OWN_MAX + 10):
        door.come("noisy")
    await until(lambda: len(door.begun) == OWN_MAX)
    for _ in range(5):
        await anyio.lowlevel.checkpoint()
    assert len(door.begun) == OWN_MAX
    door.answer(10)
    await until(lambda: len(door.begun) == OWN_MAX + 10)


async def test_what_does_not_fit_is_told_at_once_when_to_come_again_and_an_idle_agent_still_may() -> None:
    door = Door()
    for _ in range(AT_ONCE + BURST_MAX):
        assert door.come("noisy").sent == b""
    refused = door.come("noisy")
    assert refused.sent.startswith(b"HTTP/1.1 429 ") and b"retry-after: 1\r\n" in refused.sent
    assert error_of(refused)["data"] == {"reason": "busy", "retry_after_seconds": 1}
    assert door.come("quiet").sent == b""


async def test_a_queue_that_stands_for_long_is_cut_short() -> None:
    door = Door()
    for _ in range(AT_ONCE + STANDING_MAX):
        door.come("noisy")
    assert door.come("noisy").sent == b""
    door.turns.tick()
    assert door.come("noisy").sent.startswith(b"HTTP/1.1 429 ")


async def test_a_hub_that_ends_answers_503_and_still_says_how_it_is() -> None:
    door = Door()
    door.turns.end()
    refused = door.come("me")
    assert refused.sent.startswith(b"HTTP/1.1 503 ")
    assert error_of(refused)["data"]["reason"] == "ending"
    door.come("me", "/ready")
    assert door.begun == ["me"]


async def test_the_places_of_a_server_go_round_the_agents_that_wait_for_them() -> None:
    room, served = Room("tea", 1), list[str]()

    async def use(agent: str) -> None:
        waiter = room.enter(agent)
        if waiter is not None:
            await room.wait(waiter)
        served.append(agent)
        await anyio.lowlevel.checkpoint()
        room.leave()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for agent in ("noisy",) * 6 + ("quiet",):
                tasks.start_soon(use, agent)
    assert served.index("quiet") <= 2
    assert room.enter("quiet") is None


async def test_more_waiting_calls_than_a_server_may_have_are_refused_but_of_an_agent_with_none() -> None:
    room = Room("tea", 1)
    for _ in range(1 + WAITING_MAX):
        room.enter("noisy")
    with pytest.raises(UpstreamDown, match="Try again in a second") as refusal:
        room.enter("noisy")
    assert refusal.value.retry_seconds == 1
    assert room.enter("quiet") is not None


async def test_a_call_that_is_given_up_while_it_waits_leaves_its_place_to_the_next() -> None:
    room = Room("tea", 1)
    assert room.enter("one") is None
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            waiter = room.enter("two")
            assert waiter is not None
            tasks.start_soon(room.wait, waiter)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        room.leave()
        assert room.enter("three") is None
