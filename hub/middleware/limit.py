"""Holds calls to what their agent, the rules that allow them and their server may use.

A call that is over any limit is refused at once, counted nowhere, and told when to come again. What
is under way is not queued here: a server's own queue is `limits.concurrent` of its manifest. The
words are for a model. They tell an agent its own numbers; of a server, which others use too, only
that it is busy.

A rate is an exact sliding window: never more calls in any second (or minute) than it says. Measured:
a call without limits pays 0.2 us, one with a rate and a number a day 3, one with `repeat` 6.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final

from connectors.base import RemoteError
from connectors.jsonrpc import encode
from hub.allowances import MILLIONTHS, Allowance, Measure, allowances_of, calendar, rule_allowance
from hub.env import Env
from hub.errors import OverLimit, Repeated
from hub.meters import Count, Meter, Meters, batch
from hub.model import Call, Handler, Json, Result
from hub.policy import Grants, Rule
from hub.repeats import PAUSE_SECONDS, Repeats, fingerprint
from hub.rules.quota import WORDS, Quota
from hub.units import utc

__all__ = ["META", "Limit"]

META: Final = "hub/limits"
"""Where a result says how much is left, once four fifths are used."""

_PLANS_MAX: Final = 4096
_MEASURES: Final[tuple[Measure, ...]] = ("calls", "bytes", "cost")
_BUSY_SECONDS: Final = 1.0
"""When to come again where only the end of another call can tell."""


@dataclass(frozen=True, slots=True)
class _Tally:
    """One count and the limit that holds for it."""

    count: Count
    most: int
    least: int
    """When no more than this is left of what the store holds, it is told on."""
    amount: int
    """Which of a call's amounts counts: its position in `_MEASURES`."""
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that holds for calls of one agent under the same rules at one server, ready to be looked at."""

    grants: Grants
    rules: tuple[Rule, ...]
    repeat: int | None
    meters: tuple[Meter, ...]
    concurrent: tuple[tuple[Meter, int, Allowance], ...]
    rates: tuple[tuple[deque[float], int, float, Allowance], ...]
    tallies: tuple[_Tally, ...]
    of_bytes: tuple[_Tally, ...]


class Limit:
    def __init__(self, meters: Meters, env: Env) -> None:
        self._meters = meters
        self._env = env
        self._plans: dict[tuple[str, int, int, str], _Plan] = {}
        self._repeats = Repeats()
        self._servers: Mapping[str, Quota] = {}
        self._taken: dict[str, tuple[_Plan, tuple[int, int, int], tuple[float, ...]]] = {}
        """What calls under way that a person may have to approve have used, by their ids."""

    def replace(self, servers: Mapping[str, Quota | None]) -> None:
        """The limits of servers, by name, for all who use them together."""
        self._servers = {name: quota for name, quota in servers.items() if quota is not None}
        self._plans.clear()

    def __call__(self, call: Call, inner: Handler) -> Awaitable[Result]:
        # No coroutine of its own where there is nothing to do, which is the usual case.
        grants = call.agent.grants
        if grants.limits is None and grants.within is None and not self._servers:
            for rule in call.rules:
                if rule.limits is not None or rule.repeat is not None:
                    return self._limited(call, inner)
            return inner(call)
        return self._limited(call, inner)

    async def _limited(self, call: Call, inner: Handler) -> Result:
        plan = self._plan(call)
        if plan.repeat is None:
            return await self._counted(plan, call, inner) if plan.meters else await inner(call)
        known = fingerprint(call)
        wait = self._repeats.wait_seconds(call.session, known, plan.repeat, self._env.monotonic())
        if wait:
            raise self._repeated(call, plan.repeat, wait)
        try:
            result = await self._counted(plan, call, inner)
        except RemoteError as error:
            self._repeats.note(call.session, known, error, self._env.monotonic())
            raise
        if result.get("resultType", "complete") == "complete":
            self._repeats.note(call.session, known, result, self._env.monotonic())
        return result

    async def _counted(self, plan: _Plan, call: Call, inner: Handler) -> Result:
        amounts = _amounts(call, plan)
        while short := self._admit(plan, amounts):
            await self._meters.held(short)
        may_wait = any(rule.ask is not None for rule in call.rules)
        if may_wait:
            self._taken[call.id] = plan, amounts, tuple(tally.count.start for tally in plan.tallies)
        try:
            result = await inner(call)
        finally:
            for meter in plan.meters:
                meter.under_way -= 1
            was_sent = not may_wait or self._taken.pop(call.id, None) is not None
        if plan.of_bytes and was_sent:
            await self._add_bytes(plan, len(encode(result)))
        for tally in plan.tallies:
            if tally.count.used * 5 >= tally.most * 4 and tally.allowance.whose != "server":
                return _with_warning(result, plan)
        return result

    def give_back(self, call: Call) -> None:
        """A call that waits for a person, or will not be made, uses nothing but its place in a rate."""
        taken = self._taken.pop(call.id, None)
        if taken is not None:
            plan, amounts, starts = taken
            for tally, start in zip(plan.tallies, starts, strict=True):
                if tally.count.start == start:  # else what it used went with the period
                    tally.count.used -= amounts[tally.amount]

    def _plan(self, call: Call) -> _Plan:
        agent, server = call.agent, call.entry.server if call.entry is not None else ""
        key = (agent.name, id(agent.grants), id(call.rules), server)
        plan = self._plans.get(key)
        # It keeps what its key was made of, so another object cannot have come by the same id.
        if plan is None:
            if len(self._plans) >= _PLANS_MAX or self._meters.many:
                self._plans.clear()
                self._meters.drop()
            plan = self._plans[key] = self._new_plan(call, server)
        return plan

    def _new_plan(self, call: Call, server: str) -> _Plan:
        agent, meters = call.agent, self._meters
        allowances = [*allowances_of(agent.name, agent.grants)]
        allowances += [each for rule in call.rules if (each := rule_allowance(agent, rule)) is not None]
        quota = self._servers.get(server)
        if quota is not None:
            allowances.append(Allowance(f"server {server}", quota, "server", server))
        pairs = [(each, meters.meter(each.meter)) for each in allowances]
        tallies = tuple(
            _Tally(
                meters.count(meter, measure, period),
                most,
                batch(measure, most) // 4,
                _MEASURES.index(measure),
                each,
            )
            for each, meter in pairs
            for measure, most, period in calendar(each.quota)
        )
        return _Plan(
            agent.grants,
            call.rules,
            min((rule.repeat for rule in call.rules if rule.repeat is not None), default=None),
            tuple(meter for _, meter in pairs),
            tuple(
                (meter, each.quota.concurrent, each)
                for each, meter in pairs
                if each.quota.concurrent is not None
            ),
            tuple((meter.moments, *each.quota.rate, each) for each, meter in pairs if each.quota.rate),
            tallies,
            tuple(tally for tally in tallies if tally.count.measure == "bytes"),
        )

    def _admit(self, plan: _Plan, amounts: tuple[int, int, int]) -> list[tuple[Count, int, int]] | None:
        """Take what a call uses from all meters, or nothing from any.

        Returns:
            What the store has to be told first; nothing was taken then.

        Raises:
            OverLimit: the refusal with the longest wait.
        """
        over: list[OverLimit] | None = None
        short: list[tuple[Count, int, int]] | None = None
        for meter, most, allowance in plan.concurrent:
            if meter.under_way >= most:
                over = [*(over or ()), _too_many(allowance, most)]
        if plan.rates:
            moment = self._env.monotonic()
            for moments, most, period, allowance in plan.rates:
                while moments and moments[0] <= moment - period:
                    moments.popleft()
                if len(moments) >= most:
                    over = [*(over or ()), _too_fast(allowance, moments[-most] + period - moment)]
        if plan.tallies:
            now = self._env.now()
            for tally in plan.tallies:
                amount, count = amounts[tally.amount], tally.count
                if not amount:
                    continue
                if now >= count.until:
                    count.turn(now)
                after = count.used + amount
                if after > tally.most:
                    over = [*(over or ()), _used_up(tally.allowance, count, tally.most, amount, now)]
                elif after > count.held:
                    short = [*(short or ()), (count, tally.most, amount)]
        if over:
            raise max(over, key=lambda refusal: refusal.retry_seconds)
        if short:
            return short
        for meter in plan.meters:
            meter.under_way += 1
        for moments, _, _, _ in plan.rates:
            moments.append(moment)
        for tally in plan.tallies:
            count = tally.count
            count.used += amounts[tally.amount]
            if count.held - count.used <= tally.least and count.held < tally.most:
                self._meters.want(count, tally.most)
        return None

    async def _add_bytes(self, plan: _Plan, size: int) -> None:
        """Count what came back, and give it out only when the store knows."""
        now = self._env.now()
        for tally in plan.of_bytes:
            if now >= tally.count.until:
                tally.count.turn(now)
            tally.count.used += size
        while short := [
            (each.count, each.most, 0) for each in plan.of_bytes if each.count.used > each.count.held
        ]:
            await self._meters.held(short)

    def _repeated(self, call: Call, most: int, wait: float) -> Repeated:
        times = "once" if most == 1 else f"{most} times in a row"
        refusal = Repeated(
            f"You have made this very call {times} and got the same result each time. It was not made "
            "again: use that result, change the arguments, or do something else. The same call is "
            f"possible again in {_seconds(wait)} s, or after another one.",
            retry_seconds=wait,
            told={"limit": "repeat", "most": most, "pause_seconds": PAUSE_SECONDS},
        )
        refusal.rule = next(rule.id for rule in call.rules if rule.repeat == most)
        return refusal


def _amounts(call: Call, plan: _Plan) -> tuple[int, int, int]:
    """What a call uses, as `_MEASURES`; of bytes those that go out."""
    # To look how a task is doing is no further call of the tool that made it.
    if call.method.startswith("tasks/"):
        calls, cost = 0, 0.0
    else:
        calls, cost = 1, call.entry.cost if call.entry is not None else 0.0
    size = len(encode(call.params.get("arguments", {}))) if plan.of_bytes else 0
    return calls, size, round(cost * MILLIONTHS) if cost else 0


def _with_warning(result: Result, plan: _Plan) -> Result:
    """A result that tells the agent which of its own counts are four fifths used."""
    near = [
        {**_numbers(tally.count, tally.most), "again_at": utc(tally.count.until)}
        for tally in plan.tallies
        if tally.count.used * 5 >= tally.most * 4 and tally.allowance.whose != "server"
    ]
    meta = result.get("_meta")
    return {**result, "_meta": {**(meta if type(meta) is dict else {}), META: near}}


def _numbers(count: Count, most: int) -> Json:
    unit = MILLIONTHS if count.measure == "cost" else 1
    used: Json = (
        {"used": count.used / unit, "most": most / unit} if unit > 1 else {"used": count.used, "most": most}
    )
    return {"limit": count.measure, **used, "per": WORDS[count.period]}


def _used_up(allowance: Allowance, count: Count, most: int, amount: int, now: float) -> OverLimit:
    wait = max(0.0, count.until - now)
    if allowance.whose == "server":
        return _busy(allowance, wait)
    numbers = _numbers(count, most)
    most_said, a = _number(numbers["most"]), "an" if numbers["per"] == "hour" else "a"
    verb, done, what = {
        "calls": ("make", "made", _calls(most)),
        "bytes": ("move", "moved", f"{most_said} bytes of arguments and results"),
        "cost": ("spend", "spent", most_said),
    }[count.measure]
    said = f"{_whose(allowance)} may {verb} {what} {a} {numbers['per']}"
    said += f" and have {done} {_number(numbers['used'])}"
    if count.measure != "calls" and count.used < most:
        needs = _number(amount / MILLIONTHS if count.measure == "cost" else amount)
        said += f"; this call would add {needs}"
    if amount > most:
        return _over(allowance, f"{said}, which is more than all of it.", wait, numbers)
    again = utc(count.until)
    said += f". Call again in {_seconds(wait)} s, at {again}."
    return _over(allowance, said, wait, {**numbers, "again_at": again})


def _too_fast(allowance: Allowance, wait: float) -> OverLimit:
    assert allowance.quota.rate is not None
    if allowance.whose == "server":
        return _busy(allowance, wait)
    most, period = allowance.quota.rate
    numbers: Json = {"limit": "rate", "most": most, "per": WORDS[period]}
    done = "it" if most == 1 else "them"
    said = f"{_whose(allowance)} may make {_calls(most)} a {WORDS[period]} and have just made {done}."
    return _over(allowance, f"{said} Call again in {_seconds(wait)} s.", wait, numbers)


def _too_many(allowance: Allowance, most: int) -> OverLimit:
    said = f"{_whose(allowance)} may have {_calls(most)} under way at once and have as many."
    said += f" Call again when one of them has ended, or in {_seconds(_BUSY_SECONDS)} s."
    return _over(allowance, said, _BUSY_SECONDS, {"limit": "concurrent", "most": most})


def _busy(allowance: Allowance, wait: float) -> OverLimit:
    """Of a limit that others share: nothing of how much they use, nor how much there is."""
    said = f"Server {allowance.name!r} is busy. Call again in {_seconds(wait)} s."
    return OverLimit(f"{said} Nothing was sent.", retry_seconds=wait, told={"limit": "busy"})


def _over(allowance: Allowance, said: str, wait: float, told: Json) -> OverLimit:
    refusal = OverLimit(f"{said} Nothing was sent.", retry_seconds=wait, told=told)
    refusal.rule = allowance.name if allowance.whose == "rule" else None
    return refusal


def _whose(allowance: Allowance) -> str:
    return "Under the rule that allows this call, you" if allowance.whose == "rule" else "You"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6f}".rstrip("0").rstrip(".")


def _calls(most: int) -> str:
    return f"{_number(most)} {'call' if most == 1 else 'calls'}"


def _seconds(wait: float) -> str:
    """Rounded up, so that whoever waits as long is not too early."""
    whole = -(-wait // 0.01) / 100 if wait < 10 else float(-(-wait // 1))
    return f"{whole:g}" if whole < 100_000 else str(int(whole))
