"""Limits in words: as an agent is told of them, and as a person writes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hub.catalog import Catalog
from hub.manifests import manifest
from hub.model import Call, Result
from hub.policy import Grants
from hub.rules.quota import MONTH, Quota
from tests.clocks import SetEnv
from tests.limit_desk import DAY, HOUR, TOOL, desk, limited, ruled

pytestmark = pytest.mark.anyio


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
        assert "1 call an hour" in str(await it.refused(grants))


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
