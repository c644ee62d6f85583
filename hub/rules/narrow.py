"""What agents see of a tool whose arguments a rule or a manifest restricts: only what is allowed. Pure.

A model should not even propose what would be refused. What several rules allow in different ways is
shown as widely as the widest of them, for nothing that is allowed may be hidden. A definition that
nothing narrows is given back as it is, the same object.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hub.model import Entry, Json
from hub.policy import Decision, Rule
from hub.rules.curation import is_whole, required_of, schema_of
from hub.rules.schemas import typed

__all__ = ["narrowed"]


def narrowed(entry: Entry, decision: Decision) -> Entry:
    """The entry as the agent of that decision is to see it."""
    if decision.plain or entry.kind not in ("tool", "prompt"):
        return entry
    definition, hidden = entry.definition, frozenset[str]()
    filled = frozenset() if entry.curation is None else frozenset(entry.curation.defaults)
    for level in decision.levels:
        if all(rule.judges for rule in level):
            if entry.kind == "prompt":
                definition, more = _prompt(definition, level, hidden)
            else:
                definition, more = _tool(definition, level, hidden, filled)
            hidden |= more
    return entry if definition is entry.definition else replace(entry, definition=definition)


def _tool(
    definition: Json, level: tuple[Rule, ...], hidden: frozenset[str], filled: frozenset[str]
) -> tuple[Json, frozenset[str]]:
    """
    Args:
        hidden: Arguments that are not shown any more.
        filled: Those that the hub fills in where they are left out.
    """
    schema: Json = definition["inputSchema"]
    properties = schema.get("properties")
    shown = dict(properties) if isinstance(properties, dict) else {}
    required = required_of(schema)
    constants = _constants(level)
    whole = is_whole(schema)
    for name in _named(level):
        if name in hidden:
            continue
        options = [rule.with_[name] for rule in level if rule.with_ and name in rule.with_]
        free = [rule for rule in level if not (rule.with_ and name in rule.with_)]
        if all(rule.only for rule in free):
            if name in constants and not whole:
                shown.pop(name, None)
            else:
                shown[name] = _fitted(shown.get(name), options)
        if free or any("const" in option for option in options):
            required = [each for each in required if each != name]
        elif name not in required and name not in filled:
            required = [*required, name]
    made = dict(schema)
    if all(rule.only for rule in level):
        kept = _named(level)
        shown = {name: each for name, each in shown.items() if name in kept}
        required = [name for name in required if name in kept]
        made.pop("patternProperties", None)
        made["additionalProperties"] = False
    gone = frozenset() if whole else constants
    return {**definition, "inputSchema": schema_of(made, shown, required)}, gone


def _prompt(definition: Json, level: tuple[Rule, ...], hidden: frozenset[str]) -> tuple[Json, frozenset[str]]:
    listed = definition.get("arguments")
    if not isinstance(listed, list):
        return definition, frozenset()
    gone, kept = _constants(level), _named(level)
    only = all(rule.only for rule in level)
    shown = [
        each
        for each in listed
        if not isinstance(each, dict)
        or not (each.get("name") in gone or (only and each.get("name") not in kept))
    ]
    return {**definition, "arguments": shown}, gone


def _named(level: Iterable[Rule]) -> list[str]:
    return list(dict.fromkeys(name for rule in level for name in rule.with_ or ()))


def _constants(level: tuple[Rule, ...]) -> frozenset[str]:
    """What every rule fills in with one and the same value."""
    first = level[0].with_ or {}
    return frozenset(
        name
        for name, schema in first.items()
        if "const" in schema
        and all(
            "const" in (rule.with_ or {}).get(name, {})
            and _same((rule.with_ or {})[name]["const"], schema["const"])
            for rule in level
        )
    )


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _fitted(own: Any, options: list[Any]) -> Any:
    """The schema of one argument, which must fit one of the options as well."""
    values = _values(options)
    added: Any = {"enum": values} if values is not None else None
    if added is None:
        unique = [each for position, each in enumerate(options) if each not in options[:position]]
        added = typed(unique[0]) if len(unique) == 1 else {"anyOf": [typed(each) for each in unique]}
    if not isinstance(own, dict) or not own:
        return added
    if values is not None and "$ref" not in own:
        theirs = own.get("enum")
        if isinstance(theirs, list):
            values = [value for value in values if any(_same(value, each) for each in theirs)]
        return {**own, "enum": values}
    if "$ref" in own:
        return {"allOf": [own, added]}
    before = own.get("allOf")
    return {**own, "allOf": [*(before if isinstance(before, list) else ()), added]}


def _values(options: list[Any]) -> list[Any] | None:
    """All values that there are, where each option says no more than which."""
    found: list[Any] = []
    for option in options:
        if set(option) == {"enum"}:
            values = option["enum"]
        elif set(option) == {"const"}:
            values = [option["const"]]
        else:
            return None
        found.extend(value for value in values if not any(_same(value, each) for each in found))
    return found
