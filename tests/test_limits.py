"""How much an agent may use: never more, whatever comes at once, and told in words that it can act on."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.base import RemoteError
from hub import chain, manifest
from hub.allowances import window
from hub.catalog import Catalog
from hub.env import SystemEnv
from hub.errors import OverLimit, Repeated, StoreError
from hub.meters import Meters
from hub.middleware.limit import Limit
from hub.model import Agent, Call, Entry, Handler, Json, Result
from hub.policy import Grants, Rule
from hub.quota import MONTH, Quota
from hub.store.db import Store

pytestmark = pytest.mark.anyio

HOUR, DAY = 3600.0, 86_400.0
NOON = 1_800_014_400.0
"""2027-01-15 12:00:00 UTC, a Friday."""
TOOL = Entry("tool", "box", "echo", "box__echo", "box__echo", {}, cost=0.1)
ANY = Rule("may[0]", ("*",), 3)


@dataclass
class SetEnv(SystemEnv):
    """The real world, but for its clocks: a test sets them."""

    seconds: float = field(default=NOON)

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


async def done(call: Call) -> Result:
    await anyio.lowlevel.checkpoint()
    return {"content": []}


@dataclass
class Desk:
    """The middleware alone, over a real store."""

    env: SetEnv
    store: Store
    meters: Meters
    limit: Limit
    server: Handler = done

    async def use(
        self, grants: Grants, *rules: Rule, agent: str = "me", session: str = "s1",
        method: str = "tools/call", entry: Entry = TOOL, **arguments: Any,
    ) -> Result:  # fmt: skip
        params = {"name": entry.name, "arguments": arguments}
        call = Call(
            "id", Agent(agent, grants), session, method, "tool", entry.name, entry, params, rules=rules
        )
        return await chain.build([self.limit], self.server)(call)

    async def uses(self, count: int, grants: Grants, *rules: Rule, **more: Any) -> int:
        """How many of `count` calls, one after another, are let through."""
        passed = 0
        for _ in range(count):
            try:
                await self.use(grants, *rules, **more)
                passed += 1
            except OverLimit:
                pass
        return passed

    async def at_once(self, count: int, grants: Grants, *rules: Rule, **more: Any) -> int:
        """How many of `count` calls that come together are let through."""
        passed = 0

        async def one() -> None:
            nonlocal passed
            through = await self.uses(1, grants, *rules, **more)
            passed += through

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(one)
        return passed

    async def refused(self, grants: Grants, *rules: Rule, **more: Any) -> OverLimit:
        with pytest.raises(OverLimit) as refusal:
            await self.use(grants, *rules, **more)
        return refusal.value


@asynccontextmanager
async def desk(folder: Path, env: SetEnv, *, orderly: bool = True) -> AsyncIterator[Desk]:
    """Until it ends, in order or as if it were killed: then nothing more is written."""
    with anyio.fail_after(15):
        async with Store.open(folder / "hub.db", env) as store:
            meters = Meters(store, env)
            await meters.load()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(meters.run)
                yield Desk(env, store, meters, Limit(meters, env))
                tasks.cancel_scope.cancel()
            if orderly:
                meters.settle()


def limited(**quota: Any) -> Grants:
    return Grants("me.yaml", (ANY,), limits=Quota(**quota))


def ruled(**quota: Any) -> tuple[Grants, Rule]:
    rule = replace(ANY, limits=Quota(**quota))
    return Grants("me.yaml", (rule,)), rule


# Counts


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


# Words


async def test_a_refusal_says_what_and_how_much_and_when_again(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        grants, rule = ruled(calls=(2, DAY))
        await it.uses(2, grants, rule)
        refusal = await it.refused(grants, rule)
        assert str(refusal) == (
            "Under the rule that allows this call, you may make 2 calls a day and have made 2. "
            "Call again in 43200 s, at 2027-01-16T00:00:00Z. Nothing was sent."
        )
        assert (refusal.rule, refusal.reason, refusal.retry_seconds) == ("may[0]", "limit", 43_200.0)
        assert refusal.told == {
            "limit": "calls", "used": 2, "most": 2, "per": "day", "again_at": "2027-01-16T00:00:00Z",
        }  # fmt: skip


async def test_the_longest_wait_is_told(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        grants = limited(rate=(1, 1.0), calls=(1, HOUR))
        await it.use(grants)
        assert "1 calls an hour" in str(await it.refused(grants))


async def test_four_fifths_are_told_with_the_result(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:

        async def with_meta(call: Call) -> Result:
            return {"content": [], "_meta": {"vendor/key": 1}}

        it.server = with_meta
        found = [await it.use(limited(calls=(10, DAY))) for _ in range(10)]
        assert [("hub/limits" in result["_meta"]) for result in found] == [False] * 7 + [True] * 3
        assert found[7]["_meta"] == {
            "vendor/key": 1,
            "hub/limits": [
                {"limit": "calls", "used": 8, "most": 10, "per": "day", "again_at": "2027-01-16T00:00:00Z"}
            ],
        }


async def test_of_a_servers_limit_an_agent_is_told_only_that_it_is_busy(tmp_path: Path) -> None:
    async with desk(tmp_path, SetEnv()) as it:
        it.limit.replace({"box": Quota(calls=(5, DAY)), "other": None})
        found = [await it.use(Grants("a.yaml"), agent=f"a{number}") for number in range(5)]
        assert all("_meta" not in result for result in found)
        refusal = await it.refused(Grants("b.yaml"), agent="b")
        assert str(refusal) == "Server 'box' is busy. Call again in 43200 s. Nothing was sent."
        assert (refusal.told, refusal.rule) == ({"limit": "busy"}, None)
        assert await it.uses(1, Grants("b.yaml"), entry=replace(TOOL, server="other")) == 1


# Repetition


async def test_the_same_call_with_the_same_result_stops_before_it_is_sent_again(tmp_path: Path) -> None:
    sent: list[Json] = []
    env = SetEnv()

    async def same(call: Call) -> Result:
        sent.append(call.params["arguments"])
        return {"content": [{"type": "text", "text": "not found"}], "_meta": {"at": len(sent)}}

    async with desk(tmp_path, env) as it:
        it.server = same
        rule = replace(ANY, repeat=3)
        grants = Grants("me.yaml", (rule,))
        # The same whatever the order of its keys.
        await it.use(grants, rule, a=1, b=2)
        await it.use(grants, rule, b=2, a=1)
        await it.use(grants, rule, a=1, b=2)
        refusal = await it.refused(grants, rule, a=1, b=2)
        assert isinstance(refusal, Repeated) and refusal.rule == "may[0]"
        assert str(refusal).startswith(
            "You have made this very call 3 times in a row and got the same result each time."
        )
        assert len(sent) == 3
        # In another session, with other arguments, or after those, it goes on.
        await it.use(grants, rule, session="s2", a=1, b=2)
        await it.use(grants, rule, a=2)
        await it.use(grants, rule, a=1, b=2)
        assert len(sent) == 6
        # And after the pause that it is told.
        await it.uses(2, grants, rule, a=1, b=2)
        env.seconds += (await it.refused(grants, rule, a=1, b=2)).retry_seconds
        assert await it.uses(9, grants, rule, a=1, b=2) == 3


async def test_another_result_begins_the_row_anew(tmp_path: Path) -> None:
    answers = iter("aabbccc")

    async def changing(call: Call) -> Result:
        return {"content": [{"type": "text", "text": next(answers)}]}

    async with desk(tmp_path, SetEnv()) as it:
        it.server = changing
        rule = replace(ANY, repeat=3)
        assert await it.uses(9, Grants("me.yaml", (rule,)), rule) == 7


async def test_the_same_error_is_the_same_result(tmp_path: Path) -> None:
    async def fails(call: Call) -> Result:
        raise RemoteError(-31000, "no")

    async with desk(tmp_path, SetEnv()) as it:
        it.server = fails
        rule = replace(ANY, repeat=2)
        for _ in range(2):
            with pytest.raises(RemoteError):
                await it.use(Grants("me.yaml", (rule,)), rule)
        assert isinstance(await it.refused(Grants("me.yaml", (rule,)), rule), Repeated)


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


# As a person writes them


def test_a_manifest_says_each_limit_with_its_period() -> None:
    text = """agent: me
