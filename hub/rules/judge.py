"""The decision about one call: what is to be sent, by which rules, or why not. Pure.

`policy.decide` says whether an entry may be used at all. Here come the arguments and the moment:

1. What the server's manifest fixes or defaults is filled in.
2. Each rule that matches the entry, in the order of the file, may fill in and respell arguments, where
   the call then fits it.
3. The rules that fit what came out hold. One at least must, of the grants and of each that they are
   within; then `when` of all of them must hold, and `ask` and `limits` of all of them do.

So a broad rule never loosens a narrow one, and what was judged is what is sent. What is asked of a task
has no arguments: its tool must be granted, and that is all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from hub.model import Entry, Json
from hub.policy import Decision, Rule
from hub.rules.arguments import Unfit, arguments_of
from hub.rules.moments import holds, in_words

__all__ = ["Judged", "Refusal", "judge"]

_FAILURES_MAX: Final = 5
_TASKS: Final = "tasks/"
_NOT_ALL: Final = Unfit("arguments", "must fit all of the rules")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why not, of an entry that is granted."""

    reason: Literal["argument", "when"]
    message: str
    """For the model: which argument, and what it must be."""
    rule: Rule | None
    """The one to look at: the first that might have let it through, or whose time it is not."""
    argument: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    params: Json
    """What is to be sent: the same object where nothing was filled in or respelled."""
    rules: tuple[Rule, ...]
    """Those that hold; empty where it is refused."""
    refusal: Refusal | None = None


def judge(
    decision: Decision,
    entry: Entry,
    method: str,
    params: Json,
    *,
    at: float,
    labels: Mapping[str, str] | None = None,
) -> Judged:
    """
    Args:
        decision: About this entry; one that allows it.
        at: The moment, in seconds since 1970, UTC.
        labels: Of the session.
    """
    if method.startswith(_TASKS):
        return Judged(params, ())
    given = _given(method, params)
    made, ours = given, frozenset[str]()
    if entry.curation is not None and method == "tools/call":
        try:
            made = _curated(entry, given)
        except Unfit as unfit:
            return _refused(params, None, [unfit])
        # What a manifest fills in, no agent has given: `only` is not about it.
        ours = frozenset(entry.curation.fixed) | (entry.curation.defaults.keys() - given.keys())
    held = decision.rules
    if any(rule.judges for rule in held):
        completing = _completing(method, params)
        tries: list[_Try] = []
        for rule in held:
            tries.append(_tried(rule, made, completing, ours))
            made = tries[-1].made
        # What was filled in or respelled later may change what an earlier rule says of it.
        tries = [each if each.made is made else _tried(each.rule, made, completing, ours) for each in tries]
        fitting = {id(each.rule) for each in tries if each.unfit is None and each.made is made}
        for level in decision.levels:
            if not any(id(rule) in fitting for rule in level):
                here = [each for each in tries if any(each.rule is rule for rule in level)]
                return _refused(params, here[0].rule, [each.unfit or _NOT_ALL for each in here])
        if len(fitting) < len(held):
            held = tuple(rule for rule in held if id(rule) in fitting)
    for rule in held:
        if rule.when is not None and not holds(rule.when, at, labels):
            message = f"Not allowed now: only {in_words(rule.when)}. Nothing was sent."
            return Judged(params, (), Refusal("when", message, rule))
    return Judged(params if made is given else _with(method, params, made), held)


def _given(method: str, params: Json) -> Json:
    arguments = params.get("arguments")
    if method == "completion/complete":
        context = params.get("context")
        arguments = context.get("arguments") if isinstance(context, dict) else None
    return arguments if isinstance(arguments, dict) else {}


def _with(method: str, params: Json, arguments: Json) -> Json:
    if method != "completion/complete":
        return {**params, "arguments": arguments}
    context = params.get("context")
    return {**params, "context": {**(context if isinstance(context, dict) else {}), "arguments": arguments}}


def _completing(method: str, params: Json) -> str | None:
    """The argument that a completion is asked for."""
    argument = params.get("argument") if method == "completion/complete" else None
    return str(argument.get("name")) if isinstance(argument, dict) else None


def _curated(entry: Entry, given: Json) -> Json:
    """With what the server's manifest fixes and defaults. Raises `Unfit`."""
    assert entry.curation is not None
    for name, value in entry.curation.fixed.items():
        if name in given and given[name] != value:
            # The value may be none of the agent's business.
            raise Unfit(name, "is set by the hub; leave it out")
    return {**entry.curation.defaults, **given, **entry.curation.fixed}


def _passed(rule: Rule, given: Json, completing: str | None, ours: frozenset[str]) -> Json:
    """Raises `Unfit`."""
    arguments = arguments_of(rule)
    if arguments is None:
        return given
    if completing is not None and (completing in arguments.names or arguments.only):
        raise Unfit(completing, "cannot be completed, because it is restricted")
    return arguments.passed(given, ours)


@dataclass(frozen=True, slots=True)
class _Try:
    """What one rule made of arguments: they as they were, where it does not let them through."""

    rule: Rule
    made: Json
    unfit: Unfit | None


def _tried(rule: Rule, given: Json, completing: str | None, ours: frozenset[str]) -> _Try:
    try:
        return _Try(rule, _passed(rule, given, completing, ours), None)
    except Unfit as unfit:
        return _Try(rule, given, unfit)


def _refused(params: Json, rule: Rule | None, failures: list[Unfit]) -> Judged:
    lines = list(dict.fromkeys(str(unfit) for unfit in failures))[:_FAILURES_MAX]
    message = "Not allowed with these arguments; nothing was sent.\n" + "\nor ".join(lines)
    return Judged(params, (), Refusal("argument", message, rule, failures[0].argument))
