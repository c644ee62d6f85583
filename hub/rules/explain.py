"""Why an agent may or may not use something, and the smallest change that would allow it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hub.model import Entry, Json
from hub.policy import ALWAYS, Decision, Grants, Rule, decide
from hub.rules import normal
from hub.rules.judge import Judged, judge

__all__ = ["Explanation", "explained", "quarantined", "where"]

_ROUNDS_MAX = 32

Labels = Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Explanation:
    allowed: bool
    rule: Rule | None
    """The one that decided; `None` where no rule matched."""
    pattern: str | None
    file: str
    why: str
    """A sentence that names file, line and rule."""
    argument: str | None = None
    """The one that does not fit."""
    params: Json | None = None
    """What would be sent, where it is allowed and arguments were given."""
    rules: tuple[Rule, ...] = ()
    """All that hold."""
    change: str | None = None
    """What would allow it, where it is not: a line for the manifest."""
    reason: str | None = None
    """As the record of such a call has it."""


def explained(
    grants: Grants,
    entry: Entry,
    arguments: Json | None,
    at: float,
    labels: Labels = None,
) -> Explanation:
    """
    Args:
        arguments: Those of the call; `None` asks about the entry alone.
        at: The moment of the call, in seconds since 1970, UTC.
        labels: Of the session that the call belongs to.
    """
    decision = decide(grants, entry)
    if not decision.allowed:
        why = where(decision.file, decision.rule, decision.pattern)
        return Explanation(
            False, decision.rule, decision.pattern, decision.file, why,
            change=_wider(grants, decision, entry), reason="not_found",
        )  # fmt: skip
    why = where(decision.file, decision.rule, decision.pattern)
    if arguments is None:
        return Explanation(True, decision.rule, decision.pattern, decision.file, why, rules=decision.rules)
    judged = _judged(grants, entry, arguments, at, labels)
    refusal = judged.refusal
    if refusal is None:
        first = judged.rules[0] if judged.rules else decision.rule
        pattern = decision.pattern if first is decision.rule else ", ".join(first.use) if first else None
        why = where(decision.file, first, pattern)
        return Explanation(True, first, pattern, decision.file, why, params=judged.params, rules=judged.rules)
    said = refusal.message.partition("\n")[2] or refusal.message.partition(". ")[0]
    at_rule = f"{decision.file}:{refusal.rule.line}: {refusal.rule.id}" if refusal.rule else f"{entry.server}"
    change = _changed(grants, entry, arguments, at, judged, labels)
    return Explanation(
        False, refusal.rule, None, decision.file, f"{at_rule}: {said}", refusal.argument,
        change=change, reason=refusal.reason,
    )  # fmt: skip


def quarantined(found: Explanation, entry: Entry) -> Explanation:
    """What is allowed, of a tool that is kept back."""
    return replace(
        found,
        allowed=False,
        why=f"its server has changed what it is, so it is quarantined ({found.why} would allow it)",
        params=None,
        change=f"look at it with `hub tools changed {entry.name}`, which says how to approve it",
        reason="quarantined",
    )


def where(file: str, rule: Rule | None, pattern: str | None) -> str:
    if rule is None:
        return f"no rule of {file} allows it"
    if rule.id == ALWAYS:
        return "an agent may always read the results that it got"
    return f"{file}:{rule.line}: {rule.id} {pattern!r}"


def _judged(grants: Grants, entry: Entry, arguments: Json, at: float, labels: Labels) -> Judged:
    method = "prompts/get" if entry.kind == "prompt" else "tools/call"
    return judge(decide(grants, entry), entry, method, {"arguments": arguments}, at=at, labels=labels)


def _wider(grants: Grants, decision: Decision, entry: Entry) -> str:
    if decision.rule is not None:
        line = f"{decision.file}:{decision.rule.line}"
        return f"take {decision.pattern!r} out of `never` ({line}), or write patterns there that leave it out"
    return f"add to `may` in {decision.file}: - {_text(entry.grant)}"


def _changed(
    grants: Grants, entry: Entry, arguments: Json, at: float, judged: Judged, labels: Labels
) -> str | None:
    """The rule to add: the one that came nearest, with this very value where it does not fit."""
    refusal = judged.refusal
    assert refusal is not None
    if refusal.rule is None:
        return f"leave {refusal.argument!r} out of the call"
    if refusal.reason == "when":
        return f"change `when` of {refusal.rule.id} ({grants.file}:{refusal.rule.line})"
    added = replace(refusal.rule, id="added", when=None)
    for _ in range(_ROUNDS_MAX):
        wider = replace(grants, may=(*grants.may, added))
        tried = _judged(wider, entry, arguments, at, labels)
        if tried.refusal is None or tried.refusal.reason == "when":
            written: Json = {"use": entry.grant, **({"with": dict(added.with_)} if added.with_ else {})}
            written |= {"only": True} if added.only else {}
            return f"add to `may` in {grants.file}: - {_text(written)}"
        alone = _judged(replace(grants, may=(added,)), entry, arguments, at, labels).refusal
        if alone is None or alone.argument is None:
            return None
        if alone.argument not in arguments:
            return f"give {alone.argument!r} in the call"
        before = added.with_ or {}
        exactly = _exactly(before.get(alone.argument), arguments[alone.argument])
        added = replace(added, with_={**before, alone.argument: exactly})
    return None


def _exactly(schema: Any, value: Any) -> Json:
    """This very value, in the spelling in which the rule has it judged."""
    spelling = schema.get("format") if isinstance(schema, dict) else None
    try:
        if spelling == "path" and isinstance(value, str):
            return {"format": "path", "const": normal.path(value)}
        if spelling == "uri" and isinstance(value, str):
            return {"format": "uri", "const": normal.uri(value)}
    except ValueError:
        pass  # Not to be spelled: then as it is, or not at all.
    return {"const": value}


def _text(value: Any) -> str:
    """As YAML of one line, which JSON is."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        plain = value.replace("__", "").replace("-", "").replace("_", "")
        if plain.isalnum() and plain.isascii() and not plain[0].isdigit() and value.lower() not in _WORDS:
            return value
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    return str(value)


_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
