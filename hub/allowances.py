"""Whose limits hold for a call: each quota with the meter that it counts in, by name. Pure but for hashing.

A meter's name outlives a restart and an edit. That of an agent is its name. That of a rule is made of
what the rule matches, so that to move it or to change its number keeps what was used of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from hub.model import Agent, Json
from hub.policy import Grants, Rule
from hub.rules.quota import MONTH, WORDS, Quota
from hub.units import utc

__all__ = [
    "MILLIONTHS",
    "Allowance",
    "Measure",
    "allowances_of",
    "calendar",
    "rule_allowance",
    "shown",
    "window",
]

Measure = Literal["calls", "bytes", "cost"]

MILLIONTHS: Final = 1_000_000
"""Costs are counted in millionths: whole numbers add up exactly."""

_DAY: Final = 86_400.0
_MONDAY: Final = 3 * _DAY
"""How long before 1970 began a week did."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """One quota, and in which meter it counts."""

    meter: str
    quota: Quota
    whose: Literal["agent", "rule", "server"]
    name: str
    """For people: the agent's, the rule's id, the server's."""
    where: str | None = None
    """For people: file and line."""


def allowances_of(agent: str, grants: Grants) -> Iterator[Allowance]:
    """Those that hold for every call of an agent: its own, and those of the token that it came with."""
    each: Grants | None = grants
    while each is not None:
        if each.limits is not None:
            yield Allowance(_owner(agent, each), each.limits, "agent", agent, each.file)
        each = each.within


def rule_allowance(agent: Agent, rule: Rule) -> Allowance | None:
    """That of a rule that allows a call of `agent`."""
    if rule.limits is None:
        return None
    grants = agent.grants
    while grants.within is not None and all(rule is not other for other in grants.may):
        grants = grants.within
    return _of_rule(agent.name, grants, rule, rule.limits)


def _of_rule(agent: str, grants: Grants, rule: Rule, quota: Quota) -> Allowance:
    alike = [other for other in grants.may if _matched(other) == _matched(rule)]
    position = next((at for at, other in enumerate(alike) if other is rule), 0)
    digest = hashlib.sha256(_matched(rule).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    meter = f"{_owner(agent, grants)} {digest} {position}"
    return Allowance(meter, quota, "rule", rule.id, f"{grants.file}:{rule.line}")


def _owner(agent: str, grants: Grants) -> str:
    """An agent's own grants are innermost; around them are those of tokens, which are called by their ids."""
    return f"agent {agent}" if grants.within is None else f"agent {agent} {grants.file}"


def _matched(rule: Rule) -> str:
    """What a rule is for, whatever it asks for then."""
    return repr((sorted(rule.use), sorted(rule.servers), sorted(rule.tags), rule.read_only,
                 _sorted(rule.with_), rule.only, rule.when))  # fmt: skip


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return sorted((key, _sorted(item)) for key, item in value.items())
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else repr(value)


def calendar(quota: Quota) -> Iterator[tuple[Measure, int, float]]:
    """What of a quota counts in calendar periods: measure, how much (costs in millionths), period."""
    if quota.calls is not None:
        yield "calls", *quota.calls
    if quota.bytes is not None:
        yield "bytes", *quota.bytes
    if quota.cost is not None:
        yield "cost", round(quota.cost[0] * MILLIONTHS), quota.cost[1]


def window(period: float, now: float) -> tuple[float, float]:
    """When the calendar period (UTC) that `now` is in began, and when the next one will."""
    if period == MONTH:
        first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return first.timestamp(), (first + timedelta(days=32)).replace(day=1).timestamp()
    # 1970 began on a Thursday.
    shift = _MONDAY if period == 7 * _DAY else 0.0
    start = (now + shift) // period * period - shift
    return start, start + period


Used = Callable[[str, Measure, float], int]
"""`(meter, measure, period)`: what was used of it in the period that runs now."""


def shown(agent: str, grants: Grants, used: Used, now: float, scopes: Iterable[Grants] = ()) -> list[Json]:
    """What an agent has used of its limits, for people; a row for each.

    Args:
        scopes: Of those of its tokens that are narrower.
    """
    rows: list[Json] = []

    def add(each: Allowance, limit: str, most: float, per: str | None = None, **more: Any) -> None:
        counted = {"used": None, "left": None, "anew": None, **more}
        rows.append(
            {"of": each.name, "limit": limit, "most": most, "per": per, **counted, "where": each.where}
        )

    of_tokens = (
        replace(each, name=f"{scope.file} {each.name}")
        for scope in scopes
        for each in _of_rules(agent, scope)
    )
    for each in (*allowances_of(agent, grants), *_of_rules(agent, grants), *of_tokens):
        for measure, most, period in calendar(each.quota):
            spent = used(each.meter, measure, period)
            numbers: list[float] = [most, spent, max(0, most - spent)]
            if measure == "cost":
                numbers = [number / MILLIONTHS for number in numbers]
            anew = utc(window(period, now)[1])
            add(each, measure, numbers[0], WORDS[period], used=numbers[1], left=numbers[2], anew=anew)
        if each.quota.rate is not None:
            add(each, "rate", each.quota.rate[0], WORDS[each.quota.rate[1]])
        if each.quota.concurrent is not None:
            add(each, "concurrent", each.quota.concurrent)
    return rows


def _of_rules(agent: str, grants: Grants) -> Iterator[Allowance]:
    for rule in grants.may:
        if rule.limits is not None:
            yield _of_rule(agent, grants, rule, rule.limits)
