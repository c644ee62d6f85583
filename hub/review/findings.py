"""What a look over rules finds: one finding each, with its place and the fix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from hub.builtin.definitions import SERVER
from hub.manifests.manifest import AgentManifest, Manifests
from hub.manifests.text import Document
from hub.model import Entry, Json
from hub.policy import Grants, Rule, decide, may_reach

__all__ = ["Finding", "Known", "Severity", "Subject", "names_of"]

Severity = Literal["error", "warning", "note"]
_NAMED_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class Finding:
    id: str
    """A stable word: docs/policy.md has all of them."""
    severity: Severity
    file: Path
    line: int
    where: str
    """The rule, and the key in it: `may[0].with.path`."""
    message: str
    fix: str

    def as_json(self) -> Json:
        return {
            "id": self.id,
            "severity": self.severity,
            "file": str(self.file),
            "line": self.line,
            "where": self.where,
            "message": self.message,
            "fix": self.fix,
            "text": f"{self.file}:{self.line}: {self.severity} {self.id}: "
            f"{self.where}: {self.message} {self.fix}",
        }


@dataclass(frozen=True, slots=True)
class Known:
    """What the rules are looked at against."""

    manifests: Manifests
    entries: tuple[Entry, ...]
    """All that rules can be about."""
    learnt: Mapping[str, frozenset[str]]
    """The servers that were ever asked what they offer: all tools of each, by their own names."""
    labels: frozenset[tuple[str, str]] | None = None
    """All that sessions are labelled with; `None` where nobody can say."""


class Subject:
    """One agent's rules, and what each is about."""

    def __init__(self, known: Known, agent: AgentManifest, document: Document) -> None:
        self.known = known
        self.agent = agent
        self._document = document
        self._hits: dict[str, tuple[Entry, ...]] = {}

    @property
    def may(self) -> tuple[Rule, ...]:
        return self.agent.rules.may

    @property
    def never(self) -> tuple[Rule, ...]:
        return self.agent.rules.never

    def hits(self, rule: Rule) -> tuple[Entry, ...]:
        """The known entries that one of its rules is about, whatever others say."""
        if rule.id not in self._hits:
            self._hits[rule.id] = self.matched(rule)
        return self._hits[rule.id]

    def matched(self, rule: Rule) -> tuple[Entry, ...]:
        alone = Grants("", (rule,))
        return tuple(entry for entry in self.known.entries if decide(alone, entry).allowed)

    def servers(self, rule: Rule) -> list[str]:
        """The servers that it may be about, by their manifests alone."""
        alone = Grants("", (rule,))
        return [name for name in sorted({*self.known.manifests.servers, SERVER}) if may_reach(alone, name)]

    def finding(self, id: str, severity: Severity, rule: Rule, message: str, fix: str, *keys: str) -> Finding:
        """
        Args:
            keys: Where in the rule it stands: `with`, `path`.
        """
        key, _, position = rule.id.removesuffix("]").partition("[")
        line = self._document.line((key, int(position), *keys))
        where = ".".join((rule.id, *keys))
        return Finding(id, severity, self.agent.file, line, where, message, fix)


def names_of(entries: tuple[Entry, ...] | list[Entry]) -> str:
    """A few of their names, in words."""
    names = list(dict.fromkeys(entry.grant for entry in entries))
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(names[:_NAMED_MAX]) + more
