"""What other manifests would have made of what really happened: each recorded call, decided anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from connectors.jsonrpc import encode
from hub.errors import InvalidParams
from hub.home import Home
from hub.manifests.manifest import load
from hub.model import Json
from hub.records import earliest, moment
from hub.review.replay import Judge, Verdict, laid_over, loaded, opened, was
from hub.store.past import PastCall

__all__ = ["changes"]

_OTHER_ARGUMENTS = "allowed, with other arguments"


@dataclass(slots=True)
class _Change:
    """Calls of one agent that would be decided otherwise, in one way and for one reason."""

    agent: str
    tool: str
    before: str
    after: str
    why: str
    now: str
    """What the manifests as they stand make of it."""
    calls: int = 0
    example: str = ""
    """The id of the newest."""
    last: int = 0

    def as_json(self) -> Json:
        return {
            "agent": self.agent,
            "tool": self.tool,
            "was": self.before,
            "would_be": self.after,
            "is_now": self.now,
            "calls": self.calls,
            "why": self.why,
            "example": self.example,
            "last": moment(self.last),
        }


@dataclass(slots=True)
class _Count:
    decided: int = 0
    without: int = 0
    nothing: int = 0
    undecided: Counter[str] = field(default_factory=Counter)
    changed: dict[tuple[str, ...], _Change] = field(default_factory=dict)


def changes(
    home: Home, paths: Sequence[Path], *, now: float, since: str | None = None, agent: str | None = None
) -> Json:
    """What would change if the manifests of `paths` took the place of those of their names.

    Args:
        paths: Files and folders; none: the home's own manifests, as they stand.
        now: Seconds since 1970.
        since: Only calls that are not older than this (`7d`).
        agent: Only this agent's calls.

    Returns:
        `changes` (as `_Change.as_json`), and how many calls were `decided`, of these how many `without` some
        of their arguments, how many named `nothing`, and how many are `undecided`, by why.

    Raises:
        ManifestError: one of them is not valid.
        InvalidParams: `since` is no duration, or there is no such agent.
        StoreError: the record cannot be read.
    """
    oldest = earliest(since, now)
    base = load(home.manifests)
    new = loaded(*paths) if paths else base
    together = laid_over(base, new)
    if agent is not None and agent not in together.agents:
        raise InvalidParams(f"No manifest names an agent {agent!r}. `hub agents list` shows those there are.")
    count = _Count()
    with opened(home) as record:
        judge = Judge(together, record.servers, record.tokens)
        judge_of_now = Judge(base, record.servers, record.tokens)
        for call in record.calls(oldest, agent):
            if call.agent in new.agents or call.server in new.servers:
                _look_at(call, judge, judge_of_now, count)
    changed = sorted(count.changed.values(), key=lambda each: (each.agent, each.tool, -each.calls))
    return {
        "decided": count.decided,
        "without": count.without,
        "nothing": count.nothing,
        "undecided": dict(sorted(count.undecided.items())),
        "changes": [each.as_json() for each in changed],
        "manifests": sorted([*new.agents, *new.servers]) if paths else [],
    }


def _look_at(call: PastCall, judge: Judge, judge_of_now: Judge, count: _Count) -> None:
    verdict = judge.decide(call)
    if verdict is None:
        count.nothing += 1
        return
    if verdict.why is not None:
        count.undecided[verdict.why] += 1
        return
    count.decided += 1
    count.without += verdict.without
    before, after = was(call), str(verdict.outcome)
    present = judge_of_now.decide(call)
    if before == after:
        if not _sends_otherwise(verdict, present):
            return
        after = _OTHER_ARGUMENTS
    entry = judge.entry(call)
    tool = call.tool if entry is None else entry.grant
    rule = "" if verdict.rule is None else verdict.rule.id
    key = (call.agent, tool, before, after, verdict.file, rule, verdict.argument or "")
    change = count.changed.get(key)
    if change is None:
        is_now = "" if present is None else str(present.outcome or present.why)
        change = count.changed[key] = _Change(call.agent, tool, before, after, _why(verdict), is_now)
    change.calls += 1
    change.example, change.last, change.why = call.id, call.started, _why(verdict)


def _sends_otherwise(verdict: Verdict, present: Verdict | None) -> bool:
    """Whether what is filled in or respelled differs from what the manifests as they stand make of it."""
    if present is None or verdict.params is None or present.params is None:
        return False
    # As text: a number that keeps its spelling equals nothing but itself.
    return encode(verdict.params) != encode(present.params)


def _why(verdict: Verdict) -> str:
    """The rule that decides, with file and line."""
    if verdict.rule is None:
        return f"no rule of {verdict.file} allows it"
    at = f"{verdict.file}:{verdict.rule.line}: {verdict.rule.id}"
    if verdict.reason == "argument":
        said = verdict.message.partition("\n")[2].splitlines()
        return f"{at}: {said[0]}" if said else at
    return f"{at}: its times" if verdict.reason == "when" else at
