"""THE one decision: may this agent use this entry? Pure, and asked by lists and calls alike.

Rules combine so: a call is allowed if any rule of `may` matches and no pattern of `never` does.
A deny always wins, and nothing is allowed that no rule allows.

Patterns are matched against `server__name` (tools, prompts) or `server__URI` (resources,
templates): `*` is any run of characters, `?` is one, all else is itself, upper and lower case apart.
Matching takes at most time pattern x text; no pattern is slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hub.quota import Quota

__all__ = ["Decision", "Grants", "Rule", "When", "decide", "matches", "may_reach"]


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


@dataclass(frozen=True, slots=True)
class When:
    """At which times, in which sessions; what is left out does not restrict."""

    days: frozenset[int] = frozenset()
    """0 is Monday."""
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


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    rule: Rule | None
    """The rule that decided; `None` where no rule matched."""
    pattern: str | None
    """The pattern of the rule that matched."""


def decide(grants: Grants, target: str) -> Decision:
    """Whether `target` (an entry's `grant`) may be used, and which rule says so."""
    for rule in grants.never:
        pattern = _first(rule.use, target)
        if pattern is not None:
            return Decision(False, rule, pattern)
    for rule in grants.may:
        pattern = _first(rule.use, target)
        if pattern is not None:
            return Decision(True, rule, pattern)
    return Decision(False, None, None)


def may_reach(grants: Grants, server: str) -> bool:
    """Whether anything that `server` may ever have could be allowed: a first look, without its entries."""
    own = f"{server}__"
    for rule in grants.may:
        for pattern in rule.use:
            head = pattern[: min((at for at in map(pattern.find, "*?") if at >= 0), default=len(pattern))]
            if head.startswith(own) or (len(head) < len(pattern) and own.startswith(head)):
                return True
    return False


def _first(patterns: Sequence[str], target: str) -> str | None:
    for pattern in patterns:
        if matches(pattern, target):
            return pattern
    return None


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` fits `pattern`.

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
