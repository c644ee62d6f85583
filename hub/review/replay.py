"""What a set of manifests makes of calls of the past: each is decided anew, by the code that decides calls.

A call is decided by what its record has of it. Where that has not all of its arguments (a secret was taken
out, they were too long, or deleted since), it is decided all the same if nothing that counts for it looks at
what is missing; else it is left undecided, and said so. How much was used (`limits`, `repeat`) is not judged
anew, nor what a person said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from connectors.jsonrpc import Budget, Malformed, parse
from hub.audit import leftover
from hub.builtin.definitions import ALL, offer
from hub.catalog import Catalog
from hub.commands.remembered import picture
from hub.errors import ManifestError, Problem
from hub.home import Home
from hub.hub import METHOD_KINDS
from hub.identity.tokens import Tokens
from hub.manifests.manifest import Manifests, load
from hub.model import Entry, Json, Kind
from hub.policy import Decision, Grants, Rule, decide, named
from hub.results.limits import with_right_to_read
from hub.rules.judge import judge
from hub.store.past import PastCall, past_calls, session_labels
from hub.store.reading import ServerRow, TokenRow, list_servers, list_tokens
from hub.store.tokens import NewToken
from hub.tasks import TASK_METHODS

__all__ = [
    "Asked",
    "Judge",
    "Outcome",
    "Record",
    "Undecided",
    "Verdict",
    "asked",
    "entries_of",
    "laid_over",
    "loaded",
    "opened",
    "was",
]

Outcome = Literal["allowed", "asks", "refused"]
Undecided = Literal["arguments redacted", "arguments not kept", "token not known", "agent has no manifest"]

_REFUSED: Final = frozenset({"not_found", "argument", "when"})
"""The words of those refusals that come from rules."""
_MARK: Final = "[redacted: "
_CUT: Final = frozenset({"truncated", "start"})
_BUDGET: Final = Budget(1 << 30, 1 << 30)
_FOREIGN_PREFIX: Final = "jwt_"
_ANYTHING: Final[Mapping[str, Any]] = {"title": "anything"}


@dataclass(frozen=True, slots=True)
class Verdict:
    outcome: Outcome | None
    """`None` where it cannot be known."""
    why: Undecided | None = None
    """Why it cannot."""
    reason: str | None = None
    """Of a refusal: `not_found`, `argument` or `when`, as in the record."""
    rule: Rule | None = None
    """The one that decided."""
    rules: tuple[Rule, ...] = ()
    """All that hold, where it is allowed."""
    file: str = ""
    params: Json | None = None
    """What would be sent, where it is allowed and that is known."""
    argument: str | None = None
    """The one that does not fit, of a refusal for its arguments."""
    message: str = ""
    """What they must be."""
    without: bool = False
    """Whether it was decided without some of its arguments, which nothing looks at."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call asked for, as far as it is known."""

    params: Json
    missing: frozenset[str] | None
    """Arguments whose values were taken out; `None` where not even their names are known."""

    @property
    def is_whole(self) -> bool:
        return self.missing is not None and not self.missing


def was(call: PastCall) -> Outcome:
    """What the rules of then made of it. (What refused it after them is no matter of rules.)"""
    if call.state == "refused" and call.reason in _REFUSED:
        return "refused"
    return "asks" if call.asked else "allowed"


def asked(call: PastCall) -> Asked:
    """What the record has of its params."""
    try:
        params = None if call.params is None else parse(call.params.encode(), _BUDGET)
    except (Malformed, UnicodeEncodeError):
        params = None
    if not isinstance(params, dict) or params.keys() == _CUT:
        return Asked({}, None)
    if call.params is None or _MARK not in call.params:
        return Asked(params, frozenset())
    where = params.get("context") if call.method == "completion/complete" else params
    arguments = where.get("arguments") if isinstance(where, dict) else None
    if not isinstance(arguments, dict):
        return Asked(params, frozenset())
    if any(_MARK in name for name in arguments):
        return Asked(params, None)
    return Asked(params, frozenset(name for name, value in arguments.items() if _is_marked(value)))


