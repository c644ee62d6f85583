"""What is odd in what rules say of arguments: nothing fits it, or more than it looks like."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import jsonschema_rs

from hub.model import Entry, Json
from hub.nearest import nearest
from hub.policy import Rule
from hub.review.findings import Finding, Subject
from hub.review.patterns import alternatives, any_character, begins, ends, is_open_word, literal_start
from hub.rules.arguments import Unfit, arguments_of
from hub.rules.curation import required_of
from hub.rules.schemas import NORMAL, typed

__all__ = ["findings"]

_TOOLS_MAX: Final = 50
"""So many tools of one rule are looked at."""
_names_place = re.compile(
    r"path|file|folder|dir(?:ectory)?s?$|^(?:root|cwd|source|destination|target|repo)$|ur[il]s?$",
    re.IGNORECASE,
).search
_OUT: Final = "../../../../etc/passwd"


def findings(subject: Subject) -> Iterator[Finding]:
    for rule in subject.may:
        for name, schema in (rule.with_ or {}).items():
            impossible = list(_impossible(subject, rule, name, schema))
            yield from impossible
            if not impossible:
                yield from _idle(subject, rule, name, schema)
                yield from _loose(subject, rule, name, schema)
        if rule.judges:
            yield from _beside_the_tool(subject, rule)


def _impossible(subject: Subject, rule: Rule, name: str, schema: Any) -> Iterator[Finding]:
    if _is_impossible(typed(schema)):
        yield subject.finding(
            "contradiction", "error", rule, "no value fits this, so the rule never lets a call through.",
            "Mend the schema: its parts exclude each other.", "with", name,
        )  # fmt: skip
        return
    listed = [schema["const"]] if "const" in schema else schema.get("enum", [])
    wrong = {repr(value): said for value in listed if (said := _said_of(rule, name, value)) is not None}
    for value, said in wrong.items():
        yield subject.finding(
            "contradiction", "error" if len(wrong) == len(listed) else "warning", rule,
            f"{value[:80]} never fits what stands beside it: {said}.", "Mend one of the two.", "with", name,
        )  # fmt: skip


def _is_impossible(schema: Any) -> bool:
    try:
        # It answers "no" only where that is proved.
        return (
            jsonschema_rs.canonicalize(schema).satisfiability() == jsonschema_rs.canonical.Satisfiability.NO
        )
    except (ValueError, TypeError, jsonschema_rs.ReferencingError):
        return False


def _said_of(rule: Rule, name: str, value: Any) -> str | None:
    """Why a rule does not let a value of one argument through; `None` where it does."""
    alone = Rule(rule.id, rule.use, rule.line, with_={name: (rule.with_ or {})[name]})
    arguments = arguments_of(alone)
    assert arguments is not None
    try:
        arguments.passed({name: value})
    except Unfit as unfit:
        return unfit.must
    return None


def _idle(subject: Subject, rule: Rule, name: str, schema: Json) -> Iterator[Finding]:
    """A keyword speaks of its own type alone."""
    given = schema.get("type")
    types = {given} if isinstance(given, str) else set(given or ())
    types |= {"number"} if "integer" in types else set()
    idle = [
        key
        for key, value in schema.items()
        if types and (implied := _implied(key, value)) is not None and implied not in types
    ]
    if idle:
        yield subject.finding(
            "idle-keyword", "warning", rule,
            f"{', '.join(idle)} says nothing of what is {' or '.join(sorted(types))}.",
            "Remove it, or mend `type`.", "with", name,
        )  # fmt: skip


def _implied(key: str, value: Any) -> str | None:
    if key == "type":
        return None
    implied = typed({key: value}).get("type") if key != "format" or value not in NORMAL else "string"
    return implied if isinstance(implied, str) else None


def _loose(subject: Subject, rule: Rule, name: str, schema: Json) -> Iterator[Finding]:
    for pattern, format in _patterns(schema, None):
        is_place = format in NORMAL or pattern.startswith("^/") or "://" in pattern
        parts = alternatives(pattern)
        free = [part for part in parts if not begins(part) and not ends(part)]
        is_half = len(parts) > 1 and begins(parts[0]) and ends(parts[-1])
        is_half = is_half and not (ends(parts[0]) and begins(parts[-1]))
        if free or is_half:
            part = free[0] if free else pattern
            yield subject.finding(
                "unanchored", "warning", rule,
                f"{part!r} is searched anywhere in the text."
                if free
                else f"'^' and '$' are of the first and the last alternative alone in {pattern!r}.",
                f"Write '^(?:{pattern.strip('^$')})$', or what is meant." if not free or ends(pattern)
                else f"Write '^{part}' for what begins so.",
                "with", name,
            )  # fmt: skip
            continue
        open_ = [part for part in parts if begins(part) and not ends(part) and is_open_word(part)]
        if open_:
            fix = f"'{open_[0]}{'/' if '://' in pattern else '(/|$)' if is_place else '$'}'"
            longer = open_[0].removeprefix("^").replace("\\", "")
            yield subject.finding(
                "open-end", "warning" if is_place else "note", rule,
                f"{open_[0]!r} lets longer words through too: {longer}-other.",
                f"Write {fix}, if just that is meant.", "with", name,
            )  # fmt: skip
        host = any_character(pattern)
        if host is not None:
            yield subject.finding(
                "any-character", "warning", rule, f"'.' is any character in {host!r}.",
                r"Write '\.' for a dot.", "with", name,
            )  # fmt: skip
        out = _way_out(rule, name, parts, format, schema)
        if out is not None:
            yield subject.finding(
                "climbs", "warning", rule, f"is judged as it is written, so {out!r} fits.",
                f"Add `format: {'uri' if '://' in out else 'path'}`.", "with", name,
            )  # fmt: skip


def _patterns(schema: Any, format: Any) -> Iterator[tuple[str, Any]]:
    """The patterns that a text must match, with the format beside each."""
    if not isinstance(schema, dict):
        return
    format = schema.get("format", format)
    if isinstance(schema.get("pattern"), str):
        yield schema["pattern"], format
    for key in ("allOf", "anyOf", "oneOf"):
        for each in schema.get(key, ()):
            yield from _patterns(each, format)
    yield from _patterns(schema.get("items"), None)


def _way_out(rule: Rule, name: str, parts: list[str], format: Any, schema: Json) -> str | None:
    """A text that fits a pattern of a folder, and leads out of it."""
    if format in NORMAL:
        return None
    for part in parts:
        start = literal_start(part)
        if not begins(part) or not (start.startswith("/") or "://" in start or _names_place(name)):
            continue
        out = f"{start.rstrip('/')}/{_OUT}"
        value: Any = [out] if "items" in schema else out
        if "/" in start and _said_of(rule, name, value) is None:
            return out
    return None


def _beside_the_tool(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """What the tools' own schemas say to it."""
    tools = [entry for entry in subject.hits(rule) if entry.kind == "tool"][:_TOOLS_MAX]
    if not tools:
        return
    named = rule.with_ or {}
    for name, schema in named.items():
        of = [entry for entry in tools if name in _properties(entry)]
        if not of:
            known = sorted({other for entry in tools for other in _properties(entry)})
            near = nearest(name, known)
            fix = f"Did you mean '{near}'?" if near is not None else f"It has: {', '.join(known) or 'none'}."
            yield subject.finding(
                "no-such-argument", "warning", rule,
                f"{tools[0].grant} has no argument {name!r}, and a call must give it.", fix, "with", name,
            )  # fmt: skip
        elif not _is_impossible(typed(schema)) and all(_excludes(entry, name, schema) for entry in of):
            yield subject.finding(
                "contradiction", "error", rule, f"nothing fits both this and what {of[0].grant} takes.",
                "`hub tools show` shows what it takes.", "with", name,
            )  # fmt: skip
    for entry in tools:
        missing = [name for name in _required(entry) if name not in named]
        if rule.only and missing:
            yield subject.finding(
                "misses-required", "warning", rule,
                f"`only` refuses {', '.join(missing)}, which {entry.grant} cannot do without.",
                "Name it under `with`.", "only",
            )  # fmt: skip
            break
    if not rule.only:
        yield from _open_beside(subject, rule, tools)


