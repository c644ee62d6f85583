"""How much an agent may use: never more, whatever comes at once, over restarts and kills."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.base import RemoteError
from hub.allowances import window
from hub.errors import OverLimit, StoreError
from hub.model import Call, Result
from hub.policy import Grants, Rule
from hub.rules.quota import MONTH, Quota
from tests.clocks import NOON, SetEnv
from tests.limit_desk import ANY, DAY, HOUR, TOOL, Desk, desk, done, limited, ruled

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("most", [1, 7, 150])
async def test_of_200_calls_at_once_exactly_as_many_pass_as_are_allowed(tmp_path: Path, most: int) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        assert await it.at_once(200, limited(calls=(most, DAY)), ANY) == most


async def test_a_rule_and_its_agent_count_apart_and_both_hold(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        rule = replace(ANY, limits=Quota(calls=(3, DAY)))
        grants = Grants("me.yaml", (rule,), limits=Quota(calls=(5, DAY)))
        assert await it.uses(10, grants, rule) == 3
        # What was refused by the rule has cost the agent nothing.
        assert await it.uses(10, grants) == 2


async def test_agents_do_not_count_for_each_other(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        grants = limited(calls=(2, DAY))
        assert await it.uses(5, grants, agent="me") == 2
        assert await it.uses(5, grants, agent="other") == 2


async def test_a_token_within_its_agent_keeps_the_limits_of_both(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        agent = limited(calls=(5, DAY))
        token = replace(agent, file="token 1", limits=Quota(calls=(2, DAY)), within=agent)
        assert await it.uses(9, token) == 2
        assert await it.uses(9, agent) == 3
        assert "You may make 5 calls a day" in str(await it.refused(agent))


async def test_costs_add_up_exactly(tmp_path: Path) -> None:
    """Ten times a tenth is one, which floats do not know."""
    async with desk(tmp_path, SetEnv()) as it:
        assert await it.uses(30, limited(cost=(1.0, DAY))) == 10
        free = replace(TOOL, cost=0.0)
        assert await it.uses(3, limited(cost=(1.0, DAY)), entry=free) == 3


async def test_bytes_of_arguments_and_results_count(tmp_path: Path) -> None:
    """The result that passes the mark is still given; the next call is refused."""
    async with desk(tmp_path, SetEnv()) as it:

        async def large(call: Call) -> Result:
            return {"content": [{"type": "text", "text": "x" * 900}]}

        it.server = large
        grants = limited(bytes=(2000, DAY))
        assert await it.uses(9, grants, text="y") == 3
        refusal = await it.refused(grants)
        assert str(refusal).startswith(
            "You may move 2,000 bytes of arguments and results a day and have moved 2,8"
        )


async def test_what_would_never_fit_is_not_told_to_come_again(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        refusal = await it.refused(limited(bytes=(100, DAY)), text="y" * 200)
        assert "this call would add 211, which is more than all of it. Nothing was sent." in str(refusal)


async def test_asking_how_a_task_is_doing_is_no_further_call(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        grants = limited(calls=(2, DAY), cost=(0.2, DAY))
        assert await it.uses(5, grants, method="tasks/get") == 5
        assert await it.uses(5, grants) == 2


async def test_midnight_utc_begins_a_new_day(tmp_path: Path) -> None:
    env = SetEnv(seconds=NOON + 12 * HOUR - 1)
    async with desk(tmp_path, env) as it:
        grants = limited(calls=(2, DAY))
        assert await it.uses(5, grants) == 2
        refusal = await it.refused(grants)
        assert refusal.retry_seconds == 1.0
        env.seconds += refusal.retry_seconds
        assert await it.uses(5, grants) == 2


async def test_a_clock_that_goes_back_gives_nothing_again(tmp_path: Path) -> None:
    env = SetEnv()
    async with desk(tmp_path, env) as it:
        assert await it.uses(5, limited(calls=(2, DAY))) == 2
        env.seconds -= 3 * DAY
        assert await it.uses(5, limited(calls=(2, DAY))) == 0


@pytest.mark.parametrize(
    ("period", "start", "until"),
    [
        (HOUR, "2027-01-15 12:00", "2027-01-15 13:00"),
        (DAY, "2027-01-15 00:00", "2027-01-16 00:00"),
        (7 * DAY, "2027-01-11 00:00", "2027-01-18 00:00"),  # Monday to Monday
        (MONTH, "2027-01-01 00:00", "2027-02-01 00:00"),
    ],
)
def test_periods_are_those_of_the_calendar(period: float, start: str, until: str) -> None:
    moments = [datetime.fromisoformat(f"{text}Z").timestamp() for text in (start, until)]
    for now in (moments[0], NOON, moments[1] - 0.001):
        assert [*window(period, now)] == moments


# Over a restart


async def test_what_was_used_stays_used_over_a_restart(tmp_path: Path) -> None:
    env, grants = SetEnv(), limited(calls=(500, DAY))
    async with desk(tmp_path, env) as it:
        assert await it.uses(123, grants) == 123
    async with desk(tmp_path, env) as it:
        assert it.meters.used("agent me", "calls", DAY) == 123
        assert await it.at_once(500, grants) == 377
    env.seconds += DAY
    async with desk(tmp_path, env) as it:
        assert await it.uses(3, grants) == 3


async def test_after_a_kill_never_more_is_allowed_and_at_worst_a_batch_less(tmp_path: Path) -> None:
    env, grants, chance = SetEnv(), limited(calls=(500, DAY)), random.Random(3)
    passed, kills = 0, 0
    while passed < 400:
        async with desk(tmp_path, env, orderly=False) as it:
            passed += await it.at_once(chance.randrange(1, 90), grants)
        kills += 1
    async with desk(tmp_path, env) as it:
        passed += await it.uses(600, grants)
    assert 500 - kills * 10 <= passed <= 500


async def test_a_rule_keeps_its_count_when_it_is_moved_or_its_number_is_changed(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        grants, rule = ruled(calls=(3, DAY))
        assert await it.uses(2, grants, rule) == 2
        moved = Rule("may[1]", ("*",), 9, limits=Quota(calls=(4, DAY)))
        assert await it.uses(9, Grants("me.yaml", (Rule("may[0]", ("box__*",), 3), moved)), moved) == 2
        other = Rule("may[2]", ("box__*",), 10, limits=Quota(calls=(4, DAY)))
        assert await it.uses(9, Grants("me.yaml", (moved, other)), other) == 4


async def test_rules_that_match_alike_count_apart(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        rules = [
            replace(ANY, id=f"may[{at}]", limits=Quota(calls=(most, DAY))) for at, most in ((0, 3), (1, 5))
        ]
        grants = Grants("me.yaml", tuple(rules))
        assert await it.uses(9, grants, *rules) == 3
        assert await it.uses(9, grants, rules[1]) == 2


async def test_nothing_goes_out_where_it_cannot_be_counted(tmp_path: Path) -> None:
    """As nothing does that cannot be recorded."""
    async with desk(tmp_path, SetEnv()) as it:
        await it.store.write(lambda connection: connection.execute("DROP TABLE usage"))
        with pytest.raises(StoreError):
            await it.use(limited(calls=(9, DAY)))


# Rates and what is under way


async def test_a_rate_is_never_more_in_any_second(tmp_path: Path) -> None:
    env = SetEnv()
    async with desk(tmp_path, env) as it:
        grants = limited(rate=(20, 1.0))
        assert await it.at_once(200, grants) == 20
        refusal = await it.refused(grants)
        assert (
            str(refusal)
            == "You may make 20 calls a second and have just made them. Call again in 1 s. Nothing was sent."
        )
        env.seconds += 0.5
        assert (await it.refused(grants)).retry_seconds == pytest.approx(0.5)
        env.seconds += 0.5
        assert await it.uses(30, grants) == 20


async def test_calls_under_way_are_bounded_and_whoever_is_over_is_told_at_once(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        gate, running = anyio.Event(), 0

        async def slow(call: Call) -> Result:
            nonlocal running
            running += 1
            assert running <= 8
            await gate.wait()
            running -= 1
            return {}

        it.server = slow
        grants = limited(concurrent=8)
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(it.use, grants)
            await anyio.wait_all_tasks_blocked()
            assert "You may have 8 calls under way at once and have as many." in str(await it.refused(grants))
            gate.set()
        assert await it.at_once(8, grants) == 8


async def test_a_call_that_fails_or_is_cancelled_is_under_way_no_longer(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        grants = limited(concurrent=1)

        async def fails(call: Call) -> Result:
            raise RemoteError(-1, "no")

        async def hangs(call: Call) -> Result:
            await anyio.sleep_forever()
            return {}

        it.server = fails
        with pytest.raises(RemoteError):
            await it.use(grants)
        it.server = hangs
        with anyio.move_on_after(0.01):
            await it.use(grants)
        it.server = done
        assert await it.uses(3, grants) == 3


# Never more than N


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(1, 9)),
        st.tuples(st.just("end"), st.integers(0, 8)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 0.9, 700.0, HOUR, DAY])),
    ),
    max_size=25,
)


class Crowd:
    """Calls that come when they like; each is at the server or refused before the next step."""

    def __init__(self, it: Desk, concurrent: int) -> None:
        self.it = it
        self.concurrent = concurrent
        self.passed: list[float] = []
        self.running: list[anyio.Event] = []
        self.open = 0
        self.moved = anyio.Event()

    def move(self, by: int) -> None:
        self.open += by
        moved, self.moved = self.moved, anyio.Event()
        moved.set()

    async def one(self, grants: Grants) -> None:
        try:
            await self.it.use(grants)
        except OverLimit:
            self.move(-1)

    async def server(self, call: Call) -> Result:
        self.passed.append(self.it.env.seconds)
        gate = anyio.Event()
        self.running.append(gate)
        assert len(self.running) <= self.concurrent
        self.move(-1)
        await gate.wait()
        self.running.remove(gate)
        return {}

    async def settled(self) -> None:
        while self.open:
            await self.moved.wait()


@settings(max_examples=30)
@given(steps=STEPS, calls=st.integers(1, 12), rate=st.integers(1, 6), concurrent=st.integers(1, 4))
def test_never_more_than_allowed_however_calls_interleave(
    steps: list[tuple[str, Any]], calls: int, rate: int, concurrent: int
) -> None:
    async def run(folder: Path) -> list[float]:
        async with desk(folder, SetEnv()) as it, anyio.create_task_group() as tasks:
            crowd = Crowd(it, concurrent)
            it.server = crowd.server
            quota = Quota(rate=(rate, 1.0), calls=(calls, DAY), concurrent=concurrent)
            for word, value in steps:
                if word == "start":
                    crowd.open += value
                    for _ in range(value):
                        # Grants are read anew now and then: other objects, the same meters.
                        tasks.start_soon(crowd.one, Grants("me.yaml", (ANY,), limits=quota))
                elif word == "end" and value < len(crowd.running):
                    crowd.running[value].set()
                    await anyio.wait_all_tasks_blocked()
                elif word == "wait":
                    it.env.seconds += value
                await crowd.settled()
            for gate in [*crowd.running]:
                gate.set()
        return crowd.passed

    with TemporaryDirectory() as folder:
        passed = anyio.run(run, Path(folder))
    for day in {moment // DAY for moment in passed}:
        assert sum(moment // DAY == day for moment in passed) <= calls
    for moment in passed:
        # A little less than a second: these are sums of floats.
        assert sum(moment - 0.999 < other <= moment for other in passed) <= rate
