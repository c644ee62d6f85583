"""An independent oracle of what an agent may do: written from the design's words, slow and plain.

Shares no code with `hub/`: policies are plain dicts as YAML has them, patterns are regular expressions,
paths are taken apart by hand. It knows the keywords that the generated policies use, and no more.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["allowed", "listed"]

Policy = dict[str, Any]
"""`may` and `never` as in a manifest, and `within`: another policy."""
Tool = dict[str, Any]
"""`server`, `own`, `kind`, `tags`, `reads_only`."""


def listed(policy: Policy | None, tool: Tool) -> bool:
    """Whether the agent sees it: some rule of `may` is about it and no rule of `never`, at every level."""
    while policy is not None:
        if any(is_about(rule, tool) for rule in policy.get("never", [])):
            return False
        rules = [rule for rule in policy.get("may", []) if is_about(rule, tool)]
        if tool["kind"] != "tool":
            rules = [rule for rule in rules if not rule.get("with")]
        if not rules:
            return False
        policy = policy.get("within")
    return True


def allowed(policy: Policy, tool: Tool, arguments: dict[str, Any], minute: int, day: int) -> Any:
    """What reaches the server; `None` where nothing does.

    Args:
        minute: Of the day, UTC; `day`: 0 is Monday.
    """
    if not listed(policy, tool):
        return None
    levels = []
    level: Policy | None = policy
    while level is not None:
        levels.append([rule for rule in level["may"] if is_about(rule, tool)])
        level = level.get("within")
    sent = dict(arguments)
    for rules in levels:
        for rule in rules:
            completed = complete(rule, sent)
            if completed is not None:
                sent = completed
    for rules in levels:
        holding = [rule for rule in rules if complete(rule, sent) == sent]
        if not holding:
            return None
        if not all(in_time(rule, minute, day) for rule in holding):
            return None
    return sent


def is_about(rule: Any, tool: Tool) -> bool:
    if isinstance(rule, str):
        rule = {"use": [rule]}
    name = f"{tool['server']}__{tool['own']}"
    uses = rule.get("use", ["*"])
    parts = {"*": ".*", "?": "."}
    return (
        any(re.fullmatch("".join(parts.get(c) or re.escape(c) for c in use), name, re.DOTALL) for use in uses)
        and ("server" not in rule or tool["server"] in rule["server"])
        and ("tag" not in rule or bool(set(rule["tag"]) & set(tool["tags"])))
        and ("readOnly" not in rule or rule["readOnly"] == tool["reads_only"])
    )


def complete(rule: Any, arguments: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments as this rule lets them through; `None` where it does not."""
    if isinstance(rule, str):
        return arguments
    schemas = rule.get("with") or {}
    if rule.get("only") and any(name not in schemas for name in arguments):
        return None
    made = dict(arguments)
    for name, schema in schemas.items():
        if name not in made:
            if "const" not in schema:
                return None
            made[name] = schema["const"]
        if schema.get("format") == "path":
            if not isinstance(made[name], str):
                return None
            path = plain_path(made[name])
            if path is None:
                return None
            made[name] = path
        if not fits(schema, made[name]):
            return None
    return made


def fits(schema: dict[str, Any], value: Any) -> bool:
    """By JSON Schema, but that a keyword implies its type."""
    if "const" in schema and not same(value, schema["const"]):
        return False
    if "enum" in schema and not any(same(value, each) for each in schema["enum"]):
        return False
    is_text = isinstance(value, str)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if "pattern" in schema and not (is_text and re.search(schema["pattern"], value)):
        return False
    if "maxLength" in schema and not (is_text and len(value) <= schema["maxLength"]):
        return False
    if "maximum" in schema and not (is_number and value <= schema["maximum"]):
        return False
    if "minimum" in schema and not (is_number and value >= schema["minimum"]):
        return False
    if "items" in schema:
        return isinstance(value, list) and all(fits(schema["items"], item) for item in value)
    types = {
        "string": is_text,
        "integer": is_number and value == int(value),
        "boolean": isinstance(value, bool),
    }
    return types.get(schema.get("type", ""), True)


def same(one: Any, other: Any) -> bool:
    """JSON's equality: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def plain_path(path: str) -> str | None:
    """Absolute, without `.` and `..`; `None` where it cannot be."""
    if not path.startswith("/") or "\0" in path or "\\" in path:
        return None
    climbed: list[str] = []
    for step in path.split("/"):
        if step == "..":
            climbed = climbed[:-1]
        elif step not in ("", "."):
            climbed = [*climbed, step]
    end = "/" if path.endswith("/") and climbed else ""
    return "/" + "/".join(climbed) + end


def in_time(rule: Any, minute: int, day: int) -> bool:
    when = {} if isinstance(rule, str) else rule.get("when") or {}
    week = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    if "hours" in when:
        start, end = (int(part[:2]) * 60 + int(part[3:]) for part in when["hours"].split("-"))
        inside = range(start, end) if start < end else [*range(start, 1440), *range(end)]
        if minute not in inside:
            return False
        if start > end and minute < end:
            day = (day + 6) % 7
    return "days" not in when or week[day] in when["days"]
