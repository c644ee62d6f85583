"""What is odd in which entries rules are about, and when: too wide, nothing at all, or for nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from hub.builtin.definitions import SERVER
from hub.counted import counted
from hub.manifests.manifest import ServerManifest
from hub.nearest import nearest
from hub.policy import Grants, Rule, When, decide
from hub.review.findings import Finding, Subject, names_of
from hub.review.patterns import covers
from hub.rules.moments import holds, in_words

__all__ = ["findings"]

_WEEKS: Final = ((2026, 1, 5), (2026, 7, 6))
"""Two Mondays, one in winter and one in summer: zones move against each other."""
_wild = re.compile(r"[*?]").search


def findings(subject: Subject) -> Iterator[Finding]:
    for rule in (*subject.may, *subject.never):
        nothing = list(_about_nothing(subject, rule))
        yield from nothing
        if not nothing:
            yield from _reads_nothing(subject, rule)
            if rule in subject.may:
                yield from list(_under_never(subject, rule)) or _wide(subject, rule)
                yield from _waits_for_labels(subject, rule)
            else:
                yield from _hides_nothing(subject, rule)
    yield from _loosened(subject)
    yield from _never_at_once(subject)


def _about_nothing(subject: Subject, rule: Rule) -> Iterator[Finding]:
    manifests = subject.known.manifests.servers
    if not manifests:
        return  # Nothing is known at all: a manifest that is looked at by itself.
    for server in rule.servers:
        if server not in manifests and server != SERVER:
            yield subject.finding(
                "no-such-server", "error", rule, f"no manifest names a server {server!r}.",
                _meant(server, manifests), "server",
            )  # fmt: skip
    known = {tag for server in manifests.values() for over in server.view().overrides for tag in over.tags}
    for tag in rule.tags:
        if tag not in known:
            yield subject.finding(
                "no-such-tag", "error", rule, f"no server's manifest gives the tag {tag!r}.",
                _meant(tag, known) or "Give it under `tools.override`.", "tag",
            )  # fmt: skip
    if not known.issuperset(rule.tags) or not {*manifests, SERVER}.issuperset(rule.servers):
        return
    for pattern in rule.use:
        yield from _pattern_of_nothing(subject, rule, pattern)


def _pattern_of_nothing(subject: Subject, rule: Rule, pattern: str) -> Iterator[Finding]:
    server, separator, own = pattern.partition("__")
    named = subject.servers(Rule("", (pattern,), 0))
    if not separator and (_wild(pattern) is None or not named):
        known = [entry.grant for entry in subject.known.entries if pattern in (entry.name, entry.own)]
        server = rule.servers[0] if rule.servers else "SERVER"
        fix = f"Write '{known[0] if known else f'{server}__{pattern}'}'."
        message = f"{pattern!r} can match nothing: rules know a tool as SERVER__TOOL."
        yield subject.finding("no-such-entry", "error", rule, message, fix)
        return
    reads = None if rule.read_only and _silent(subject, rule) else rule.read_only  # said by another finding
    alone = Rule(rule.id, (pattern,), rule.line, rule.servers, rule.tags, reads)
    if not named:
        yield subject.finding(
            "no-such-server", "error", rule,
            f"{pattern!r} can match nothing: no manifest names such a server.",
            _meant(server, subject.known.manifests.servers, f"__{own}"),
        )  # fmt: skip
    elif not _all_learnt(subject, alone) or subject.matched(alone):
        return
    elif subject.servers(alone):
        grants = [entry.grant for entry in subject.known.entries]
        near = None if _wild(pattern) is not None else nearest(pattern, grants)
        fix = f"Did you mean '{near}'?" if near is not None else "Mend the pattern, or remove it."
        if rule.tags or rule.read_only is not None:
            fix = "Look at `tag` and `readOnly` beside it."
        message = f"{pattern!r} matches nothing that {', '.join(subject.servers(alone))} offers."
        yield subject.finding("no-such-entry", "warning", rule, message, fix)


def _all_learnt(subject: Subject, rule: Rule) -> bool:
    """Whether all that could match is known. What a template makes of URIs is not."""
    about_uris = any(":" in pattern for pattern in rule.use)
    servers = subject.servers(rule)
    templates = {entry.server for entry in subject.known.entries if entry.kind == "template"}
    return all(name in subject.known.learnt for name in servers) and not (
        about_uris and not templates.isdisjoint(servers)
    )


def _reads_nothing(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """`readOnly: true` counts only where a manifest trusts the server, or says it itself."""
    if rule.read_only is not True:
        return
    silent = _silent(subject, rule)
    if silent:
        is_all = len(silent) == len(subject.servers(rule))
        yield subject.finding(
            "read-only-nothing", "warning" if is_all else "note", rule,
            f"`readOnly: true` matches no tool of {', '.join(silent)}: nothing is known there to only read.",
            "Write `trust: annotations` in its manifest, or `readOnlyHint: true` under its `tools.override`.",
            "readOnly",
        )  # fmt: skip


def _silent(subject: Subject, rule: Rule) -> list[str]:
    """The servers of which it matches no tool, because nobody says of any that it only reads."""
    with_tools = {entry.server for entry in subject.hits(rule) if entry.kind == "tool"}
    manifests = subject.known.manifests.servers
    return [
        name
        for name in subject.servers(rule)
        if name in manifests and name not in with_tools and not _says_what_reads(manifests[name])
    ]


def _says_what_reads(server: ServerManifest) -> bool:
    view = server.view()
    return view.trusted or any(over.annotations.get("readOnlyHint") is True for over in view.overrides)


def _wide(subject: Subject, rule: Rule) -> Iterator[Finding]:
    is_narrowed = bool(rule.servers or rule.tags) or rule.read_only is True
    for pattern in rule.use:
        if set(pattern) == {"*"}:
            if not is_narrowed:
                # No warning: it is as wide as it looks, and what a new home begins with.
                yield subject.finding(
                    "everything", "note", rule,
                    f"{pattern!r} is every tool, resource and prompt of every server, also of those to come.",
                    "Write SERVER__* for each server that is meant, or add `server`, `tag` or `readOnly`.",
                )  # fmt: skip
                return
            continue
        found = _wild(pattern)
        if found is None or is_narrowed:
            continue
        reached = subject.servers(Rule("", (pattern,), 0))
        if found.start() > 0 and "__" not in pattern[: found.start()] and len(reached) > 1:
            yield subject.finding(
                "several-servers", "warning", rule,
                f"{pattern!r} is about several servers: {', '.join(reached)}.",
                f"Write '{reached[0]}__*' if that one is meant.",
            )  # fmt: skip
    if any(_wild(pattern) for pattern in rule.use) and rule.read_only is not True:
        changing = [entry for entry in subject.hits(rule) if entry.kind == "tool" and not entry.reads_only]
        if changing:
            yield subject.finding(
                "may-change", "note", rule,
                f"covers {counted(len(changing), 'tool')} that may change something: {names_of(changing)}.",
                "Name the tools, or write `readOnly: true`, if only reading is meant.",
            )  # fmt: skip


def _waits_for_labels(subject: Subject, rule: Rule) -> Iterator[Finding]:
    wanted = rule.when.labels if rule.when is not None else None
    missing = [
        f"{key}={value}"
        for key, value in (wanted or {}).items()
        if subject.known.labels is not None and (key, value) not in subject.known.labels
    ]
    if missing:
        yield subject.finding(
            "no-such-label", "note", rule, f"never holds: no session has the label {', '.join(missing)}.",
            "`hub sessions label` gives it to one.", "when", "labels",
        )  # fmt: skip


def _under_never(subject: Subject, rule: Rule) -> Iterator[Finding]:
    over = next((never for never in subject.never if _is_within(subject, never, rule)), None)
    fix = "Remove it, or narrow `never`."
    if over is not None:
        message = f"can never allow anything: {over.id} (line {over.line}) refuses all of it."
        yield subject.finding("under-never", "error", rule, message, fix)
        return
    hits, refusing = subject.hits(rule), Grants("", subject.never)
    if hits and _all_learnt(subject, rule) and all(decide(refusing, entry).allowed for entry in hits):
        message = "allows nothing that is known: `never` refuses all of it."
        yield subject.finding("under-never", "error", rule, message, fix)


def _hides_nothing(subject: Subject, rule: Rule) -> Iterator[Finding]:
    allowing = Grants("", subject.may)
    if not subject.may:
        message = "hides nothing: `may` allows nothing at all."
    elif _all_learnt(subject, rule) and not any(
        decide(allowing, entry).allowed for entry in subject.hits(rule)
    ):
        message = "hides nothing that is known: no rule of `may` allows any of it."
    else:
        return
    yield subject.finding("never-for-nothing", "warning", rule, message, "Remove it, or mend its pattern.")


def _loosened(subject: Subject) -> Iterator[Finding]:
    """A call is allowed if any rule lets it through."""
    for rule in subject.may:
        binds = rule.ask or rule.when or rule.limits or rule.repeat
        if not rule.judges or binds:
            continue
        for wide in subject.may:
            if wide is not rule and not wide.judges and _is_within(subject, wide, rule):
                yield subject.finding(
                    "loosened", "warning", rule,
                    f"restricts nothing: {wide.id} (line {wide.line}) allows the same with any arguments.",
                    f"Take it out of {wide.id}, or remove this rule.",
                )  # fmt: skip
                break


def _never_at_once(subject: Subject) -> Iterator[Finding]:
    """The times of all rules that hold must hold together."""
    for rule in subject.may:
        for other in subject.may:
            if other is rule or other.judges or rule.when is None or other.when is None:
                continue
            if _is_within(subject, other, rule) and not _meet(rule.when, other.when):
                yield subject.finding(
                    "never-at-once", "error", rule,
                    f"can never hold: {other.id} (line {other.line}) holds with it, only "
                    f"{in_words(other.when)}.",
                    "Let their times overlap, or their targets not.", "when",
                )  # fmt: skip
                break


def _is_within(subject: Subject, wide: Rule, narrow: Rule) -> bool:
    """Whether `wide` is about all that `narrow` is about: by their patterns, or by all that is known."""
    if _pattern_within(wide, narrow):
        return True
    hits, of_wide = subject.hits(narrow), {id(entry) for entry in subject.hits(wide)}
    return bool(hits) and _all_learnt(subject, narrow) and all(id(entry) in of_wide for entry in hits)


def _pattern_within(wide: Rule, narrow: Rule) -> bool:
    if wide.read_only is not None and wide.read_only is not narrow.read_only:
        return False
    if wide.tags and not (narrow.tags and set(narrow.tags) <= set(wide.tags)):
        return False
    heads = [pattern.partition("__") for pattern in narrow.use]
    servers = set(narrow.servers) or {
        server if separator and _wild(server) is None else "*" for server, separator, _ in heads
    }
    if wide.servers and not servers <= set(wide.servers):
        return False
    return all(any(covers(one, other) for one in wide.use) for other in narrow.use)


def _meet(one: When, other: When) -> bool:
    """Whether there is a session and a moment at which both hold: then one begins while the other holds."""
    labels, others = one.labels or {}, other.labels or {}
    if any(others.get(key, value) != value for key, value in labels.items()):
        return False
    one, other = replace(one, labels=None), replace(other, labels=None)
    return any(holds(one, at) and holds(other, at) for each in (one, other) for at in _starts(each))


def _starts(when: When) -> Iterator[float]:
    minute = when.between[0] if when.between is not None else 0
    for year, month, day in _WEEKS:
        monday = datetime(year, month, day, tzinfo=ZoneInfo(when.zone))
        for days in range(-1, 8):
            local = monday + timedelta(days=days)
            yield local.replace(hour=minute // 60 % 24, minute=minute % 60).astimezone(UTC).timestamp()


def _meant(word: str, known: Iterable[str], rest: str = "") -> str:
    near = nearest(word, sorted(known))
    return f"Did you mean '{near}{rest}'?" if near is not None else "Mend it, or remove it."
