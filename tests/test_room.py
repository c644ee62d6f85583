"""Which of many calls waits at one server, and for whom (`Room`); how many one agent has (`Portion`)."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

import anyio
import anyio.lowlevel
import pytest

from hub.errors import UpstreamDown
from hub.upstreams.portion import LOOK_SECONDS, OTHERS_SECONDS
from hub.upstreams.room import WAITING_MAX, Room, Waiting

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


Ends = Callable[["Serving"], float]
"""When a call ends that begins now."""


class Serving:
    """A server of 64 places whose calls end when they do, by a clock of its own; agents that call it."""

    def __init__(self, ends: Ends) -> None:
        self.clock = Clock()
        self.room = Room("tea", 64, self.clock)
        self.ends = ends
        self.free_at = 0.0
        self.under_way: list[tuple[float, int, str]] = []
        self.waiting: list[tuple[Waiting, float]] = []
        self.took: dict[str, list[float]] = {}
        self.calling: dict[str, int] = {}
        """How many calls each agent always has under way, or waiting."""
        self._began: dict[int, float] = {}
        self._numbers = count()

    def held(self, agent: str) -> int:
        return sum(agent == each for _, _, each in self.under_way)

    def call(self, agent: str) -> None:
        waiting = self.room.enter(agent)
        if waiting is None:
            self._begin(agent, self.clock.now)
        else:
            self.waiting.append((waiting, self.clock.now))

    def run(self, seconds: float) -> None:
        until = self.clock.now + seconds
        while self.under_way and self.under_way[0][0] <= until:
            self.clock.now, number, agent = heapq.heappop(self.under_way)
            self.took.setdefault(agent, []).append(self.clock.now - self._began.pop(number))
            self.room.leave(agent)
            if agent in self.calling:
                self.call(agent)
            self._go_on()
        self.clock.now = until

    def _go_on(self) -> None:
        for each in [each for each in self.waiting if each[0].turn.is_set()]:
            self.waiting.remove(each)
            self._begin(each[0].agent, each[1])

    def look(self) -> None:
        """What calls that wait do in a while."""
        self.room.look()
        self._go_on()

    def _begin(self, agent: str, began: float) -> None:
        number = next(self._numbers)
        self._began[number] = began
        heapq.heappush(self.under_way, (self.ends(self), number, agent))

    def keep_calling(self, agent: str, calls: int) -> None:
        self.calling[agent] = calls
        for _ in range(calls):
            self.call(agent)


def one_by_one(seconds: float) -> Ends:
    def ends(serving: Serving) -> float:
        serving.free_at = max(serving.free_at, serving.clock.now) + seconds
        return serving.free_at

    return ends


def beside_each_other(seconds: float) -> Ends:
    return lambda serving: serving.clock.now + seconds


async def test_where_a_server_does_one_thing_at_a_time_another_agent_waits_for_one_call_and_not_for_60() -> (
    None
):
    serving = Serving(one_by_one(0.005))
    serving.keep_calling("noisy", 200)
    serving.run(5)
    assert serving.held("noisy") == 60  # for nobody else is there
    serving.keep_calling("quiet", 1)
    serving.run(10)
    assert serving.took["quiet"][0] > 60 * 0.005
    assert max(serving.took["quiet"][-100:]) < 4 * 0.005
    # Nothing is lost for it: something is always being done.
    assert len(serving.took["noisy"]) + len(serving.took["quiet"]) == pytest.approx(15 / 0.005, rel=0.01)


async def test_where_calls_take_their_time_beside_each_other_an_agent_keeps_its_places() -> None:
    serving = Serving(beside_each_other(0.1))
    serving.keep_calling("noisy", 200)
    serving.keep_calling("quiet", 1)
    serving.run(60)
    assert len(serving.took["noisy"]) > 0.9 * 60 * 60 / 0.1
    assert set(map(round, (each * 1e6 for each in serving.took["quiet"]))) == {100_000}


async def test_where_eight_are_done_at_a_time_an_agent_gets_on_as_fast_with_few_more_places() -> None:
    lanes = [0.0] * 8

    def ends(serving: Serving) -> float:
        lane = heapq.heappop(lanes)
        heapq.heappush(lanes, end := max(lane, serving.clock.now) + 0.02)
        return end

    serving = Serving(ends)
    serving.keep_calling("noisy", 200)
    serving.keep_calling("quiet", 1)
    serving.run(30)
    assert len(serving.took["noisy"]) > 0.85 * 30 * 8 / 0.02
    latest = sorted(serving.took["quiet"][-200:])
    assert latest[100] < 3 * 0.02


async def test_when_calls_become_long_an_agent_has_all_its_places_again_in_a_moment() -> None:
    serving = Serving(one_by_one(0.001))
    serving.keep_calling("noisy", 200)
    serving.keep_calling("quiet", 1)
    serving.run(5)
    assert serving.held("noisy") < 5
    serving.ends = beside_each_other(100)
    serving.run(2 * LOOK_SECONDS)
    serving.look()
    assert serving.held("noisy") == 60


async def test_when_no_other_agent_has_come_for_a_while_an_agent_has_all_its_places_again() -> None:
    serving = Serving(one_by_one(0.01))
    serving.keep_calling("noisy", 200)
    serving.call("quiet")
    serving.run(OTHERS_SECONDS - 5)
    assert serving.held("noisy") < 5
    serving.run(10)
    assert serving.held("noisy") == 60


async def test_calls_that_wait_find_out_by_themselves_that_there_are_places_again() -> None:
    clock = Clock()
    serving = Serving(one_by_one(0.001))
    clock = serving.clock
    serving.keep_calling("noisy", 100)
    serving.keep_calling("quiet", 1)
    serving.run(5)
    room, entered = serving.room, 0
    for waiting, _ in serving.waiting:
        waiting.gone = True

    async def use() -> None:
        nonlocal entered
        waiting = room.enter("noisy")
        assert waiting is not None
        await room.wait(waiting)
        entered += 1

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(use)
            await anyio.lowlevel.checkpoint()
            assert not entered
            clock.now += 2 * LOOK_SECONDS
    assert entered == 10


async def test_the_places_of_a_server_go_round_the_agents_that_wait_for_them() -> None:
    room, served = Room("tea", 1, Clock()), list[str]()

    async def use(agent: str) -> None:
        waiter = room.enter(agent)
        if waiter is not None:
            await room.wait(waiter)
        served.append(agent)
        await anyio.lowlevel.checkpoint()
        room.leave(agent)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for agent in ("noisy",) * 6 + ("quiet",):
                tasks.start_soon(use, agent)
    assert served.index("quiet") <= 2
    assert room.enter("quiet") is None


async def test_of_many_places_some_are_kept_from_an_agent_that_has_all_others() -> None:
    room = Room("tea", 64, Clock())
    begun = [room.enter("noisy") for _ in range(64)]
    assert begun.count(None) == 60
    assert [room.enter("quiet") for _ in range(4)] == [None] * 4
    more = room.enter("quiet")
    room.leave("noisy")
    # Whoever waited first is the first to go on, and each place is given once.
    assert [each.turn.is_set() for each in begun if each is not None] == [True, False, False, False]
    assert more is not None and not more.turn.is_set()
    room.leave("quiet")
    assert more.turn.is_set()
    for _ in range(60):
        room.leave("noisy")
    assert all(each is None or each.turn.is_set() for each in begun)


async def test_more_waiting_calls_than_a_server_may_have_are_refused_but_of_an_agent_with_none() -> None:
    room = Room("tea", 1, Clock())
    for _ in range(1 + WAITING_MAX):
        room.enter("noisy")
    with pytest.raises(UpstreamDown, match="Try again in a second") as refusal:
        room.enter("noisy")
    assert refusal.value.retry_seconds == 1
    assert room.enter("quiet") is not None


async def test_a_call_that_is_given_up_while_it_waits_leaves_its_place_to_the_next() -> None:
    room = Room("tea", 1, Clock())
    assert room.enter("one") is None
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            waiter = room.enter("two")
            assert waiter is not None
            tasks.start_soon(room.wait, waiter)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        room.leave("one")
        assert room.enter("three") is None