def _is_marked(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_MARK in key or _is_marked(item) for key, item in value.items())
    if isinstance(value, list):
        return any(map(_is_marked, value))
    return isinstance(value, str) and _MARK in value


def entries_of(manifests: Manifests, rows: Sequence[ServerRow]) -> tuple[Entry, ...]:
    """All that rules can be about: what servers were last known to offer, and the hub's own tools."""
    catalog, own = picture(manifests, rows).catalog, Catalog.build([offer(ALL)], 0)
    found = {
        (entry.kind, entry.server, entry.own): entry
        for each in (own, catalog)
        for by_name in each.by_name.values()
        for entry in by_name.values()
    }
    extensions = [
        named("extension", server, name) for server, names in catalog.extensions.items() for name in names
    ]
    return (*found.values(), *extensions)


class Judge:
    """Decides calls by one set of manifests, with what servers were last known to offer."""

    def __init__(
        self, manifests: Manifests, servers: Iterable[ServerRow] = (), tokens: Iterable[TokenRow] = ()
    ) -> None:
        self._agents: Mapping[str, Grants] = {
            name: agent.grants() for name, agent in manifests.agents.items()
        }
        self._entries = {
            (entry.kind, entry.server, entry.own): entry for entry in entries_of(manifests, list(servers))
        }
        self._tokens = Tokens(self._agents.get)
        rows = sorted(tokens, key=lambda row: (row.created, row.id))
        # Those too that are over: a call that was made with one was within it.
        self._tokens.replace(_as_new(row) for row in rows)
        self._relaxed: dict[tuple[int, frozenset[str]], tuple[Decision, Decision]] = {}

    def entry(self, call: PastCall) -> Entry | None:
        """What a call used, as it is known now, else by its name alone; `None` where it named nothing."""
        if call.server is None or call.own is None:
            return None
        kind = _kind(call)
        return self._entries.get((kind, call.server, call.own)) or named(kind, call.server, call.own)

    def decide(self, call: PastCall) -> Verdict | None:
        """What would become of a call; `None` for one that is no matter of rules: it named nothing."""
        entry = self.entry(call)
        if entry is None or (call.method in TASK_METHODS and was(call) == "refused"):
            return None
        if call.agent not in self._agents:
            return Verdict(None, "agent has no manifest")
        grants, is_known = self._grants(call)
        if grants is None:
            return Verdict("refused", reason="not_found", file=f"token {call.token}")
        verdict = self._decided(decide(grants, entry), entry, call)
        if not is_known and was(call) == "refused" and verdict.outcome in ("allowed", "asks"):
            return Verdict(None, "token not known")
        return verdict

    def _grants(self, call: PastCall) -> tuple[Grants | None, bool]:
        """What its token proves now, and whether that is known; a lost token is taken for its agent."""
        if call.token is None or call.token.startswith(_FOREIGN_PREFIX):
            return self._agents[call.agent], True
        token = self._tokens.by_id.get(call.token)
        if token is None:
            return self._agents[call.agent], False
        agent = self._tokens.agent_of(token)
        return None if agent is None else agent.grants, True

    def _decided(self, decision: Decision, entry: Entry, call: PastCall) -> Verdict:
        if not decision.allowed:
            return Verdict("refused", reason="not_found", rule=decision.rule, file=decision.file)
        said = asked(call)
        looked_at = {name for rule in decision.rules for name in rule.with_ or ()}
        if entry.curation is not None:
            looked_at |= entry.curation.fixed.keys()
        if said.missing is None:
            if looked_at or any(rule.judges for rule in decision.rules):
                return Verdict(None, "arguments not kept")
        elif not looked_at.isdisjoint(said.missing):
            verdict = self._judged(self._without(decision, said.missing), entry, call, said)
            # What the rest of its arguments do not let through is not let through.
            return verdict if verdict.reason == "argument" else Verdict(None, "arguments redacted")
        return self._judged(decision, entry, call, said)

    def _judged(self, decision: Decision, entry: Entry, call: PastCall, said: Asked) -> Verdict:
        without = not said.is_whole
        labels = None if call.labels is None else parse(call.labels.encode(), _BUDGET)
        judged = judge(decision, entry, call.method, said.params, at=call.started / 1000, labels=labels)
        refusal = judged.refusal
        if refusal is not None:
            return Verdict(
                "refused", reason=refusal.reason, rule=refusal.rule, file=decision.file,
                argument=refusal.argument, message=refusal.message, without=without,
            )  # fmt: skip
        rules = judged.rules or (decision.rules if call.method in TASK_METHODS else ())
        asks = call.method not in (*TASK_METHODS, "completion/complete")
        asking = next((rule for rule in rules if rule.ask is not None), None) if asks else None
        return Verdict(
            "allowed" if asking is None else "asks",
            rule=asking or (rules[0] if rules else decision.rule),
            rules=rules,
            file=decision.file,
            params=None if said.missing is None else judged.params,
            without=without,
        )

    def _without(self, decision: Decision, missing: frozenset[str]) -> Decision:
        """The same where its rules let any value of some arguments through."""
        key = (id(decision), missing)
        known = self._relaxed.get(key)
        if known is not None and known[0] is decision:
            return known[1]
        made = {
            id(rule): replace(
                rule, with_={k: _ANYTHING if k in missing else v for k, v in rule.with_.items()}
            )
            if rule.with_
            else rule
            for rule in decision.rules
        }
        levels = tuple(tuple(made[id(rule)] for rule in level) for level in decision.levels)
        relaxed = replace(decision, levels=levels, rules=tuple(made[id(rule)] for rule in decision.rules))
        self._relaxed[key] = (decision, relaxed)
        return relaxed


