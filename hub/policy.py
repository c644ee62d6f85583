"""THE one decision: may this agent use this entry? Pure, and asked by lists and calls alike.

Rules combine so: an entry may be used if any rule of `may` matches it and none of `never` does.
A deny always wins, and nothing is allowed that no rule allows. Grants that are `within` others need
those as well. What a rule says of arguments and times is judged call by call (`rules.judge`).

Patterns are matched against `server__name` (tools, prompts) or `server__URI` (resources,
templates): `*` is any run of characters, `?` is one, all else is itself, upper and lower case apart.
Matching takes at most time pattern x text; no pattern is slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hub.model import Entry, Kind
from hub.rules.quota import Quota
from hub.templates import in_order, readings

__all__ = ["ALWAYS", "Decision", "Grants", "Rule", "When", "bare", "decide", "matches", "may_reach", "named"]

ALWAYS = "always"
"""The id of what stands for a rule where none is needed."""

_KEPT_MAX = 16_384
"""Decisions that one agent's grants remember: more than a large catalog has entries."""
_KEPT_LENGTH_MAX = 512
"""Longer ones are decided anew each time: URIs are an agent's to make up."""
_WITH_ARGUMENTS = ("tool", "prompt")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as a person wrote it, and where."""

    id: str
    """`may[0]`, `never[2]`: stable within one version of the file."""
    use: tuple[str, ...]
    line: int
    servers: tuple[str, ...] = ()
    """Only entries of these servers, where there are any."""
    tags: tuple[str, ...] = ()
    """Only entries with one of these tags, where there are any."""
    read_only: bool | None = None
    """Only entries that are known to change nothing (or, `False`, that are not)."""
    with_: Mapping[str, Any] | None = None
    """A JSON Schema for each argument that it names: it must be there and fit."""
    only: bool = False
    """Whether arguments that `with_` does not name are refused."""
    ask: Literal["human"] | None = None
    """Whether a person has to approve the very call."""
    when: When | None = None
    limits: Quota | None = None
    repeat: int | None = None
    """How often in a row the same call may have the same result."""
    kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was worked out of it once."""

    @property
    def judges(self) -> bool:
        """Whether it says something of arguments."""
        return bool(self.with_) or self.only


@dataclass(frozen=True, slots=True)
class When:
    """At which times, in which sessions; what is left out does not restrict."""

    days: frozenset[int] = frozenset()
    """0 is Monday. Of a time over midnight, the day on which it begins."""
    between: tuple[int, int] | None = None
    """Minutes of the day, from and until; over midnight where the first is the greater."""
    zone: str = "UTC"
    labels: Mapping[str, str] | None = None
    """Labels that the session must have."""


