"""The narrowest manifest that still allows what an agent really did.

Every call that was let through is looked at twice: once to see what was used and with which arguments, and
once more to see that the manifest which came of it lets it through, judged by the code that judges calls.
A rule that does not is written without arguments.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connectors.jsonrpc import Budget, encode, parse
from hub.counted import counted
from hub.errors import InvalidParams, ManifestError
from hub.home import Home
from hub.manifests.manifest import SCHEMA_COMMENT, AgentManifest, Manifests, load, load_text
from hub.manifests.text import read
from hub.model import Entry, Json
from hub.policy import When
from hub.records import earliest, moment
from hub.review.replay import Judge, Record, Verdict, asked, laid_over, opened, was
from hub.review.seen import Seen
from hub.review.text import line, mapping
from hub.rules.moments import DAYS
from hub.store.past import PastCall

__all__ = ["Learnt", "learn"]

_BUDGET: Final = Budget(1 << 20, 10_000)
_SHAPES_MAX: Final = 6
"""So many rules for one tool, each for calls that give the same arguments; of more, one for all."""
_URIS_MAX: Final = 40
_ROUNDS_MAX: Final = 4
_KEPT: Final = ("identify", "limits", "never")
"""Keys of the agent's manifest that stay as they are."""


@dataclass(frozen=True, slots=True)
class Learnt:
    text: str
    """The manifest, as YAML."""
    calls: int
    """From how many."""
    notes: tuple[str, ...] = ()
    """What whoever uses it should know."""


@dataclass(slots=True)
class _Shape:
    """Calls of one tool that give the same arguments, to which the same is added, and of which a person is
    asked or not."""

    count: int = 0
    seen: dict[str, Seen] = field(default_factory=dict)
    """What is given or added, by name."""
    times: set[frozenset[bytes]] = field(default_factory=set)
    """Of each call, the times to which rules of today bind it, as JSON."""


@dataclass(slots=True)
class _Used:
    """One entry, and how it was used."""

    grant: str
    takes_arguments: bool
    count: int = 0
    last: int = 0
    asks: bool = False
    times: set[frozenset[bytes]] = field(default_factory=set)
    shapes: dict[tuple[frozenset[str], frozenset[tuple[str, bytes]], bool], _Shape] = field(
        default_factory=dict
    )
    always: dict[str, Seen] = field(default_factory=dict)
    """What the first call has, and how often there was such an argument since."""
    not_kept: int = 0
    hidden: set[str] = field(default_factory=set)
    """Arguments whose values were taken out of the record."""
    is_plain: bool = False
    """Whether its arguments are left free."""
    at_any_time: bool = False

    def is_in_all(self, name: str) -> bool:
        return name in self.always and self.always[name].count == self.count - self.not_kept

    def when(self, times: set[frozenset[bytes]]) -> Json:
        """The one time to which all calls are bound, as a rule has it."""
        bound = next(iter(times)) if len(times) == 1 else ()
        return {} if self.at_any_time or len(bound) != 1 else {"when": parse(next(iter(bound)), _BUDGET)}


@dataclass(slots=True)
class _Past:
    """All that was seen."""

    used: dict[tuple[str, str], _Used] = field(default_factory=dict)
    count: int = 0
    first: int | None = None
    last: int = 0
    days: Counter[int] = field(default_factory=Counter)


def learn(home: Home, agent: str, *, now: float, since: str | None = None) -> Learnt:
    """
    Args:
        now: Seconds since 1970.
        since: Only from calls that are not older than this (`7d`).

    Raises:
        InvalidParams: `since` is no duration, or nobody ever heard of that agent.
        StoreError: the record cannot be read.
    """
    oldest = earliest(since, now)
    base = load(home.manifests)
    with opened(home) as record:
        past = _seen(record, base, oldest, agent)
        if agent not in base.agents and not past.count:
            raise InvalidParams(
                f"There is no agent {agent!r}, and no call of one. `hub agents list` shows all."
            )
        return _written(record, base, oldest, agent, past)