def _kind(call: PastCall) -> Kind:
    if call.method in TASK_METHODS:
        return "tool"
    if call.method not in METHOD_KINDS:
        return "extension"
    kind = METHOD_KINDS[call.method]
    if kind is not None:
        return kind
    reference = asked(call).params.get("ref")
    is_prompt = isinstance(reference, dict) and reference.get("type") == "ref/prompt"
    return "prompt" if is_prompt else "template"


def _as_new(row: TokenRow) -> NewToken:
    # Its hash is not read; each needs one of its own.
    return NewToken(
        row.id, row.agent, row.id.encode(), row.created, row.expires, row.scope, row.calls, row.parent
    )


@dataclass(frozen=True, slots=True)
class Record:
    """What a home's store has of the past; of a home where no hub has run, nothing."""

    connection: Any
    servers: tuple[ServerRow, ...] = ()
    tokens: tuple[TokenRow, ...] = ()

    def labels(self) -> frozenset[tuple[str, str]]:
        """All that sessions are labelled with: key and value."""
        texts = session_labels(self.connection) if self.connection is not None else ()
        return frozenset(pair for text in texts for pair in parse(text.encode(), _BUDGET).items())

    def calls(self, since: int | None = None, agent: str | None = None) -> Iterator[PastCall]:
        """The oldest first. See `past_calls`."""
        if self.connection is not None:
            yield from past_calls(self.connection, since, agent)


@contextmanager
def opened(home: Home) -> Iterator[Record]:
    """Raises `StoreError`."""
    if not home.database.exists():
        yield Record(None)
        return
    connection = leftover.opened(home)
    try:
        yield Record(connection, tuple(list_servers(connection)), tuple(list_tokens(connection)))
    finally:
        connection.close()


def laid_over(base: Manifests, new: Manifests) -> Manifests:
    """`base`, in which the new manifests take the place of those of their names."""
    both = Manifests({**base.servers, **new.servers}, {**base.agents, **new.agents}, new.problems)
    return with_right_to_read(both)


def loaded(*paths: Path) -> Manifests:
    """As `load`, of what must be there and be valid. Raises `ManifestError`."""
    missing = [
        Problem(path, None, "", "does not exist. Give a file or a folder.")
        for path in paths
        if not path.exists()
    ]
    found = load(*paths)
    if missing or found.problems:
        raise ManifestError([*missing, *found.problems])
    return found