may:
  - {use: "a__*", limits: {calls: 5/h, concurrent: 1}, repeat: 3}
limits: {rate: 100 / minute, calls: 2/week, bytes: 3MiB/day, cost: 0.50/month}
"""
    found = manifest.load_text(Path("me.yaml"), text)
    assert found.problems == ()
    grants = found.agents["me"].grants()
    assert grants.limits == Quota((100, 60.0), (2, 7 * DAY), (3 * 2**20, DAY), (0.5, MONTH))
    assert (grants.may[0].limits, grants.may[0].repeat) == (Quota(calls=(5, HOUR), concurrent=1), 3)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("rate: 20/day", "counts in a second or a minute. For a longer time write `calls: 20/day`."),
        ("rate: 20000/s", "must be at most 10000."),
        ("calls: 5", "must be a number and a period. Write it as 1000/day."),
        ("calls: 5/fortnight", "'fortnight' is not a period. Write second, minute, hour, day, week or month"),
        ("calls: 0/day", "must be from 1 to 1000000000000."),
        ("calls: 1.5/day", "must count calls, in whole numbers without a unit."),
        ("bytes: 10/day", "has no unit. Write B, kB, MB, GB, KiB, MiB or GiB: 10MB/day."),
        ("bytes: 10MB/s", "counts in an hour, a day, a week or a month (UTC). Write `bytes: 10MB/hour`"),
        ("cost: 5EUR/day", "has no unit: it counts in that of `cost` in the servers' manifests."),
        ("cost: 0/day", "must be from 0.000001 to 1000000000."),
        ("concurrent: 0", "must be greater than or equal to 1"),
        ("call: 5/day", "is not known here. Did you mean 'calls'?"),
    ],
)
@pytest.mark.parametrize("where", ["agent", "rule"])
def test_what_cannot_be_a_limit_is_refused_with_line_and_fix(written: str, said: str, where: str) -> None:
    limits = f"limits: {{{written}}}"
    text = f"agent: me\n{limits}" if where == "agent" else f'agent: me\nmay:\n  - use: "*"\n    {limits}'
    found = manifest.load_text(Path("me.yaml"), text)
    (problem,) = found.problems
    assert not found.agents
    assert problem.line == (2 if where == "agent" else 4)
    assert problem.key == f"{'' if where == 'agent' else 'may[0].'}limits.{written.split(':')[0]}"
    assert problem.message.startswith(said)


def test_a_server_has_limits_of_its_own_and_tools_have_prices() -> None:
    text = """server: box
connect: {command: [box]}
limits: {call: 5s, rate: 5/s, calls: 10/hour}
tools: {override: {"*": {cost: 1}, "echo": {cost: 0.25}}}
"""
    box = manifest.load_text(Path("box.yaml"), text).servers["box"]
    assert box.limits.quota() == Quota(rate=(5, 1.0), calls=(10, HOUR))
    tools = tuple({"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "other"))
    catalog = Catalog.build([box.offer(None, {}, {"tool": tools})], 1)
    assert [entry.cost for entry in catalog.entries["tool"]] == [0.25, 1.0]
