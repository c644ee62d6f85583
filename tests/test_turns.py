"""Which of many requests waits, and for whom, at the hub's door (`Turns`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from hub.server.turns import (
    AT_ONCE,
    FEW,
    FEW_ALONE,
    HERE_MAX,
    OWN_MAX,
    TOLD_EACH,
    TOLD_LEAST,
    Turns,
)
from hub.server.wire_connection import Connection
from hub.server.wire_request import Head, Request

pytestmark = pytest.mark.anyio


class Ends:
    """The connection of one request: keeps what is answered."""

    lost = False

    def __init__(self, run: Callable[[Request], None], lasting: bool = True) -> None:
        self.run = run
        self.sent = b""
        self.lasting = lasting

    def put(self, data: bytes) -> None:
        self.sent += data

    def keeps(self, request: Request) -> bool:
        return self.lasting

    def answered(self) -> None: ...

    def refuse_more(self) -> None: ...


class Door:
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.under_way: dict[Request, str] = {}
        self.behind = False
        self.turns = Turns(self.under_way, is_behind=lambda: self.behind)

    def come(self, who: str, path: str = "/mcp", *, lasting: bool = True) -> Ends:
        def run(request: Request) -> None:
            self.begun.append(who)
            self.under_way[request] = who

        ends = Ends(run, lasting)
        head = Head("POST", path, [(b"authorization", who.encode())])
        self.turns.take(Request(cast(Connection, ends), head, whole=True))
        return ends

    def answer(self, count: int) -> None:
        for request in list(self.under_way)[:count]:
            del self.under_way[request]
            self.turns.freed(request)


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
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


@pytest.mark.parametrize(("others", "few"), [(0, FEW_ALONE), (1, FEW)])
async def test_where_many_end_in_one_turn_fewer_are_under_way_and_by_and_by_all_again(
    others: int, few: int
) -> None:
    door = Door()
    for _ in range(HERE_MAX):
        door.come("noisy")
    for _ in range(others):
        door.come("quiet")
    await until(lambda: len(door.under_way) == OWN_MAX + others)
    door.answer(OWN_MAX - 4)
    await until(lambda: len(door.begun) > OWN_MAX + others)
    assert len(door.under_way) <= 4 + few + others
    await until(lambda: len(door.begun) == HERE_MAX + others)


async def test_where_few_end_in_a_turn_as_many_stay_under_way() -> None:
    door = Door()
    for _ in range(HERE_MAX):
        door.come("noisy")
    await until(lambda: len(door.under_way) == OWN_MAX)
    for _ in range(20):
        door.answer(FEW)
        await until(lambda: len(door.under_way) == OWN_MAX)


async def test_where_an_agent_may_have_less_under_way_as_many_more_wait_and_none_is_refused() -> None:
    door = Door()
    for _ in range(HERE_MAX):
        door.come("noisy")
    await until(lambda: len(door.under_way) == OWN_MAX)
    assert door.come("noisy").sent.startswith(b"HTTP/1.1 429 ")
    door.answer(OWN_MAX)
    await until(lambda: len(door.begun) > OWN_MAX)
    free = HERE_MAX - len(door.under_way) - len(door.turns)
    assert len(door.under_way) <= 2 * AT_ONCE
    assert not any(door.come("noisy").sent for _ in range(free))
    assert door.come("noisy").sent


async def test_what_does_not_fit_is_told_at_once_when_to_come_again_and_an_idle_agent_still_may() -> None:
    door = Door()
    for _ in range(HERE_MAX):
        assert door.come("noisy").sent == b""
    refused = door.come("noisy")
    assert refused.sent.startswith(b"HTTP/1.1 429 ") and b"retry-after: 1\r\n" in refused.sent
    assert error_of(refused)["data"] == {"reason": "busy", "retry_after_seconds": 1}
    assert door.come("quiet").sent == b""


async def test_so_many_are_told_at_once_and_further_ones_soon_in_the_order_in_which_they_came() -> None:
    door, at_once = Door(), TOLD_LEAST
    for _ in range(HERE_MAX):
        door.come("noisy")
    await until(lambda: len(door.under_way) == OWN_MAX)
    refused = [door.come("noisy") for _ in range(3 * at_once)]
    told = [bool(each.sent) for each in refused]
    assert told == [True] * at_once + [False] * (2 * at_once)
    await until(lambda: bool(refused[at_once].sent))
    assert not refused[-1].sent
    await until(lambda: all(each.sent for each in refused))
    assert {each.sent for each in refused} == {refused[0].sent}


async def test_the_more_is_begun_the_more_are_told() -> None:
    door = Door()
    for _ in range(HERE_MAX):
        door.come("noisy")
    await until(lambda: len(door.under_way) == OWN_MAX)
    refused = [door.come("noisy") for _ in range(5 * TOLD_LEAST)]
    door.answer(FEW)
    await until(lambda: len(door.under_way) == OWN_MAX)
    await until(lambda: bool(refused[TOLD_LEAST].sent))
    assert sum(bool(each.sent) for each in refused) == 2 * TOLD_LEAST + TOLD_EACH * FEW


async def test_who_is_refused_and_leaves_is_not_waited_for() -> None:
    door, at_once = Door(), TOLD_LEAST
    for _ in range(HERE_MAX + at_once):
        door.come("noisy")
    left, stays = door.come("noisy"), door.come("noisy")
    left.lost = True
    await until(lambda: bool(stays.sent))


async def test_a_refusal_is_the_same_where_its_connection_ends_but_for_saying_so() -> None:
    door = Door()
    for _ in range(HERE_MAX):
        door.come("noisy")
    goes_on, ends = door.come("noisy"), door.come("noisy", lasting=False)
    assert ends.sent.replace(b"connection: close\r\n", b"") == goes_on.sent
    assert b"connection: close\r\n" in ends.sent


async def test_nothing_is_begun_while_what_is_done_cannot_be_recorded_fast_enough() -> None:
    door = Door()
    door.behind = True
    door.come("me")
    door.come("you")
    for _ in range(5):
        await anyio.lowlevel.checkpoint()
    door.come("me", "/ready")
    assert door.begun == ["me"]  # that is all that is
    assert len(door.turns) == 2
    door.behind = False
    await until(lambda: door.begun == ["me", "me", "you"])


async def test_a_hub_that_ends_answers_503_and_still_says_how_it_is() -> None:
    door = Door()
    door.turns.end()
    refused = door.come("me")
    assert refused.sent.startswith(b"HTTP/1.1 503 ")
    assert error_of(refused)["data"]["reason"] == "ending"
    door.come("me", "/ready")
    assert door.begun == ["me"]