def _open_beside(subject: Subject, rule: Rule, tools: list[Entry]) -> Iterator[Finding]:
    """Where one place is restricted, another argument that names one is probably meant, too."""
    named = rule.with_ or {}
    if not any(_is_place(name, schema) for name, schema in named.items()):
        return
    for entry in tools:
        fixed = entry.curation.fixed if entry.curation is not None else {}
        free = [
            name
            for name, schema in _properties(entry).items()
            if name not in named and name not in fixed and _names_place(name) and _may_be_text(schema)
        ]
        if free:
            yield subject.finding(
                "open-argument", "warning", rule, f"leaves {', '.join(free)} of {entry.grant} open.",
                "Name it under `with` too, or write `only: true`.", "with",
            )  # fmt: skip
            return


def _is_place(name: str, schema: Any) -> bool:
    return _names_place(name) is not None or any(
        format in NORMAL or pattern.startswith("^/") for pattern, format in _patterns(schema, None)
    )


def _may_be_text(schema: Any) -> bool:
    given = schema.get("type") if isinstance(schema, dict) else None
    types = {given} if isinstance(given, str) else set(given) if isinstance(given, list) else set()
    return not types or not types.isdisjoint({"string", "array"})


def _properties(entry: Entry) -> Json:
    found = entry.theirs["inputSchema"].get("properties")
    return found if isinstance(found, dict) else {}


def _required(entry: Entry) -> list[str]:
    filled = {**entry.curation.fixed, **entry.curation.defaults} if entry.curation is not None else {}
    return [name for name in required_of(entry.theirs["inputSchema"]) if name not in filled]


def _excludes(entry: Entry, name: str, schema: Any) -> bool:
    own = _properties(entry)[name]
    if not isinstance(own, dict) or "$ref" in str(own):
        return False
    return _is_impossible({"allOf": [typed(schema), own]})
