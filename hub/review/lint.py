"""Rules, looked over: those that do nothing, and those that do more than they look like.

Nothing is started and nobody is asked. What servers offer is what they were last known to; where one was
never asked, what its rules are about is judged by their patterns alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hub.builtin.definitions import ALL, SERVER
from hub.errors import Problem, StoreError
from hub.home import Home
from hub.manifests.manifest import Manifests, ServerManifest, load
from hub.manifests.text import read
from hub.model import Json
from hub.policy import matches
from hub.records import definitions
from hub.review import restrictions, targets
from hub.review.findings import Finding, Known, Subject
from hub.review.replay import entries_of, laid_over, opened
from hub.store.reading import ServerRow

__all__ = ["lint"]

_ORDER: Final = ("error", "warning", "note")


def lint(home: Home, paths: Sequence[Path]) -> Json:
    """
    Args:
        paths: Files and folders, whose manifests stand in for those of their names; none: all of the home's.

    Returns:
        `findings` (as `Finding.as_json`, the worst of each file first), how many are an `error`, a `warning`
        and a `note`, the `agents` that were looked at, the servers that were `never_asked`, and the `trouble`
        with what is kept of the others.
    """
    base = load(home.manifests)
    missing = [
        Problem(path, None, "", "does not exist. Give a file or a folder.")
        for path in paths
        if not path.exists()
    ]
    new = load(*paths) if paths else base
    together = laid_over(base, new)
    servers, labels, trouble = _recorded(home)
    rows = [
        row
        for row in servers
        if row.name in together.servers and row.fingerprint == together.servers[row.name].fingerprint
    ]
    learnt = {SERVER: frozenset(str(each.definition["name"]) for each in ALL)} | {
        row.name: frozenset(
            str(tool.get("name")) for tool in definitions(row)["tool"] if isinstance(tool, dict)
        )
        for row in rows
    }
    known = Known(together, entries_of(together, rows), learnt, labels)
    found = [*_invalid([*missing, *new.problems]), *_found(known, new)]
    found.sort(key=lambda each: (str(each.file), _ORDER.index(each.severity), each.line, each.where))
    count = Counter(each.severity for each in found)
    return {
        "findings": [each.as_json() for each in found],
        **{severity: count[severity] for severity in _ORDER},
        "agents": sorted(new.agents),
        "never_asked": sorted(set(together.servers) - set(learnt)),
        "trouble": trouble,
    }


def _recorded(
    home: Home,
) -> tuple[tuple[ServerRow, ...], frozenset[tuple[str, str]] | None, str | None]:
    """What servers were last known to offer, and the labels of sessions; or why nobody can say: rules can be
    looked over without."""
    try:
        with opened(home) as record:
            return record.servers, record.labels(), None
    except StoreError as error:
        return (), None, str(error)


def _invalid(problems: Sequence[Problem]) -> Iterator[Finding]:
    for problem in problems:
        file = problem.file or Path()
        yield Finding("invalid", "error", file, problem.line or 1, problem.key, problem.message, "")


def _found(known: Known, new: Manifests) -> Iterator[Finding]:
    for agent in new.agents.values():
        subject = Subject(known, agent, read(agent.file))
        yield from targets.findings(subject)
        yield from restrictions.findings(subject)
    for server in new.servers.values():
        yield from _of_server(server, known)


def _of_server(server: ServerManifest, known: Known) -> Iterator[Finding]:
    """Patterns of a server's own manifest that match none of its tools: what they were to hide stays."""
    names = known.learnt.get(server.name)
    if names is None:
        return
    listed = [
        *(("deny", pattern) for pattern in server.tools.deny),
        *(("allow", pattern) for pattern in server.tools.allow),
        *(("override", pattern) for pattern in server.tools.override),
    ]
    for key, pattern in listed:
        if not any(matches(pattern, name) for name in names):
            line = read(server.file).line(("tools", key, pattern))
            yield Finding(
                "no-such-tool", "warning", server.file, line, f"tools.{key}",
                f"{pattern!r} matches no tool of {server.name}.", "Mend it: patterns match its own names.",
            )  # fmt: skip