@dataclass(frozen=True, slots=True)
class Grants:
    """All that one agent's manifest says of what it may use."""

    file: str
    """As people are to be shown it."""
    may: tuple[Rule, ...] = ()
    never: tuple[Rule, ...] = ()
    limits: Quota | None = None
    """For all its calls together."""
    within: Grants | None = None
    """What must allow as well: a token is never wider than its agent, nor a child than its parent."""
    always: tuple[str, ...] = ()
    """Patterns of what needs no rule: an agent may read what it was given. A deny wins."""
    kept: dict[Any, Decision] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Decisions that were made before, by all that they depend on: a call asks a dict (0.2 us)."""


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    rule: Rule | None
    """The rule that decided; `None` where no rule matched."""
    pattern: str | None
    """The pattern of the rule that matched."""
    levels: tuple[tuple[Rule, ...], ...] = field(default=(), compare=False)
    """Where it is allowed: the rules of `may` that match, of the grants and of each that they are within."""
    rules: tuple[Rule, ...] = field(default=(), compare=False)
    """All of those in one."""
    plain: bool = field(default=True, compare=False)
    """Whether none of those asks for arguments or times: a call needs no further look."""
    file: str = field(default="", compare=False)
    """The grants that refused, as people are to be shown them; else the innermost."""


def decide(grants: Grants, entry: Entry) -> Decision:
    """Whether `entry` may be used, and which rule says so."""
    key = (entry.kind, entry.grant, entry.reads_only, entry.tags, entry.alias)
    decision = grants.kept.get(key)
    if decision is None:
        if len(grants.kept) >= _KEPT_MAX:
            grants.kept.clear()
        decision = _decide(grants, entry)
        if decision.allowed and entry.kind == "resource":
            decision = _denied_otherwise_read(grants, entry) or decision
        if len(entry.grant) <= _KEPT_LENGTH_MAX:
            grants.kept[key] = decision
    return decision


def named(kind: Kind, server: str, own: str) -> Entry:
    """What stands for an entry that no catalog has, so that rules can be asked about it."""
    return Entry(kind, server, own, own, f"{server}__{own}", {}, reads_only=kind not in ("tool", "extension"))


def bare(name: str) -> Entry:
    """The same, where only the name is known that rules know it by: taken for a tool, or for a URI."""
    server, _, own = name.partition("__")
    kind: Kind = "resource" if "://" in own else "tool"
    return Entry(kind, server, own, name, name, {}, reads_only=kind == "resource")


def _decide(grants: Grants, entry: Entry) -> Decision:
    return _decide_by_rules(grants, entry) if _needs_rule(grants, entry) else _decide_without(grants, entry)


def _needs_rule(grants: Grants, entry: Entry) -> bool:
    level: Grants | None = grants
    while level is not None:
        if level.always and _first(level.always, entry.grant) is not None:
            return False
        level = level.within
    return True


def _decide_without(grants: Grants, entry: Entry) -> Decision:
    """Of what needs no rule: those that there are, hold all the same."""
    decision = _decide_by_rules(grants, entry)
    if decision.allowed or decision.rule is not None:
        return decision
    # No rule of a narrower token says anything of it, so what it is within has not been asked yet.
    denied = _denied(grants, entry)
    if denied is not None:
        return denied
    rule = Rule(ALWAYS, (entry.grant,), 1)
    return Decision(True, rule, entry.grant, ((rule,),), (rule,), file=grants.file)


def _decide_by_rules(grants: Grants, entry: Entry) -> Decision:
    levels: list[tuple[Rule, ...]] = []
    first: tuple[Rule, str] | None = None
    level: Grants | None = grants
    while level is not None:
        denied = _denied_by(level, entry)
        if denied is not None:
            return denied
        found = [(rule, pattern) for rule in level.may if (pattern := _pattern(rule, entry)) is not None]
        usable = tuple(rule for rule, _ in found if not rule.with_ or entry.kind in _WITH_ARGUMENTS)
        if not usable:
            return Decision(False, None, None, file=level.file)
        if first is None:
            first = next((rule, pattern) for rule, pattern in found if rule is usable[0])
        levels.append(usable)
        level = level.within
    assert first is not None
    rules = tuple(rule for each in levels for rule in each)
    plain = not any(rule.judges or rule.when is not None for rule in rules)
    return Decision(True, *first, tuple(levels), rules, plain, grants.file)


def _denied(grants: Grants, entry: Entry) -> Decision | None:
    """The first `never` that matches, of all levels."""
    level: Grants | None = grants
    while level is not None:
        denied = _denied_by(level, entry)
        if denied is not None:
            return denied
        level = level.within
    return None


def _denied_otherwise_read(grants: Grants, entry: Entry) -> Decision | None:
    """The same of a resource, in whatever way its server may read the URI that rules see."""
    level: Grants | None = grants
    while level is not None and not level.never:
        level = level.within
    if level is None:
        return None
    grants_of = (f"{entry.server}__{own}" for own in sorted(readings(entry.own)))
    denials = (_denied(grants, replace(entry, grant=grant)) for grant in grants_of if grant != entry.grant)
    return next((denied for denied in denials if denied is not None), None)


def _denied_by(level: Grants, entry: Entry) -> Decision | None:
    for rule in level.never:
        pattern = _pattern(rule, entry)
        if pattern is not None:
            return Decision(False, rule, pattern, file=level.file)
    return None


def _pattern(rule: Rule, entry: Entry) -> str | None:
    """The pattern of a rule that matches, if the rule does."""
    if rule.servers and entry.server not in rule.servers:
        return None
    if rule.tags and not any(tag in rule.tags for tag in entry.tags):
        return None
    if rule.read_only is not None and rule.read_only is not entry.reads_only:
        return None
    pattern = _first(rule.use, entry.grant)
    if pattern is None and entry.alias is not None:
        pattern = _first(rule.use, entry.alias)
    return pattern


def may_reach(grants: Grants, server: str) -> bool:
    """Whether anything that `server` may ever have could be allowed: a first look, without its entries."""
    own = f"{server}__"
    reached = any(
        _could_match(pattern, own)
        for rule in grants.may
        if not rule.servers or server in rule.servers
        for pattern in rule.use
    )
    return reached and (grants.within is None or may_reach(grants.within, server))


def _could_match(pattern: str, own: str) -> bool:
    head = pattern[: min((at for at in map(pattern.find, "*?") if at >= 0), default=len(pattern))]
    return head.startswith(own) or (len(head) < len(pattern) and own.startswith(head))


def _first(patterns: Sequence[str], target: str) -> str | None:
    for pattern in patterns:
        if matches(pattern, target):
            return pattern
    return None


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` fits `pattern`."""
    return in_order(pattern.split("*"), text) if "?" not in pattern else _matches(pattern, text)


def _matches(pattern: str, text: str) -> bool:
    """The same, whatever is in the pattern.

    Greedy with one step back to the last `*`, so it never tries exponentially many ways.
    """
    p = t = 0
    star, resume = -1, 0
    while t < len(text):
        if p < len(pattern) and pattern[p] == "*":
            star, resume = p, t
            p += 1
        elif p < len(pattern) and (pattern[p] == "?" or pattern[p] == text[t]):
            p += 1
            t += 1
        elif star >= 0:
            resume += 1
            p, t = star + 1, resume
        else:
            return False
    return all(rest == "*" for rest in pattern[p:])