def _seen(record: Record, base: Manifests, oldest: int | None, agent: str) -> _Past:
    past, judge = _Past(), Judge(base, record.servers, record.tokens)
    for call in record.calls(oldest, agent):
        entry = judge.entry(call)
        if entry is None or was(call) == "refused":
            continue
        used = past.used.setdefault(
            (entry.kind, entry.grant), _Used(entry.grant, entry.kind in ("tool", "prompt"))
        )
        past.count += 1
        past.first = call.started if past.first is None else min(past.first, call.started)
        past.last, used.last = max(past.last, call.started), max(used.last, call.started)
        past.days[call.started // 86_400_000] += 1
        used.count += 1
        _look_at(call, entry, judge.decide(call), used)
    return past


def _look_at(call: PastCall, entry: Entry, verdict: Verdict | None, used: _Used) -> None:
    if call.method not in ("tools/call", "prompts/get"):
        # A completion is of arguments that are not restricted; a resource and a task have none.
        used.is_plain = used.is_plain or call.method == "completion/complete"
        return
    said = asked(call)
    asks = was(call) == "asks" or (verdict is not None and verdict.outcome == "asks")
    rules = () if verdict is None else verdict.rules
    times = frozenset(encode(_when(rule.when)) for rule in rules if rule.when is not None)
    used.asks = used.asks or asks
    used.times.add(times)
    if said.missing is None:
        used.not_kept += 1
        used.is_plain = True
        return
    given = _arguments(said.params)
    sent = _arguments(None if verdict is None else verdict.params) or given
    by_server = {} if entry.curation is None else {**entry.curation.fixed, **entry.curation.defaults}
    added = {name: value for name, value in sent.items() if name not in given and name not in by_server}
    key = (frozenset(given), frozenset((name, encode(value)) for name, value in added.items()), asks)
    shape = used.shapes.get(key)
    if shape is None:
        # Of more than that many there will be one rule for all, for which `always` will do.
        shape = _Shape()
        if len(used.shapes) <= _SHAPES_MAX:
            used.shapes[key] = shape
    shape.count += 1
    shape.times.add(times)
    for name, value in {**given, **added}.items():
        seen = [shape.seen.setdefault(name, Seen(name))]
        if name in used.always or used.count - used.not_kept == 1:
            seen.append(used.always.setdefault(name, Seen(name)))
        for each in seen:
            if name in said.missing:
                each.hide()
                used.hidden.add(name)
            else:
                each.add(value, sent.get(name, value))


def _arguments(params: Json | None) -> Json:
    found = None if params is None else params.get("arguments")
    return found if isinstance(found, dict) else {}


def _written(record: Record, base: Manifests, oldest: int | None, agent: str, past: _Past) -> Learnt:
    """The text, once every call that it was learnt from passes it, or nothing more can be widened."""
    manifest = base.agents.get(agent)
    kept = _kept(manifest)
    for _ in range(_ROUNDS_MAX):
        text = _text(agent, kept, past)
        new = load_text(Path("learnt.yaml"), text)
        if new.problems:
            raise ManifestError(list(new.problems))
        judge = Judge(laid_over(base, new), record.servers)
        refused = [
            (entry, verdict)
            for call in record.calls(oldest, agent)
            if was(call) != "refused"
            and (entry := judge.entry(call)) is not None
            and (verdict := judge.decide(call)) is not None
            and verdict.outcome == "refused"
        ]
        if not sum([_widen(past.used[entry.kind, entry.grant], verdict, kept) for entry, verdict in refused]):
            break
    return Learnt(text, past.count, tuple(_notes(manifest, kept, past, len(refused))))


def _widen(used: _Used, verdict: Verdict, kept: Json) -> bool:
    """Whether there is something left to widen for what was refused."""
    if verdict.rule is not None and verdict.rule.id.startswith("never"):
        return kept.pop("never", None) is not None
    if verdict.reason == "when":
        is_new, used.at_any_time = not used.at_any_time, True
    else:
        is_new, used.is_plain = not used.is_plain, True
    return is_new


def _notes(manifest: AgentManifest | None, kept: Json, past: _Past, failing: int) -> list[str]:
    notes = []
    lost = sum(used.not_kept for used in past.used.values())
    if lost:
        notes.append(
            f"Of {counted(lost, 'call')} the arguments were not kept: what they used is not narrowed by "
            "arguments."
        )
    hidden = sorted(f"{used.grant} ({name})" for used in past.used.values() for name in used.hidden)
    if hidden:
        notes.append(f"Secrets were taken out of the record, so any value is allowed: {', '.join(hidden)}.")
    if failing:
        notes.append(
            f"{counted(failing, 'call')} would be refused all the same, by the servers' manifests of today."
        )
    rules = () if manifest is None else manifest.rules.may
    if any(rule.limits is not None or rule.repeat is not None for rule in rules):
        notes.append("Rules of today have `limits` or `repeat`, which are not carried over: add them.")
    if manifest is not None and manifest.rules.never and "never" not in kept:
        notes.append("`never` is left out: it would refuse what was allowed.")
    return notes


def _kept(manifest: AgentManifest | None) -> Json:
    value = read(manifest.file).value if manifest is not None else {}
    return {key: value[key] for key in ("title", *_KEPT) if key in value}


def _text(agent: str, kept: Json, past: _Past) -> str:
    said = [SCHEMA_COMMENT]
    if past.first is not None:
        days = f"{(moment(past.first) or '')[:10]} to {(moment(past.last) or '')[:10]}"
        said.append(
            f"# Learnt from {counted(past.count, 'call')}, {days}. Look it over: what was not used is not in "
            "it."
        )
    said.append(f"agent: {agent}")
    said += [f"{key}: {line(kept[key])}" for key in ("title", "identify", "limits") if key in kept]
    if past.days and "limits" not in kept:
        said.append(f"# limits: {{calls: {max(past.days.values())}/day}}  # the most in one day so far")
    rules = _rules(past)
    said.append("may:" if rules else "may: []")
    for comment, rule in rules:
        said += [f"  # {comment}", *(f"  {each}" for each in mapping(rule))]
    if "never" in kept:
        said.append(f"never: {line(kept['never'])}")
    return "\n".join(said) + "\n"


def _rules(past: _Past) -> list[tuple[str, Json]]:
    """Each with a comment."""
    found: list[tuple[str, Json]] = []
    uris: dict[str, list[_Used]] = {}
    for used in sorted(past.used.values(), key=lambda used: used.grant):
        if used.takes_arguments:
            found += _rules_of(used)
        else:
            uris.setdefault(used.grant.partition("__")[0], []).append(used)
    for all_of in uris.values():
        grants = [used.grant for used in all_of]
        if len(grants) > _URIS_MAX:
            grants = [_common(grants)]
        found.append((_counted(sum(u.count for u in all_of), max(u.last for u in all_of)), {"use": grants}))
    return found


def _rules_of(used: _Used) -> list[tuple[str, Json]]:
    conditions: Json = {**({"ask": "human"} if used.asks else {}), **used.when(used.times)}
    if used.is_plain:
        why = f"; of {used.not_kept} the arguments were not kept" if used.not_kept else ""
        return [(_counted(used.count, used.last) + why, {"use": used.grant, **conditions})]
    if len(used.shapes) > _SHAPES_MAX:
        common = sorted(name for name in used.always if used.is_in_all(name))
        with_ = {name: used.always[name].schema(always=True) for name in common}
        rule = {"use": used.grant, **({"with": with_} if with_ else {}), **conditions}
        return [(_counted(used.count, used.last), rule)]
    made = []
    for key, shape in sorted(used.shapes.items(), key=lambda item: (sorted(item[0][0]), sorted(item[0][1]))):
        _, added, asks = key
        is_added = {name for name, _ in added}
        with_ = {
            name: seen.schema(always=name in is_added or used.is_in_all(name))
            for name, seen in sorted(shape.seen.items())
        }
        rule = {"use": used.grant, **({"with": with_} if with_ else {}), "only": True}
        rule |= {"ask": "human"} if asks else {}
        made.append((_counted(shape.count, used.last), {**rule, **used.when(shape.times)}))
    return made


def _counted(count: int, last: int) -> str:
    return f"{counted(count, 'call')}, the last on {(moment(last) or '')[:10]}"


def _common(grants: list[str]) -> str:
    """One pattern for all of them: the folders that they share."""
    first, last = min(grants), max(grants)
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    server = first.partition("__")[0] + "__"
    return max(first[: first.rfind("/", 0, same) + 1], server, key=len) + "*"


def _when(times: When) -> Json:
    made: Json = {}
    if times.days:
        made["days"] = [DAYS[day] for day in sorted(times.days)]
    if times.between is not None:
        made["hours"] = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in times.between)
    if made:
        made["zone"] = times.zone
    return {**made, **({"labels": dict(times.labels)} if times.labels else {})}
